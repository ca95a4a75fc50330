"""A model's scores: computed, and laid out as tables for a screen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vae.data.splits import Splits
from vae.evaluation.measure import evaluate_all, num_decoded
from vae.model.losses import Terms
from vae.model.vae import VAE
from vae.system.console import Console, Table
from vae.system.distributed import SINGLE_PROCESS, ProcessGroup
from vae.system.stopping import raise_if_stopped

TITLES = {"test": "test", "test_binarised": "binarised"}
MAX_LATENTS = 10  # whose figures a table lists


def elbo_table(scores: dict[str, Any]) -> Table:
    """The scores of `Trained.evaluate` without importance samples."""
    rows: Table = [("protocol", f"{scores['protocol']}; {scores['evaluation']}")]
    for name in ("val", "test"):
        if name in scores:
            terms = Terms(scores[name]["recon"], scores[name]["kl"])
            images = f"{scores[name]['images']:,} images"
            rows.append((name, f"{terms.named()}, minus the ELBO in nats per image, {images}"))
    test = scores["test"]
    per_latent = test["kl_per_dim"]
    adds_up = math.isclose(sum(per_latent), test["kl"], rel_tol=1e-3, abs_tol=1e-3)
    each = "KL of each" if adds_up else "KL of each from N(0, 1), which is not the prior"
    return [
        *rows,
        ("latents", f"{test['active_units']} of {len(per_latent)} active; {each}: {_largest(per_latent)} nats"),
    ]


def _largest(per_latent: Sequence[float]) -> str:
    """The figures of latents, by falling size: `2.41 1.96 0.12`."""
    figures = " ".join(f"{value:.2f}" for value in sorted(per_latent, reverse=True)[:MAX_LATENTS])
    return figures + (" …" if len(per_latent) > MAX_LATENTS else "")


def evaluate_fully(
    model: VAE,
    splits: Splits,
    *,
    protocol: str,
    binarize: str,
    data_dir: Path,
    num_importance_samples: int,
    console: Console,
    processes: ProcessGroup = SINGLE_PROCESS,
) -> dict[str, Any]:
    """Compute every score of `evaluate_all` under a progress bar.

    The classifier that judges samples is kept in `classifiers/` below `data_dir`. Only the main one of several
    processes returns all scores.
    """

    def on_samples(count: int) -> None:
        console.advance(count)
        raise_if_stopped()

    settings: dict[str, Any] = {"binarize": binarize, "num_importance_samples": num_importance_samples}
    console.start_bar(num_decoded(model, splits, **settings), unit="samples", title="evaluating:")
    try:
        cache_dir = data_dir / "classifiers"
        settings |= {"protocol": protocol, "cache_dir": cache_dir, "on_samples": on_samples, "processes": processes}
        return evaluate_all(model, splits, **settings)
    finally:
        console.close_bar()


def print_scores(scores: dict[str, Any], console: Console) -> None:
    """Print the scores of `evaluate_fully` as a table, and their warnings."""
    console.table(f"evaluated: {scores['dataset']}, {scores['images']:,} test images", full_table(scores))
    if scores["warnings"]:
        console.warn(*scores["warnings"])


def full_table(scores: dict[str, Any]) -> Table:
    """The scores of `evaluate_fully` with their standard errors over images, then the caveats."""
    rows: Table = [("protocol", f"{scores['protocol']}; {scores['evaluation']}")]
    for name, title in TITLES.items():
        if name in scores:
            rows += _likelihood_rows(scores[name], title)
    rows += _latent_rows(scores["latents"]) + _sample_rows(scores["samples"])
    return rows + [("note", line) for line in scores["caveats"]]


def _likelihood_rows(figures: dict[str, Any], title: str) -> Table:
    terms = Terms(figures["recon"]["mean"], figures["kl"]["mean"])
    bits = f"{_pm(figures['bits_per_dim'], 4)} bits per dimension"
    sizes = f"{figures['ess_median']:.1f}, below 5 for {figures['ess_below_least']:.0%} of the images"
    return [
        (f"{title} loss", f"{terms.named()}, ± {figures['elbo']['se']:.2f}, minus the ELBO in nats per image"),
        (f"{title} NLL", f"{_pm(figures['nll'])}, importance-weighted; {bits}"),
        ("", f"median effective sample size {sizes}"),
    ]


def _latent_rows(scores: dict[str, Any]) -> Table:
    each = _largest(scores["mutual_information_per_dim"])
    active = f"{scores['active_units']} of {scores['num_latents']} active"
    information = (
        f"I(x; z) {_pm(scores['mutual_information'])} of at most {scores['mutual_information_ceiling']:.2f} nats"
    )
    rows: Table = [
        ("latents", f"{active}; {information}; KL(q(z) || p(z)) {_pm(scores['aggregate_kl'])}"),
        ("", f"total correlation {_pm(scores['total_correlation'])}; I(x; z) of each: {each} nats"),
    ]
    if "missing" in scores:
        return [*rows, ("classes", f"none: {scores['missing']}")]
    knn, probe = (_percent(scores[name]) for name in ("knn_accuracy", "probe_accuracy"))
    return [*rows, ("classes", f"from posterior means: kNN (k=5) {knn}, linear probe {probe}")]


def _sample_rows(scores: dict[str, Any]) -> Table:
    if "missing" in scores:
        return [("samples", f"not scored: {scores['missing']}")]
    frechet = f"Fréchet {scores['frechet']:.2f} (real test images {scores['frechet_floor']:.2f})"
    kernel = f"kernel {scores['kernel']:.4f} (real {scores['kernel_floor']:.4f})"
    return [("samples", f"{frechet}, {kernel}: {scores['compared']}, {scores['num_samples']:,} of each")]


def _pm(figure: dict[str, float], digits: int = 2) -> str:
    return f"{figure['mean']:.{digits}f} ± {figure['se']:.{digits}f}"


def _percent(figure: dict[str, float]) -> str:
    return f"{100 * figure['mean']:.1f} ± {100 * figure['se']:.1f} %"
