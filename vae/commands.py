"""What people do with a trained model: each command opens it, writes figures or pictures, and says where."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import torch

from vae import animation, charts, embed, gallery, memory, options, report, scorecard
from vae.errors import UsageError
from vae.export import export
from vae.files import write_json
from vae.session import Session

WORDS = {"train": "training", "val": "validation", "test": "test"}


@memory.refusals_told()
def execute(chosen: options.Options) -> int:
    """Carry out a command. Returns the exit code."""
    with closing(Session(chosen)) as session:
        DOING[chosen.name](session, chosen)
    return 0


def _evaluate(session: Session, chosen: options.Evaluate) -> None:
    session.trained.split("test")  # data that can't be had is told of before a folder is made
    (path,) = session.paths("evaluation.json")
    trained, samples = session.trained, chosen.num_importance_samples
    found = scorecard.quick(trained)
    session.console.table(f"{found['dataset']}, epoch {found['epoch']}", scorecard.quick_table(found))
    write_json(path, found)  # stays if what follows is interrupted
    if samples:
        found["measured"] = scorecard.assess(
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
        charts.draw_scatter(
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
        most = max(len(animation.frames_of(run_dir, kind)) for kind in animation.KINDS)
        raise UsageError(f"{run_dir} has {most} of the two pictures that it takes: train with --sample_every 1")
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
    "sample": gallery.draw_samples,
    "reconstruct": gallery.draw_reconstructions,
    "interpolate": gallery.draw_interpolation,
    "traverse": gallery.draw_traversal,
    "embed": _embed,
    "export": _export,
    "gif": _gif,
    "report": _report,
}
