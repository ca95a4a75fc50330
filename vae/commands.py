"""What people do with a trained model: each command opens it, writes figures or pictures, and says where."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vae import animation, embed, figures, generate, memory, morph, options, reconstruct, report, scoreboard
from vae.arrays import write_npz
from vae.bitmaps import write_gif, write_png
from vae.errors import UsageError
from vae.evaluate import ACTIVE, posterior
from vae.export import export
from vae.files import write_json
from vae.own_images import OwnImage
from vae.pictures import MAX_COLUMNS, MAX_NAME
from vae.pixels import to_pixels
from vae.reconstruct import Reconstructed
from vae.scorecard import assess
from vae.session import Session
from vae.sources import DataError
from vae.summary import shown
from vae.trained import Trained

SMOOTH = 4  # frames of an animation for each step of the strip
FRAME, PAUSE = 60, 700  # milliseconds: a frame on the way, and at each end
WORDS = {"train": "training", "val": "validation", "test": "test"}
STRIP = 16  # images in a row of an interpolation


@memory.refusals_told()
def execute(chosen: options.Options) -> int:
    """Carry out a command. Returns the exit code."""
    DOING[chosen.name](Session(chosen), chosen)
    return 0


def _evaluate(session: Session, chosen: options.Evaluate) -> None:
    session.trained.split("test")  # data that can't be had is told of before a folder is made
    (path,) = session.paths("evaluation.json")
    trained, samples = session.trained, chosen.num_importance_samples
    found = scoreboard.score(trained)
    session.console.table(f"{found['dataset']}, epoch {found['epoch']}", scoreboard.table(found))
    if samples:
        found["measured"] = assess(
            trained.model,
            trained.splits,
            protocol=trained.protocol,
            binarize=trained.config.binarize,
            data_dir=trained.data_dir,
            num_importance_samples=samples,
            console=session.console,
        )
    write_json(path, found)
    session.wrote(path)


def _sample(session: Session, chosen: options.Sample) -> None:
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
    names = [trained.class_names[index][:MAX_NAME] for index in classes]
    if 1 < len(classes) <= MAX_COLUMNS:
        times = max(1, round(math.sqrt(count) / len(classes)))
        return times * len(classes), times * names
    return math.ceil(math.sqrt(count)), names if len(classes) == 1 else []


def _class_names(trained: Trained, labels: Tensor | None) -> str:
    return "" if labels is None else ", ".join(trained.class_names[index] for index in labels.unique().tolist())


def _reconstruct(session: Session, chosen: options.Reconstruct) -> None:
    trained = session.trained
    own: list[OwnImage] = []
    if chosen.images:
        result, own = reconstruct.own_images(trained, chosen.images, digits=chosen.digit)
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


def _interpolate(session: Session, chosen: options.Interpolate) -> None:
    trained = session.trained
    if chosen.random:
        ends = morph.between_draws(trained, seed=chosen.seed, digit=chosen.digit)
    elif chosen.digits:
        ends = morph.between_classes(trained, *chosen.digits, digit=chosen.digit)
    else:
        ends = morph.between_images(trained, *(chosen.images or morph.default_pair(trained)), digit=chosen.digit)
    strip, film = session.paths("interpolation.png", "interpolation.gif")
    title = f"From {ends.names[0]} to {ends.names[1]}"
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


def _traverse(session: Session, chosen: options.Traverse) -> None:
    trained = session.trained
    test = trained.split("test")
    activity = posterior(trained.model, test)[0].var(0, correction=0)  # (D,)
    units = activity.argsort(descending=True)[: chosen.top].tolist()
    y, base, held = generate.classes_in_turn(trained.model, chosen.digit, 1), None, "the prior's median"
    if chosen.image:
        ends = morph.between_images(trained, chosen.image[0], chosen.image[0], digit=chosen.digit)
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


def _embed(session: Session, chosen: options.Embed) -> None:
    trained = session.trained
    found = embed.embed(trained, chosen.split)
    stem = f"{chosen.split}_latents"
    files = (f"{stem}.npz", f"{stem}.csv") + (() if chosen.picture == "none" else (f"{stem}.png",))
    paths = session.paths(*files)
    embed.write(found, paths[0], paths[1], class_names=trained.class_names)
    if chosen.picture != "none":
        order = torch.randperm(len(found.mu), generator=torch.Generator().manual_seed(chosen.seed))[: chosen.size]
        points, axes = embed.plane(found.mu[order].numpy(), chosen.picture, seed=chosen.seed)
        how = {"tsne": "t-SNE", "pca": "Principal components"}[chosen.picture]
        figures.draw_scatter(
            paths[2],
            points,
            found.labels[order].numpy(),
            class_names=trained.class_names,
            title=f"{how} of the posterior means of {len(order):,} {WORDS[chosen.split]} images",
            subtitle=trained.subtitle(f"seed {chosen.seed}"),
            axis_labels=axes,
        )
        if len(order) < len(found.mu):
            session.console.say(f"the map shows {len(order):,} of {len(found.mu):,} images (--size)")
    session.wrote(*paths)


def _export(session: Session, chosen: options.Export) -> None:
    trained = session.trained
    folder = session.folder(session.default / "programs")
    facts = {name: getattr(trained, name) for name in ("title", "protocol", "epoch", "class_names")}
    difference = export(trained.model, folder, {**facts, "checkpoint": str(trained.path)})
    session.console.say(f"loaded again, the programs differ from the model by {difference:.1e} at most (example.npz)")
    y = ", y" if trained.model.num_classes else ""
    session.console.say(f"use: torch.export.load('decoder.pt2').module()(z{y})")
    session.wrote(*sorted(folder.iterdir()))


def _gif(session: Session, chosen: options.Gif) -> None:
    run_dir = session.trained.run_dir
    if run_dir is None:
        raise UsageError("--checkpoint lies outside a run: gif animates the pictures in a run's folder")
    kinds = [kind for kind in animation.KINDS if len(animation.frames_of(run_dir, kind)) > 1]
    if not kinds:
        raise UsageError(f"{run_dir} has fewer than two pictures to animate: train with --sample_every")
    paths = session.paths(*(f"{kind}.gif" for kind in kinds))
    animation.animate_run(run_dir, dict(zip(kinds, paths, strict=True)), milliseconds=chosen.milliseconds)
    if session.trained.model.latent_dim == 2 and "latent_scatter" not in kinds:
        session.console.say("no latent_scatter.gif: its pictures are left only by training with --gif")
    session.wrote(*paths)


def _report(session: Session, chosen: options.Report) -> None:
    report.folder_of(session.trained)  # what can't be had is told of before a folder is made
    session.trained.split("test")
    session.wrote(report.write_report(session.trained, *session.paths("report.html")))


DOING: dict[str, Callable[[Session, Any], None]] = {
    "evaluate": _evaluate,
    "sample": _sample,
    "reconstruct": _reconstruct,
    "interpolate": _interpolate,
    "traverse": _traverse,
    "embed": _embed,
    "export": _export,
    "gif": _gif,
    "report": _report,
}
