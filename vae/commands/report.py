"""`report`: the run on one page."""

from __future__ import annotations

from vae.commands.session import Session
from vae.config.options import Report
from vae.runs.report import write_report


def run(session: Session, options: Report) -> None:
    """Write the run's report."""
    (path,) = session.paths("report.html")
    session.wrote(write_report(session.trained, path))
