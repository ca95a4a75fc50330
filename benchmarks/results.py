"""Train presets over several seeds and write the tables of docs/results.md and docs/likelihoods.md.

`make results` and `make record` run it.

Finished runs are kept in `benchmarks/results.json` and not trained again; a run that was stopped is resumed. Delete its
entry and its folder below `outputs/` to measure a preset anew.

    python benchmarks/results.py                                # what is missing, at each preset's own epochs
    python benchmarks/results.py --presets conv-2d --num_epochs 10 --seeds 0
    python benchmarks/results.py --presets quick            # 8 minutes each, and half an hour to score
    python benchmarks/results.py --table                        # only rewrite the tables
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from vae.config.presets import PRESETS, configure
from vae.runs.entries import Spread
from vae.runs.record import last_row, read_metrics
from vae.system.files import write_atomic, write_json

STORE = ROOT / "benchmarks" / "results.json"
EXPECTED = ROOT / "vae" / "config" / "expected.json"  # the package's summary, for reports
# The page of each table, and the comments that it stands between.
RESULTS = "docs/results.md", "<!-- results: written by `make results` -->", "<!-- end of results -->"
LIKELIHOODS = "docs/likelihoods.md", "<!-- likelihoods: written by `make record` -->", "<!-- end of likelihoods -->"
SCORED = ("quick", "record", "record-mixer", "record-standard")  # with 5,000 importance samples
# Test losses of plain PyTorch loops of the same recipes, grey pixels, seed 0, one run each.
PLAIN = {"mlp-2d": "148.8", "mlp-64d": "107.7", "mlp-32d": "102.9", "mlp-20d": "101.0"}

# Dynamically binarised MNIST: model, prior, NLL as it was published, source.
PUBLISHED = [
    ("VAE, 2×200 tanh, 50 latents", "standard", "86.76", "Burda et al. 2015"),
    ("IWAE k=5, same nets", "standard", "85.54", "Burda et al. 2015"),
    ("IWAE k=50, same nets", "standard", "84.78", "Burda et al. 2015"),
    ("VAE, 2×300 gated, 40 latents", "standard", "84.45 ± 0.12", "Norouzi et al. 2020"),
    ("IWAE k=50 with DReG gradients", "standard", "84.32", "public re-run"),
    ("gated VAE, IAF posterior", "standard", "83.04", "table of the SeRe-VAE paper"),
    ("gated VAE", "VampPrior", "82.38", "Tomczak & Welling 2018"),
    ("gated VAE", "Exemplar", "82.09 ± 0.18", "Norouzi et al. 2020"),
    ("*two stochastic layers*: HVAE", "Exemplar", "81.22", "Norouzi et al. 2020"),
    ("*several stochastic layers*: Discrete VAE", "RBM", "80.15", "Rolfe 2017"),
    ("*convolutional*: ResNet VAE, IAF posterior", "–", "79.10", "Kingma et al. 2016"),
    ("*convolutional*: ResNet VAE", "RealNVP", "78.49", "Xu et al. 2019"),
    ("*convolutional, hierarchical*: NVAE", "learned", "78.01", "Vahdat & Kautz 2020"),
    ("*convolutional, hierarchical*: CR-NVAE", "learned", "76.93", "Sinha & Dieng 2021"),
]

Entry = dict[str, Any]


def load() -> list[Entry]:
    """The runs measured so far."""
    return json.loads(STORE.read_text()) if STORE.exists() else []


def find(entries: list[Entry], preset: str, num_epochs: int) -> list[Entry]:
    """The entries of a preset's runs of this length, one for each seed."""
    return [entry for entry in entries if (entry["preset"], entry["epoch"]) == (preset, num_epochs)]


def keep(entry: Entry) -> list[Entry]:
    """Add an entry to the store, or replace that of its run there; returns all of them."""
    key = ("preset", "seed", "epoch")
    others = [other for other in load() if any(other[name] != entry[name] for name in key)]  # of other programs too
    write_json(STORE, [*others, entry])
    return [*others, entry]


def train(preset: str, seed: int, num_epochs: int) -> Entry:
    """Train one preset with one seed, or continue where that was stopped; returns its figures."""
    run_dir = run_folder(preset, seed, num_epochs)
    results = run_dir / "results.json"
    if (run_dir / "checkpoints" / "last.pt").exists():
        flags = ["--resume", str(run_dir)]
    else:
        flags = ["--dataset", "mnist", "--preset", preset, "--seed", str(seed), "--num_epochs", str(num_epochs)]
        flags += ["--run_name", run_dir.name]
    if not results.exists():
        subprocess.run([sys.executable, "main.py", *flags], cwd=ROOT, check=True)
    found, facts = (json.loads(file.read_text()) for file in (results, run_dir / "config.json"))
    kept = ("dataset", "protocol", "epoch", "train", "test", "best", "seconds_per_epoch", "peak_memory_mb")
    entry = {"preset": preset, "seed": seed, **{key: found[key] for key in kept if key in found}}
    entry["test"].pop("kl_per_dim", None)
    return {
        **entry,
        "device": facts["device"],
        "precision": facts["config"]["precision"],
        "training_minutes": last_row(run_dir / "metrics.jsonl")[1] / 60,
        # Compiling, evaluation and pictures included; of a run that was stopped, the break too.
        "minutes": (results.stat().st_mtime - datetime.fromisoformat(facts["started"]).timestamp()) / 60,
        "versions": facts["versions"],
        **({"curve": curve(run_dir / "metrics.jsonl", num_epochs)} if preset in SCORED else {}),
    }


def curve(metrics: Path, num_epochs: int) -> list[list[float]]:
    """Minutes of training and minus the ELBO of the test images, after some forty epochs and the last."""
    rows = read_metrics(metrics, num_epochs)
    minutes = itertools.accumulate(row["seconds"] / 60 for row in rows)
    points = [[round(time, 2), round(row["test/loss"], 2)] for time, row in zip(minutes, rows, strict=True)]
    step = -(-num_epochs // 40)
    return [*points[:-1:step], points[-1]]


def score(entry: Entry) -> None:
    """Add the importance-weighted scores of its finished run to an entry."""
    run_dir = run_folder(entry["preset"], entry["seed"], entry["epoch"])
    results = run_dir / "results.json"
    if "final_eval" not in json.loads(results.read_text()):
        command = [sys.executable, "main.py", "--resume", str(run_dir), "--final_eval"]
        subprocess.run(command, cwd=ROOT, check=True)
    entry["final_eval"] = json.loads(results.read_text())["final_eval"]
    for each in ("kl_per_dim", "mutual_information_per_dim"):
        entry["final_eval"].get("latents", {}).pop(each, None)


def run_folder(preset: str, seed: int, num_epochs: int) -> Path:
    """Where a run leaves its files."""
    return ROOT / "outputs" / f"results-{preset}-{num_epochs}-seed{seed}"


def table(entries: list[Entry]) -> str:
    """The table of results, a row for each preset and length."""
    lines = [
        "| preset | protocol | epochs, seeds | train = recon + KL | test = recon + KL | plain loop | s per epoch |",
        "|---|---|---|---|---|---|---|",
    ]
    for preset in PRESETS:
        for epochs in sorted({entry["epoch"] for entry in entries if entry["preset"] == preset}):
            same = find(entries, preset, epochs)
            sums = []
            for split in ("train", "test"):
                recon, kl = (statistics.mean(entry[split][term] for entry in same) for term in ("recon", "kl"))
                sums.append(f"{Spread.of([-entry[split]['elbo'] for entry in same])} = {recon:.2f} + {kl:.2f}")
            own = epochs == configure({"preset": preset}).num_epochs
            plain = PLAIN.get(preset, "–") if own else "–"
            seconds = statistics.median(entry["seconds_per_epoch"] for entry in same)
            length = (
                f"{epochs}{'' if own else ' (of the preset’s ' + str(configure({'preset': preset}).num_epochs) + ')'}"
            )
            cells = [f"`{preset}`", same[0]["protocol"], f"{length}, {len(same)}", *sums, plain, f"{seconds:.2f}"]
            lines.append("| " + " | ".join(cells) + " |")
    machines = sorted(
        {f"{entry['device']}, {entry['precision']}, torch {entry['versions']['torch']}" for entry in entries}
    )
    return "\n".join([*lines, "", f"Mean ± standard deviation over seeds. Measured on: {'; '.join(machines)}."])


def likelihood_table(entries: list[Entry]) -> str:
    """Our likelihoods in their place among the published figures, the best last."""
    rows = [
        (float(nll.split()[0]), f"| {model} | {prior} | {nll} | {source} |") for model, prior, nll, source in PUBLISHED
    ]
    for preset in SCORED:
        config = configure({"preset": preset})
        same = [entry for entry in find(entries, preset, config.num_epochs) if "final_eval" in entry]
        if not same:
            continue
        scores = [entry["final_eval"]["test"] for entry in same]
        nll, elbo = ([score[name]["mean"] for score in scores] for name in ("nll", "elbo"))
        minutes = min(entry["minutes" if "minutes" in entry else "training_minutes"] for entry in same)
        prior = {"flow": "RealNVP"}.get(config.prior, config.prior)
        told = f"`--preset {preset}`, {config.latent_dim} latents, −ELBO {Spread.of([-value for value in elbo])}"
        told += f", {len(same)} seed{'s' * (len(same) > 1)}"
        told += f", {minutes:.0f} minutes ({same[0]['device']})"
        rows.append((statistics.mean(nll), f"| **{told}** | {prior} | **{Spread.of(nll)}** | here |"))
    lines = [line for _, line in sorted(rows, reverse=True)]
    return "\n".join(["| model | prior | NLL | source |", "|---|---|---|---|", *lines])


def expected(entries: list[Entry]) -> dict[str, Any]:
    """Mean and standard deviation of each preset's test loss, of the longest of its runs that have several seeds."""
    figures = {}
    for preset, num_epochs in sorted({(entry["preset"], entry["epoch"]) for entry in entries}):
        same = find(entries, preset, num_epochs)
        losses = [-entry["test"]["elbo"] for entry in same]
        if len(losses) > 1:
            mean, std = round(statistics.mean(losses), 2), round(statistics.stdev(losses), 2)
            figures[preset] = {"num_epochs": num_epochs, "seeds": len(losses), "mean": mean, "std": std}
            figures[preset] |= {"precision": "/".join(sorted({entry["precision"] for entry in same}))}
    return figures


def write_table(page: str, start: str, end: str, content: str) -> None:
    """Replace what stands between the two comments of a page, a path below the repository's root."""
    path = ROOT / page
    before, rest = path.read_text().split(start)
    text = f"{before}{start}\n\n{content}\n\n{end}{rest.split(end)[1]}"
    write_atomic(path, lambda stream: stream.write(text.encode()))


def write_tables(entries: list[Entry]) -> None:
    """Write both tables into their pages, and what the report expects of each preset into the package."""
    scored = [entry for entry in entries if entry["preset"] in SCORED]
    others = [entry for entry in entries if entry["preset"] not in SCORED]
    write_json(EXPECTED, expected(others))
    write_table(*RESULTS, table(others))
    write_table(*LIKELIHOODS, likelihood_table(scored))


def main() -> None:
    """Measure what is missing, then write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    unscored = [preset for preset in PRESETS if preset not in SCORED]
    parser.add_argument("--presets", nargs="+", choices=list(PRESETS), default=unscored)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--num_epochs", type=int, help="in place of the presets' own")
    parser.add_argument("--unscored", action="store_true", help="leave the importance-weighted scores for another time")
    parser.add_argument("--table", action="store_true", help="train nothing")
    args = parser.parse_args()
    entries = load()
    for preset in [] if args.table else args.presets:
        num_epochs = args.num_epochs or configure({"preset": preset}).num_epochs
        for seed in args.seeds:
            entry = next((entry for entry in find(entries, preset, num_epochs) if entry["seed"] == seed), None)
            if entry is None:
                entry = train(preset, seed, num_epochs)
                entries = keep(entry)
            if preset in SCORED and "final_eval" not in entry and not args.unscored:
                score(entry)
                entries = keep(entry)
            write_tables(entries)
    write_tables(entries)


if __name__ == "__main__":
    main()
