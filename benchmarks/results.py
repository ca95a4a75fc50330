"""Train every preset over several seeds and write the README's table of results: `make results`.

Finished runs are kept in `benchmarks/results.json` and not trained again; a run that was stopped is resumed. Delete its
entry to measure a preset anew.

    python benchmarks/results.py                                # what is missing, at each preset's own epochs
    python benchmarks/results.py --presets conv-2d --num_epochs 10 --seeds 0
    python benchmarks/results.py --table                        # only rewrite the README's table
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from vae.files import write_atomic, write_json  # noqa: E402
from vae.presets import PRESETS, configure  # noqa: E402

STORE = ROOT / "benchmarks" / "results.json"
START, END = "<!-- results: written by `make results` -->", "<!-- end of results -->"
# Test losses of plain PyTorch loops of the same recipes, grey pixels, seed 0, one run each.
PLAIN = {"mlp-2d": "148.8", "mlp-64d": "107.7", "mlp-32d": "102.9", "mlp-20d": "101.0"}

Entry = dict[str, Any]


def load() -> list[Entry]:
    """The runs measured so far."""
    return json.loads(STORE.read_text()) if STORE.exists() else []


def measure(preset: str, seed: int, num_epochs: int) -> Entry:
    """Train one preset with one seed, or continue where that was stopped; returns its figures."""
    name = f"results-{preset}-{num_epochs}-seed{seed}"
    run_dir = ROOT / "outputs" / name
    command = [sys.executable, "main.py", "--dataset", "mnist", "--preset", preset, "--seed", str(seed)]
    command += ["--num_epochs", str(num_epochs), "--run_name", name]
    if (run_dir / "checkpoints" / "last.pt").exists():
        command = [sys.executable, "main.py", "--resume", str(run_dir)]
    if not (run_dir / "results.json").exists():
        subprocess.run(command, cwd=ROOT, check=True)
    found, facts = (json.loads((run_dir / file).read_text()) for file in ("results.json", "config.json"))
    kept = ("dataset", "protocol", "epoch", "train", "test", "best", "seconds_per_epoch", "peak_memory_mb")
    entry = {"preset": preset, "seed": seed, **{key: found[key] for key in kept if key in found}}
    entry["test"].pop("kl_per_dim")
    return {
        **entry,
        "device": facts["device"],
        "precision": facts["config"]["precision"],
        "versions": facts["versions"],
    }


def spread(values: list[float]) -> str:
    """Mean ± standard deviation over seeds; the value alone where there is one seed."""
    mean = f"{statistics.mean(values):.2f}"
    return f"{mean} ± {statistics.stdev(values):.2f}" if len(values) > 1 else mean


def table(entries: list[Entry]) -> str:
    """The README's table, a row for each preset and length."""
    lines = [
        "| preset | protocol | epochs, seeds | train = recon + KL | test = recon + KL | plain loop | s per epoch |",
        "|---|---|---|---|---|---|---|",
    ]
    for preset in PRESETS:
        for epochs in sorted({entry["epoch"] for entry in entries if entry["preset"] == preset}):
            same = [entry for entry in entries if (entry["preset"], entry["epoch"]) == (preset, epochs)]
            sums = []
            for split in ("train", "test"):
                recon, kl = (statistics.mean(entry[split][term] for entry in same) for term in ("recon", "kl"))
                sums.append(f"{spread([-entry[split]['elbo'] for entry in same])} = {recon:.2f} + {kl:.2f}")
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


def write_table(entries: list[Entry]) -> None:
    """Put the table between the README's two marks."""
    path = ROOT / "README.md"
    text = path.read_text()
    before, rest = text.split(START)
    after = rest.split(END)[1]
    content = f"{before}{START}\n\n{table(entries)}\n\n{END}{after}"
    write_atomic(path, lambda stream: stream.write(content.encode()))


def main() -> None:
    """Measure what is missing, then write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", choices=list(PRESETS), default=list(PRESETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--num_epochs", type=int, help="in place of the presets' own")
    parser.add_argument("--table", action="store_true", help="train nothing")
    args = parser.parse_args()
    entries = load()
    for preset in [] if args.table else args.presets:
        num_epochs = args.num_epochs or configure({"preset": preset}).num_epochs
        for seed in args.seeds:
            key = (preset, seed, num_epochs)
            if key in {(entry["preset"], entry["seed"], entry["epoch"]) for entry in entries}:
                continue
            entries.append(measure(*key))
            write_json(STORE, entries)
            write_table(entries)
    write_table(entries)


if __name__ == "__main__":
    main()
