"""Write a run's report from the files in its folder and its model."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from vae.config.config import stored_config
from vae.data.splits import Splits
from vae.evaluation.elbo import least_recon
from vae.model.vae import VAE
from vae.report import explorer, frames, page
from vae.runs import record, summary
from vae.runs.folders import Folders
from vae.system.files import write_atomic


def write(run_dir: Path, model: VAE, splits: Splits, mu: Tensor, *, epoch: int, path: Path | None = None) -> Path:
    """Write a run's report from the files in its folder and a model in memory, after `epoch` epochs, at least one.

    `mu` (N, D) are the posterior means of the test split. Without a path the report is report.html in `run_dir`.
    """
    folders = Folders(run_dir, run_dir)
    description = record.read_description(folders.config)
    rows = record.read_metrics(folders.metrics, epoch)
    config = stored_config(description["config"], folders.config)
    results = summary.results(splits, rows, protocol=description["protocol"], parameters=description["parameters"])
    kl_per_dim = results["test"]["kl_per_dim"]
    contents = explorer.describe(model, splits, mu, kl_per_dim=kl_per_dim, binarize=config.binarize)
    floor = least_recon(model, splits.test)
    epochs, damaged = frames.describe(run_dir, model, splits, mu, rows)
    text = page.render(
        run_dir, config, description, results, rows, contents, floor=floor, frames=epochs, damaged_frames=damaged
    )
    path = path or run_dir / "report.html"
    write_atomic(path, lambda stream: stream.write(text.encode()))
    return path
