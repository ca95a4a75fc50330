"""`gif`: a run's pictures in motion."""

from __future__ import annotations

from vae.commands.session import Session
from vae.config import options
from vae.plots import animation
from vae.system.errors import UsageError


def run(session: Session, chosen: options.Gif) -> None:
    """Animate the pictures that training left after its epochs."""
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
