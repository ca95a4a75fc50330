"""Runs' folders as training leaves them, without any training."""

import dataclasses
import json
from pathlib import Path

from vae.config.presets import configure
from vae.runs.record import TERMS


def rows_of(losses, *, kl=6.0):
    """Rows of metrics.jsonl with these test losses; training's are one nat lower."""
    rows = []
    for epoch, loss in enumerate(losses, start=1):
        row = {"epoch": epoch, "seconds": 1.5, "images_per_second": 1000.0, "lr": 1e-3, "beta": 1.0}
        for split, shift in (("train", -1.0), ("test", 0.0)):
            terms = {"loss": loss + shift, "recon": loss + shift - kl, "kl": kl, "elbo": -loss - shift}
            row |= {f"{split}/{term}": terms[term] for term in TERMS}
        rows.append({**row, "test/active_units": 2, "test/kl_per_dim": [kl / 2, kl / 2]})
    return rows


def record_run(
    run_dir: Path, losses=(160.0, 150.0), *, finished=True, protocol="grey pixels", dataset="MNIST", nll=None, **knobs
) -> Path:
    """Write config.json, metrics.jsonl and, of a finished run, results.json; `nll` is (NLL, K) of --final_eval."""
    run_dir.mkdir(parents=True)
    rows = rows_of(losses)
    num_epochs = len(losses) if finished else len(losses) + 3
    config = configure({"dataset": "mnist", "num_epochs": num_epochs, "run_name": run_dir.name, **knobs})
    description = {
        "config": dataclasses.asdict(config),
        "dataset": dataset,
        "fallback": "",
        "protocol": protocol,
        "parameters": 807_700,
        "seed": config.seed,
        "device": "cpu, 2 threads",
        "versions": {},
        "git_commit": None,
        "started": "2030-01-02T03:04:05",
    }
    (run_dir / "config.json").write_text(json.dumps(description))
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if finished:
        results = {"epoch": len(rows)} | ({"final_eval": measured(*nll)} if nll else {})
        (run_dir / "results.json").write_text(json.dumps(results))
    return run_dir


def measured(nll, num_samples):
    """The part of results.json and evaluation.json that a catalog reads."""
    return {"protocol": "grey pixels", "num_importance_samples": num_samples, "test": {"nll": {"mean": nll}}}


def edit(path: Path, **entries) -> None:
    """Change entries of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))
