"""`traverse`: what each latent changes, from one end of the prior to the other."""

from __future__ import annotations

import torch

from vae.commands.generate import class_list, classes_in_turn, traverse
from vae.commands.interpolate import between_images
from vae.commands.session import Session, class_slug, file_stem
from vae.config.options import Traverse
from vae.evaluation.elbo import ACTIVE, posterior
from vae.plots import images as figures


def run(session: Session, options: Traverse) -> None:
    """Sweep the most active latents over the prior's quantiles."""
    trained = session.trained
    test = trained.split("test")
    activity = posterior(trained.model, test)[0].var(0, correction=0)  # (D,)
    units = activity.argsort(descending=True)[: options.top].tolist()
    y, base, held = classes_in_turn(trained.model, options.digit, 1), None, "the prior's median"
    if options.image:
        ends = between_images(trained, options.image[0], options.image[0], digit=options.digit, flag="--image")
        y, base, held = ends.y, ends.z[0], ends.names[0]
    elif y is not None:
        held += f", as {class_list(trained, y)}"
    stem = file_stem(
        "traversal",
        f"image{options.image[0]}" if options.image else "",
        f"class{class_slug(trained, options.digit[0])}" if options.digit else "",
        f"top{options.top}" if options.top != Traverse.top else "",
        f"{options.steps}steps" if options.steps != Traverse.steps else "",
    )
    (path,) = session.paths(f"{stem}.png")
    probabilities = torch.linspace(0.01, 0.99, options.steps)
    images = traverse(trained.model, units, probabilities, base=base, y=y)
    extent = f"the {len(units)} most active of {len(activity)}" if len(units) < len(activity) else ""
    figures.draw_grid(
        path,
        images.flatten(0, 1),
        columns=options.steps,
        title=", ".join(filter(None, ["What each latent changes", extent])),
        subtitle=trained.subtitle(
            f"quantiles of the prior, the others held at {held}; var is that of the posterior mean over the test set"
        ),
        headings=[f"{probability:.0%}".replace("%", " %") for probability in probabilities.tolist()],
        row_labels=[f"z{unit + 1}, var {activity[unit]:.2f}" for unit in units],
    )
    if extent:
        session.console.say(f"drawn: {extent} latents; --top {len(activity)} draws all")
    active = int((activity > ACTIVE).sum())
    session.console.say(f"{active} of {len(activity)} latents are active (variance above {ACTIVE})")
    session.wrote(path)
