"""`evaluate`: the ELBO of the test images, and everything else that is measured."""

from __future__ import annotations

from vae.commands.session import Session
from vae.config.options import Evaluate
from vae.runs.scorecard import elbo_table, print_scores
from vae.system.files import write_json


def run(session: Session, options: Evaluate) -> None:
    """Print the ELBO at once, then measure everything else; both go into one JSON file.

    Several processes share the work; the main one prints and writes.
    """
    processes = session.processes
    samples = options.num_importance_samples
    (path,) = processes.from_main(lambda: session.paths(f"evaluation_{f'K{samples}' if samples else 'elbo'}.json"))
    scores = session.trained.evaluate(processes=processes)
    if processes.is_main:
        session.console.table(f"{scores['dataset']}, epoch {scores['epoch']}", elbo_table(scores))
        write_json(path, scores)  # stays if what follows is interrupted
    if samples:
        scores = session.trained.evaluate(samples, console=session.console, processes=processes)
        if processes.is_main:
            print_scores(scores["measured"], session.console)
            write_json(path, scores)
    session.wrote(path)
