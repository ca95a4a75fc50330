"""The end of a run: its closing pictures, figures and report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vae.evaluation.elbo import posterior
from vae.model.build import load_model
from vae.plots.animation import KINDS, animate_run
from vae.plots.pictures import Pictures
from vae.runs import report, scorecard, summary
from vae.runs.folders import Folders
from vae.runs.tracking import Tracker
from vae.system.console import Console
from vae.system.errors import UserError, one_line
from vae.system.files import FileError, write_atomic, write_json
from vae.system.memory import is_out_of_memory
from vae.system.stopping import Stopped, raise_if_stopped
from vae.training.learner import Learner


def finish(learner: Learner, folders: Folders, tracker: Tracker, pictures: Pictures, *, console: Console) -> None:
    """Draw the closing pictures, write results.json and report.html, and print the table of figures.

    A picture that fails leaves the others and the figures their turn; what failed is raised at the end.
    """
    console.close_bar()
    mu, _ = posterior(learner.eval_model, learner.splits.test)
    drawing = _drawing(learner, tracker, pictures, mu, console=console)
    conclude = partial(_conclude, learner, folders, tracker, pictures, mu, console=console)
    console.status("drawing pictures")
    _do_in_turn([*drawing.items(), ("results.json or report.html", conclude)], folders)


def _conclude(
    learner: Learner, folders: Folders, tracker: Tracker, pictures: Pictures, mu: Tensor, *, console: Console
) -> None:
    """Write results.json, report.html and the scores of `--final_eval`; print their tables."""
    config, splits, run_dir, epoch = learner.config, learner.splits, folders.run_dir, learner.epoch
    results = summary.results(splits, tracker.rows, protocol=pictures.protocol, parameters=learner.parameters)
    write_json(folders.results, results)
    console.status("writing the report")
    report.write(run_dir, learner.eval_model, splits, mu, epoch=epoch)
    title = f"done: {splits.title}, {pictures.protocol}, epoch {epoch}"
    console.table(title, summary.closing_table(results, run_dir))
    if not results["test"]["active_units"] and epoch > config.kl_warmup_epochs:
        console.warn(*summary.COLLAPSED)
    if config.final_eval:
        scores = evaluate_fully(learner, protocol=pictures.protocol, console=console)
        scorecard.print_scores(scores, console)
        write_json(folders.results, results | {"final_eval": scores})
        tracker.log_nll(scores["test"]["nll"]["mean"])


def evaluate_fully(learner: Learner, *, protocol: str, console: Console) -> dict[str, Any]:
    """The scores of `--final_eval`, to which every process contributes; only the main one returns all of them."""
    config = learner.config
    return scorecard.evaluate_fully(
        learner.eval_model,
        learner.splits,
        protocol=protocol,
        binarize=config.binarize,
        data_dir=Path(config.data_dir),
        num_importance_samples=config.num_importance_samples,
        console=console,
        processes=learner.processes,
    )


def _drawing(
    learner: Learner, tracker: Tracker, pictures: Pictures, mu: Tensor, *, console: Console
) -> dict[str, Callable[[], object]]:
    """What draws the closing pictures, by their names, and logs the embedding."""
    config, splits, run_dir, row = learner.config, learner.splits, pictures.run_dir, tracker.rows[-1]
    drawing = pictures.closing(learner.eval_model, tracker.rows, mu)
    if config.gif:
        drawing["the animations"] = lambda: animate_run(run_dir, {kind: run_dir / f"{kind}.gif" for kind in KINDS})
    if config.side_by_side:

        def draw_side_by_side() -> None:
            model = load_model(run_dir, nets=learner.nets)
            pictures.draw_side_by_side(model.to(learner.device), row)

        drawing["side_by_side.png"] = draw_side_by_side

    def draw_tsne() -> None:
        console.status(f"t-SNE of {min(config.tsne_samples, len(mu)):,} test images")
        points, subset = pictures.draw_tsne(mu, row, count=config.tsne_samples)
        names = [(splits.class_names or ("unlabelled",))[label] for label in subset.labels.tolist()]
        tracker.log_embedding(points, names, subset.images, learner.epoch)

    drawing["tsne.png"] = draw_tsne
    return {name: torch.no_grad()(draw) for name, draw in drawing.items()}


def _do_in_turn(steps: Sequence[tuple[str, Callable[[], object]]], folders: Folders) -> None:
    """Take all steps, each named by what it makes, even where one of them fails, unless a signal has come.

    What failed is named at the end, with the command that makes it anew, on the screen and in the run's folder.

    Raises:
        ExceptionGroup: a bug of ours, and whatever else failed.
        UserError: nothing but what the person can correct failed.
    """
    failures: dict[str, Exception] = {}
    for name, step in steps:
        raise_if_stopped()
        try:
            step()
        except Stopped:
            raise
        except Exception as error:  # noqa: BLE001 — all of them are raised below
            failures[name] = error
    if not failures:
        return
    again = f"make it anew with  {folders.resume_command}"
    missing = f"the run's end lacks {', '.join(failures)}"
    with suppress(FileError):  # the disk may be full
        write_atomic(folders.stopped, lambda stream: stream.write(f"{missing}; {again}\n".encode(errors="replace")))
    reasons = dict.fromkeys(map(_reason, failures.values()))
    if None in reasons:
        raise ExceptionGroup(f"{missing}; {again}", list(failures.values()))
    raise UserError(f"{missing}: {'; '.join(filter(None, reasons))}; {again}")


def _reason(error: Exception) -> str | None:
    """Why a step failed, for a person; `None` for a bug."""
    if isinstance(error, UserError | OSError):
        return one_line(error)
    return "out of memory" if is_out_of_memory(error) else None
