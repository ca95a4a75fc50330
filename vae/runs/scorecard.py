"""A model's figures before the eyes of a person: the quick ones at once, all of them with a bar; as tables."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from vae.data.datasets import Splits
from vae.evaluation.elbo import EVAL_SEED, evaluate
from vae.evaluation.measure import evaluate_all, num_decoded
from vae.model.losses import Terms
from vae.model.vae import VAE
from vae.runs.trained import Trained
from vae.system.console import Console, Table
from vae.system.stopping import raise_if_stopped

TITLES = {"test": "test", "test_binarised": "binarised"}


def quick(trained: Trained) -> dict[str, Any]:
    """The one-sample ELBO of the test set, and of the validation set where there is one, in a second or so."""
    found: dict[str, Any] = {
        "dataset": trained.title,
        "protocol": trained.protocol,
        "unit": "nats per image",
        "evaluation": f"float32, beta 1, one posterior sample per image, noise seed {EVAL_SEED}",
        "epoch": trained.epoch,
        "checkpoint": str(trained.path),
        "device": str(trained.device),
    }
    for name in ("val", "test"):
        if getattr(trained.splits, name):
            split = trained.split(name)
            found[name] = {"images": len(split), **evaluate(trained.model, split).as_dict()}
    return found


def quick_table(found: dict[str, Any]) -> Table:
    """The figures of `quick` for a screen."""
    rows: Table = [("protocol", f"{found['protocol']}; {found['evaluation']}")]
    for name in ("val", "test"):
        if name in found:
            terms = found[name]
            bound = Terms(terms["recon"], terms["kl"]).named()
            rows.append((name, f"{bound}, minus the ELBO in nats per image, {terms['images']:,} images"))
    test = found["test"]
    per_latent = sorted(test["kl_per_dim"], reverse=True)
    shown = " ".join(f"{value:.2f}" for value in per_latent[:10]) + (" …" if len(per_latent) > 10 else "")
    adds_up = math.isclose(sum(per_latent), test["kl"], rel_tol=1e-3, abs_tol=1e-3)
    each = "KL of each" if adds_up else "KL of each from N(0, 1), which is not the prior"
    return [*rows, ("latents", f"{test['active_units']} of {len(per_latent)} active; {each}: {shown} nats")]


def assess(
    model: VAE,
    splits: Splits,
    *,
    protocol: str,
    binarize: str,
    data_dir: Path,
    num_importance_samples: int,
    console: Console,
) -> dict[str, Any]:
    """`evaluate_all` with a bar, its table and its warnings on the screen.

    Args:
        model: left in eval mode.
        splits: what it was trained on, on its device.
        protocol: how pixels were made into targets and scored.
        binarize: of its training.
        data_dir: the classifier that judges samples is kept below.
        num_importance_samples: samples per test image.
        console: the screen.
    """

    def on_samples(count: int) -> None:
        console.advance(count)
        raise_if_stopped()

    chosen: dict[str, Any] = {"binarize": binarize, "num_importance_samples": num_importance_samples}
    console.start_bar(num_decoded(model, splits, **chosen), unit="samples", title="evaluating")
    cache_dir = data_dir / "classifiers"
    try:
        found = evaluate_all(
            model,
            splits,
            protocol=protocol,
            cache_dir=cache_dir,
            on_samples=on_samples,
            **chosen,
        )
    finally:
        console.close_bar()
    console.table(f"evaluated: {found['dataset']}, {found['images']:,} test images", measured_table(found))
    if found["warnings"]:
        console.warn(*found["warnings"])
    return found


def measured_table(found: dict[str, Any]) -> Table:
    """The figures of `evaluate_all`, each with its standard error over images, then what must be said beside them."""
    rows: Table = [("protocol", f"{found['protocol']}; {found['evaluation']}")]
    for name, title in TITLES.items():
        if name in found:
            rows += _likelihood_rows(found[name], title)
    rows += _latent_rows(found["latents"]) + _sample_rows(found["samples"])
    return rows + [("note", line) for line in found["caveats"]]


def _likelihood_rows(figures: dict[str, Any], title: str) -> Table:
    recon, kl, elbo = figures["recon"]["mean"], figures["kl"]["mean"], figures["elbo"]
    loss = {"mean": -elbo["mean"], "se": elbo["se"]}
    bits = f"{_pm(figures['bits_per_dim'], 4)} bits per dimension"
    sizes = f"{figures['ess_median']:.1f}, below 5 for {figures['ess_below_least']:.0%} of the images"
    return [
        (f"{title} loss", f"{_pm(loss)} = {recon:.2f} recon + {kl:.2f} KL, minus the ELBO in nats per image"),
        (f"{title} NLL", f"{_pm(figures['nll'])}, importance-weighted; {bits}"),
        ("", f"median effective sample size {sizes}"),
    ]


def _latent_rows(found: dict[str, Any]) -> Table:
    active = f"{found['active_units']} of {found['num_latents']} active"
    information = (
        f"I(x; z) {_pm(found['mutual_information'])} of at most {found['mutual_information_ceiling']:.2f} nats"
    )
    rows: Table = [("latents", f"{active}; {information}; KL(q(z) || p(z)) {_pm(found['aggregate_kl'])}")]
    if "missing" in found:
        return [*rows, ("classes", f"none: {found['missing']}")]
    knn, probe = (_percent(found[name]) for name in ("knn_accuracy", "probe_accuracy"))
    return [*rows, ("classes", f"from posterior means: kNN (k=5) {knn}, linear probe {probe}")]


def _sample_rows(found: dict[str, Any]) -> Table:
    if "missing" in found:
        return [("samples", f"not judged: {found['missing']}")]
    frechet = f"Fréchet {found['frechet']:.2f} (real test images {found['frechet_floor']:.2f})"
    kernel = f"kernel {found['kernel']:.4f} (real {found['kernel_floor']:.4f})"
    return [("samples", f"{frechet}, {kernel}: {found['compared']}, {found['num_samples']:,} of each")]


def _pm(figure: dict[str, float], digits: int = 2) -> str:
    return f"{figure['mean']:.{digits}f} ± {figure['se']:.{digits}f}"


def _percent(figure: dict[str, float]) -> str:
    return f"{100 * figure['mean']:.1f} ± {100 * figure['se']:.1f} %"
