"""`traverse`: each latent over the prior's quantiles."""

from __future__ import annotations

import torch

from vae.commands import generate
from vae.commands import interpolate as morph
from vae.commands.generate import names_of
from vae.commands.session import Session
from vae.config import options
from vae.evaluation.elbo import ACTIVE, posterior
from vae.plots import images as figures


def run(session: Session, chosen: options.Traverse) -> None:
    """Sweep the most active latents over the prior's quantiles."""
    trained = session.trained
    test = trained.split("test")
    activity = posterior(trained.model, test)[0].var(0, correction=0)  # (D,)
    units = activity.argsort(descending=True)[: chosen.top].tolist()
    y, base, held = generate.classes_in_turn(trained.model, chosen.digit, 1), None, "the prior's median"
    if chosen.image:
        ends = morph.between_images(trained, chosen.image[0], chosen.image[0], digit=chosen.digit, flag="--image")
        y, base, held = ends.y, ends.z[0], ends.names[0]
    elif y is not None:
        held += f", as {names_of(trained, y)}"
    (path,) = session.paths("traversal.png")
    probabilities = torch.linspace(0.01, 0.99, chosen.steps)
    images = generate.traverse(trained.model, units, probabilities, base=base, y=y)
    some = f", the {len(units)} most active of {len(activity)}" if len(units) < len(activity) else ""
    figures.draw_grid(
        path,
        images.flatten(0, 1),
        columns=chosen.steps,
        title=f"What each latent changes{some}",
        subtitle=trained.subtitle(
            f"quantiles of the prior, the others held at {held}; var is that of the posterior mean over the test set"
        ),
        headings=[f"{probability:.0%}".replace("%", " %") for probability in probabilities.tolist()],
        row_labels=[f"z{unit + 1}, var {activity[unit]:.2f}" for unit in units],
    )
    if some:
        session.console.say(f"drawn: {some.removeprefix(', ')} latents; --top {len(activity)} draws all")
    idle = int((activity <= ACTIVE).sum())
    session.console.say(f"{len(activity) - idle} of {len(activity)} latents are active (variance above {ACTIVE})")
    session.wrote(path)
