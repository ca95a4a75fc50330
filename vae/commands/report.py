"""`report`: the run on one page."""

from __future__ import annotations

from vae.commands.session import Session
from vae.config import options
from vae.runs import report


def run(session: Session, chosen: options.Report) -> None:
    """Write the run's report."""
    report.folder_of(session.trained)  # what can't be had is told of before a folder is made
    session.trained.split("test")
    session.wrote(report.write_report(session.trained, *session.paths("report.html")))
