"""`traverse`: what each latent changes, from one end of the prior to the other, and how much it carries."""

from __future__ import annotations

from vae.commands.session import Session, class_slug, file_stem
from vae.config.options import Traverse
from vae.plots import images as figures

IN_USE = 0.01  # nats of I(x; z)


def run(session: Session, options: Traverse) -> None:
    """Sweep the latents that carry most over the prior's quantiles."""
    trained, information = session.trained, session.trained.information()
    image, digit = options.image[0] if options.image else None, options.digit[0] if options.digit else None
    units = information.argsort(descending=True)[: options.top].tolist()
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
    extent = f"the {len(units)} of {len(information)} that carry most" if len(units) < len(information) else ""
    weight = trained.config.tc_weight
    figures.draw_grid(
        path,
        result.images.flatten(0, 1),
        columns=options.steps,
        title=", ".join(filter(None, ["What each latent changes", extent])),
        subtitle=trained.subtitle(
            *([f"tc_weight {weight:g}"] if weight != 1 else []),
            f"quantiles of the prior, the others held at {held}; nats are I(x; z) of the latent over the test set",
        ),
        headings=[f"{probability:.0%}".replace("%", " %") for probability in result.probabilities.tolist()],
        row_labels=[f"z{unit + 1}, {information[unit]:.2f} nats" for unit in units],
    )
    if extent:
        session.console.say(f"drawn: {extent}; --top {len(information)} draws all")
    in_use = int((information > IN_USE).sum())
    session.console.say(f"{in_use} of {len(information)} latents carry more than {IN_USE} nats")
    session.wrote(path)
