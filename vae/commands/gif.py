"""`gif`: the pictures of a run's epochs as animations."""

from __future__ import annotations

from vae.commands.session import Session, file_stem
from vae.config.options import Gif
from vae.plots.animation import KINDS, animate_run, frames_of
from vae.system.errors import UsageError


def run(session: Session, options: Gif) -> None:
    """Animate the pictures that training drew after its epochs."""
    run_dir = session.trained.run_dir
    if run_dir is None:
        raise UsageError("--checkpoint is outside a run's folder: gif animates the pictures in that folder")
    counts = {kind: len(frames_of(run_dir, kind)) for kind in KINDS}
    kinds = [kind for kind, count in counts.items() if count > 1]
    if not kinds:
        most = max(counts.values())
        raise UsageError(
            f"{run_dir}: an animation needs pictures of two epochs, and there are {most}: train with --sample_every 1"
        )
    pace = f"{options.milliseconds}ms" if options.milliseconds != Gif.milliseconds else ""
    paths = session.paths(*(f"{file_stem(kind, pace)}.gif" for kind in kinds))
    animate_run(run_dir, dict(zip(kinds, paths, strict=True)), milliseconds=options.milliseconds)
    if session.trained.model.latent_dim == 2 and "latent_scatter" not in kinds:
        session.console.say("no latent_scatter.gif: its pictures are drawn only by training with --gif")
    session.wrote(*paths)
