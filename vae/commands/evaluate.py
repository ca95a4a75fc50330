"""`evaluate`: the ELBO of the test images, and everything else that is measured."""

from __future__ import annotations

from pathlib import Path

from vae.commands.session import Session
from vae.config.config import Config
from vae.config.options import Evaluate
from vae.runs import scorecard
from vae.system.files import write_json


def run(session: Session, options: Evaluate) -> None:
    """Print the ELBO at once, then measure everything else; both go into one JSON file.

    Several processes share the work; the main one prints and writes.
    """
    trained, processes = session.trained, session.processes
    samples = options.num_importance_samples
    (path,) = processes.from_main(lambda: session.paths(f"evaluation_{f'K{samples}' if samples else 'elbo'}.json"))
    scores = scorecard.evaluate_elbo(trained, processes)
    if processes.is_main:
        session.console.table(f"{scores['dataset']}, epoch {scores['epoch']}", scorecard.elbo_table(scores))
        write_json(path, scores)  # stays if what follows is interrupted
    if samples:
        scores["measured"] = scorecard.evaluate_fully(
            trained.model,
            trained.splits,
            protocol=trained.protocol,
            binarize=trained.config.binarize,
            data_dir=trained.data_dir if trained.may_write_data else Path(Config.data_dir),
            num_importance_samples=samples,
            console=session.console,
            processes=processes,
        )
        if processes.is_main:
            write_json(path, scores)
    session.wrote(path)
