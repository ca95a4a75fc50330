"""Write a run's report from the files in its folder and its model."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from vae.config.config import stored_config
from vae.data.datasets import Splits
from vae.evaluation.elbo import posterior
from vae.model.vae import VAE
from vae.report import explorer, page
from vae.runs import record, summary
from vae.runs.folders import Folders
from vae.runs.trained import Trained, open_run
from vae.system.errors import UsageError
from vae.system.files import FileError, write_atomic


def write_report(run: str | Path | Trained = "outputs/latest", path: Path | None = None) -> Path:
    """Write the report of a run that has finished, or was stopped after an epoch or more.

    Args:
        run: a run's folder, a checkpoint in it, or either of them opened.
        path: the file to write; `None` for the run's report.html, in place of what is there.

    Returns:
        Path of the report.

    Raises:
        UserError: no such run, a damaged file, or data that can't be had.
    """
    trained = run if isinstance(run, Trained) else open_run(run)
    run_dir = folder_of(trained)
    mu, _ = posterior(trained.model, trained.splits.test)
    if not mu.isfinite().all():
        raise FileError(f"{trained.path} holds a model whose latents are no finite numbers")
    return write(run_dir, trained.model, trained.splits, mu, epoch=trained.epoch, path=path)


def folder_of(trained: Trained) -> Path:
    """The folder that a report tells of.

    Raises:
        UsageError: the checkpoint lies outside a run, or the run has nothing to show yet.
    """
    if trained.run_dir is None:
        raise UsageError(f"{trained.path} lies outside a run: a report shows what is in a run's folder")
    if not trained.epoch:
        raise UsageError(f"{trained.run_dir}: no epoch is done yet, so there is nothing to report")
    return trained.run_dir


def write(run_dir: Path, model: VAE, splits: Splits, mu: Tensor, *, epoch: int, path: Path | None = None) -> Path:
    """Write a run's report from the files in its folder and a model that is at hand.

    Args:
        run_dir: with config.json and metrics.jsonl.
        model: after `epoch` epochs, in eval mode.
        splits: the data.
        mu: posterior means of the test split, (N, D).
        epoch: how many are done, one at least.
        path: the file to write, report.html in `run_dir` with `None`.

    Raises:
        FileError: a file of the run can't be read.
    """
    folders = Folders(run_dir, run_dir)
    facts = record.read_description(folders.config)
    rows = record.read_metrics(folders.metrics, epoch)
    config = stored_config(facts["config"], folders.config)
    results = summary.results(splits, rows, protocol=facts["protocol"], parameters=facts["parameters"])
    text = page.render(run_dir, config, facts, results, rows, explorer.describe(model, splits, mu))
    path = path or run_dir / "report.html"
    write_atomic(path, lambda stream: stream.write(text.encode()))
    return path
