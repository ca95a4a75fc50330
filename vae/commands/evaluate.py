"""`evaluate`: the test figures, and everything else that is measured."""

from __future__ import annotations

from vae.commands.session import Session
from vae.config import options
from vae.runs import scorecard
from vae.system.files import write_json


def run(session: Session, chosen: options.Evaluate) -> None:
    """Show the ELBO at once, then measure everything else; both go into one JSON file."""
    session.trained.split("test")  # data that can't be had is told of before a folder is made
    (path,) = session.paths("evaluation.json")
    trained, samples = session.trained, chosen.num_importance_samples
    found = scorecard.evaluate_elbo(trained)
    session.console.table(f"{found['dataset']}, epoch {found['epoch']}", scorecard.elbo_table(found))
    write_json(path, found)  # stays if what follows is interrupted
    if samples:
        found["measured"] = scorecard.evaluate_fully(
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
