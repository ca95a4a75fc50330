"""Commands that draw what a model makes of latents and images: samples, reconstructions, paths and sweeps."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vae import figures, generate, morph, options, reconstruct
from vae.arrays import write_npz
from vae.bitmaps import write_gif, write_png
from vae.errors import UsageError
from vae.evaluate import ACTIVE, posterior
from vae.files import write_json
from vae.own_images import OwnImage
from vae.pictures import MAX_COLUMNS
from vae.pixels import to_pixels
from vae.reconstruct import Reconstructed
from vae.session import Session
from vae.sources import DataError
from vae.summary import shown
from vae.trained import Trained

SMOOTH = 4  # frames of an animation for each step of the strip
FRAME, PAUSE = 60, 700  # milliseconds: a frame on the way, and at each end
STRIP = 16  # images in a row of an interpolation


def draw_samples(session: Session, chosen: options.Sample) -> None:
    """Decode draws from the prior: a labelled grid, arrays, or a bare PNG each."""
    trained, count = session.trained, chosen.num_samples
    images, labels = generate.sample(
        trained.model, count, digits=chosen.digit, temperature=chosen.temperature, seed=chosen.seed
    )
    if chosen.format == "individual":
        folder = session.folder(session.default / "individual")
        for number, image in enumerate(images, start=1):
            write_png(folder / f"sample_{number:0{len(str(count))}d}.png", image)
        session.console.say(f"wrote {count:,} images to {shown(folder)}")
        return
    (path,) = session.paths(f"samples.{chosen.format}")
    if chosen.format == "npz":
        write_npz(path, {"images": images, **({} if labels is None else {"labels": labels})})
    else:
        columns, headings = _columns(trained, labels, count)
        figures.draw_grid(
            path,
            images,
            columns=columns,
            title="Samples from the prior" + (f", class {_class_names(trained, labels)}" if len(headings) == 1 else ""),
            subtitle=trained.subtitle("pixel means", f"temperature {chosen.temperature:g}, seed {chosen.seed}"),
            headings=headings if len(headings) > 1 else (),
        )
    session.wrote(path)


def _columns(trained: Trained, labels: Tensor | None, count: int) -> tuple[int, list[str]]:
    """Columns of a grid and the names of its classes: as many as rows, or each class in as many as makes that so."""
    classes = [] if labels is None else list(dict.fromkeys(labels.tolist()))
    names = [trained.class_names[index] for index in classes]
    if 1 < len(classes) <= MAX_COLUMNS:
        times = max(1, round(math.sqrt(count) / len(classes)))
        return times * len(classes), times * names
    return math.ceil(math.sqrt(count)), names if len(classes) == 1 else []


def _class_names(trained: Trained, labels: Tensor | None) -> str:
    return "" if labels is None else ", ".join(trained.class_names[index] for index in labels.unique().tolist())


def draw_reconstructions(session: Session, chosen: options.Reconstruct) -> None:
    """Test images, or people's own, over what the model makes of them, with the ELBO of each."""
    trained = session.trained
    own: list[OwnImage] = []
    if chosen.images:
        result, own = reconstruct.own_images(trained, chosen.images, digits=chosen.digit, say=session.console.say)
    elif chosen.digit:
        raise UsageError("--digit is the class of your own --images: test images come with theirs")
    else:
        result = reconstruct.first_test_images(trained, chosen.num_images)
    picture, figures_path = session.paths("reconstructions.png", "reconstructions.json")
    worse = _worse(session, result) if own else None
    inverted = [one.inverted for one in own]
    write_json(figures_path, reconstruct.describe(trained, result, inverted=inverted, worse=worse))
    reconstruct.draw(trained, result, own, picture)
    if any(inverted):
        lit = ", ".join(one.path.name for one in own if one.inverted)
        session.console.say(f"inverted, since the background is light: {lit}")
    for one in own:
        for note in one.notes:
            session.console.say(f"{one.path.name}: {note}")
    if own and trained.config.binarize != "none":
        session.console.say("cut at a half: this model was trained on binary images")
    title = f"{trained.title}, epoch {trained.epoch}, {trained.protocol}: {reconstruct.METHOD}"
    session.console.table(title, reconstruct.table(trained, result, worse))
    session.wrote(picture, figures_path)


def _worse(session: Session, result: Reconstructed) -> Tensor | None:
    """How the images stand against the test set; `None`, and said, where it can't be had."""
    try:
        return reconstruct.worse_than(session.trained, result.elbo)
    except DataError as error:
        session.console.say(f"not held against test images: {error}")
        return None


def draw_interpolation(session: Session, chosen: options.Interpolate) -> None:
    """A path through latent space, decoded: a strip and an animation there and back."""
    trained = session.trained
    if chosen.random:
        ends = morph.between_draws(trained, seed=chosen.seed, digit=chosen.digit)
    elif chosen.digits:
        ends = morph.between_classes(trained, *chosen.digits, digit=chosen.digit)
    else:
        ends = morph.between_images(trained, *(chosen.images or morph.default_pair(trained)), digit=chosen.digit)
    strip, film = session.paths("interpolation.png", "interpolation.gif")
    title = "Between two draws from the prior" if ends.images is None else f"From {ends.names[0]} to {ends.names[1]}"
    line = "a straight line" if chosen.path == "linear" else "a path around the origin"
    given = "" if ends.y is None else f" as {_class_names(trained, ends.y)}"
    subtitle = trained.subtitle(f"{line} in latent space, decoded{given}")
    smooth = SMOOTH * (chosen.steps - 1) + 1
    z = morph.path_between(*ends.z, steps=smooth, path=chosen.path)
    images = generate.decode_all(trained.model, z, None if ends.y is None else ends.y.expand(len(z)))
    steps, headings = images[::SMOOTH], [f"{step / (chosen.steps - 1):.2f}" for step in range(chosen.steps)]
    if ends.images is not None:
        originals = to_pixels(ends.images)
        steps, headings = torch.cat([originals[:1], steps, originals[1:]]), ["image", *headings, "image"]
    columns = min(len(steps), STRIP)
    fitting = headings if len(steps) <= STRIP else ()
    figures.draw_grid(strip, steps, columns=columns, headings=fitting, title=title, subtitle=subtitle)
    captions = [f"{step / (smooth - 1):.0%} of the way".replace("%", " %") for step in range(smooth)]
    frames = figures.render_frames(images, captions=captions, title=title, subtitle=subtitle)
    durations = [PAUSE, *[FRAME] * (smooth - 2)]
    write_gif(film, [*frames, *frames[-2:0:-1]], milliseconds=[*durations, PAUSE, *durations[1:]])
    session.wrote(strip, film)


def draw_traversal(session: Session, chosen: options.Traverse) -> None:
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
        held += f", as {_class_names(trained, y)}"
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
