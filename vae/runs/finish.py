"""The end of a run: its closing pictures, figures and report."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from vae.evaluation.elbo import posterior
from vae.model.build import load_model
from vae.plots.animation import KINDS, animate_run
from vae.plots.pictures import Pictures
from vae.runs import report, scorecard, summary
from vae.runs.folders import Folders
from vae.runs.tracking import Tracker
from vae.system.console import Console
from vae.system.files import write_json
from vae.system.stopping import raise_if_stopped
from vae.training.learner import Learner


def finish(learner: Learner, folders: Folders, tracker: Tracker, pictures: Pictures, *, console: Console) -> None:
    """Draw the closing pictures, write results.json and report.html, and print the table of figures."""
    config, splits, run_dir, epoch = learner.config, learner.splits, folders.run_dir, learner.epoch
    console.close_bar()
    mu = draw_pictures(learner, tracker, pictures, console=console)
    results = summary.results(splits, tracker.rows, protocol=pictures.protocol, parameters=learner.parameters)
    write_json(folders.results, results)
    report.write(run_dir, learner.eval_model, splits, mu, epoch=epoch)
    title = f"done: {splits.title}, {pictures.protocol}, epoch {epoch}"
    console.table(title, summary.closing_table(results, run_dir))
    if not results["test"]["active_units"] and epoch > config.kl_warmup_epochs:
        console.warn(*summary.COLLAPSED)
    if config.final_eval:
        scores = scorecard.evaluate_fully(
            learner.eval_model,
            splits,
            protocol=pictures.protocol,
            binarize=config.binarize,
            data_dir=Path(config.data_dir),
            num_importance_samples=config.num_importance_samples,
            console=console,
        )
        write_json(folders.results, results | {"final_eval": scores})
        tracker.log_nll(scores["test"]["nll"]["mean"])


def draw_pictures(learner: Learner, tracker: Tracker, pictures: Pictures, *, console: Console) -> Tensor:
    """Draw the closing pictures and log the embedding. Returns the test split's posterior means (N, D)."""
    config, splits, run_dir, epoch = learner.config, learner.splits, pictures.run_dir, learner.epoch
    mu, _ = posterior(learner.eval_model, splits.test)
    console.status("drawing pictures")
    pictures.draw_closing(learner.eval_model, tracker.rows, mu)
    raise_if_stopped()
    if config.gif:
        animate_run(run_dir, {kind: run_dir / f"{kind}.gif" for kind in KINDS})
        raise_if_stopped()
    if config.side_by_side:
        pictures.draw_side_by_side(load_model(run_dir).to(learner.device), tracker.rows[-1])
    console.status(f"t-SNE of {min(config.tsne_samples, len(mu)):,} test images")
    points, subset = pictures.draw_tsne(mu, tracker.rows[-1], count=config.tsne_samples)
    raise_if_stopped()
    console.status("writing the report")
    names = [(splits.class_names or ("unlabelled",))[label] for label in subset.labels.tolist()]
    tracker.log_embedding(points, names, subset.images, epoch)
    return mu
