"""`traverse`: what each latent changes, from one end of the prior to the other."""

from __future__ import annotations

from vae.commands.session import Session, class_slug, file_stem
from vae.config.options import Traverse
from vae.evaluation.elbo import ACTIVE
from vae.plots import images as figures


def run(session: Session, options: Traverse) -> None:
    """Sweep the most active latents over the prior's quantiles."""
    trained, activity = session.trained, session.trained.activity()
    image, digit = options.image[0] if options.image else None, options.digit[0] if options.digit else None
    units = activity.argsort(descending=True)[: options.top].tolist()
    result = trained.traverse(units, steps=options.steps, image=image, digit=digit)
    held = "the prior's median" if image is None else trained.name_of(image)
    if image is None and result.labels is not None:
        held += f", as {trained.names_of(result.labels)}"
    stem = file_stem(
        "traversal",
        f"image{image}" if options.image else "",
        f"class{class_slug(trained, digit)}" if digit is not None else "",
        f"top{options.top}" if options.top != Traverse.top else "",
        f"{options.steps}steps" if options.steps != Traverse.steps else "",
    )
    (path,) = session.paths(f"{stem}.png")
    extent = f"the {len(units)} most active of {len(activity)}" if len(units) < len(activity) else ""
    figures.draw_grid(
        path,
        result.images.flatten(0, 1),
        columns=options.steps,
        title=", ".join(filter(None, ["What each latent changes", extent])),
        subtitle=trained.subtitle(
            f"quantiles of the prior, the others held at {held}; var is that of the posterior mean over the test set"
        ),
        headings=[f"{probability:.0%}".replace("%", " %") for probability in result.probabilities.tolist()],
        row_labels=[f"z{unit + 1}, var {activity[unit]:.2f}" for unit in units],
    )
    if extent:
        session.console.say(f"drawn: {extent} latents; --top {len(activity)} draws all")
    active = int((activity > ACTIVE).sum())
    session.console.say(f"{active} of {len(activity)} latents are active (variance above {ACTIVE})")
    session.wrote(path)
