"""`report`: the run on one page."""

from __future__ import annotations

from vae.commands.session import Session
from vae.config.options import Report


def run(session: Session, options: Report) -> None:
    """Rewrite the run's own page, as training does; a page of another checkpoint, or with `--output`, is a new file."""
    path = None if session.is_of_last_checkpoint and not options.output else session.paths("report.html")[0]
    session.wrote(session.trained.report(path))
