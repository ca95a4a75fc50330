"""How fast training is, against the usual script and against the machine: `make bench`.

Five ways of an epoch take turns, each in a process of its own, several times over, so that a machine that is busy for a
while slows all of them: the plain loop (`plain_loop.py`), the same with `DataLoader` workers, this package's epoch
without and with `--compile`, and the floor, which is the epoch's matrix products alone at the same shapes and
precision. Medians are compared; the first epoch of each, and the compiling after it, are left out. All loops train for
real, and their losses after the same epochs stand beside the speed.

    python benchmarks/throughput.py --write                     # four presets, five epochs, three seeds; `make bench`
    python benchmarks/throughput.py --presets mlp-2d --seeds 0  # one of them, quickly, to look at
    python benchmarks/throughput.py --table                     # only rewrite the table of docs/speed.md
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from results import write_table

from vae.config import Config
from vae.config.presets import configure
from vae.system.files import write_json

STORE = ROOT / "benchmarks" / "throughput.json"
TABLE = "docs/speed.md", "<!-- throughput: written by `make bench` -->", "<!-- end of throughput -->"
PRESETS = ("mlp-2d", "mlp-32d", "mlp-20d", "conv-2d")
WHOLE = {"conv-2d": 48_000}  # images of an epoch of the preset, where that is not 60,000
IMAGES = {"conv-2d": 4096}  # of an epoch here: a plain epoch of all takes minutes
WAYS = ("plain", "workers", "uncompiled", "ours", "floor")
WORKERS = 2

Epoch = Callable[[int], float | None]  # runs an epoch, counted from 1, and returns its mean training loss
Entry = dict[str, Any]


def warmup_epochs(config: Config, preset: str, images: int) -> float:
    """Epochs of `images` images in which the learning rate grows by as many steps as it does in the preset's own."""
    return config.lr_warmup_epochs * WHOLE.get(preset, 60_000) / images


def plain(preset: str, seed: int, images: int, device: str, *, num_workers: int = 0) -> Epoch:
    """The usual script's epoch."""
    import torch
    from plain_loop import PlainConvVAE, PlainVAE, train_epoch
    from torch.utils.data import DataLoader, Subset
    from torchvision import datasets, transforms

    config = configure({"preset": preset})
    torch.manual_seed(seed)
    mnist = datasets.MNIST(str(ROOT / "data"), train=True, download=True, transform=transforms.ToTensor())
    loader: Any = DataLoader(
        Subset(mnist, range(images)), batch_size=config.batch_size, shuffle=True, num_workers=num_workers
    )
    conv = config.arch == "conv"
    model = (PlainConvVAE(config.latent_dim) if conv else PlainVAE(config.hidden_dims, config.latent_dim)).to(device)
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    optimizer = kind(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    scheduler = None
    if config.lr_warmup_epochs:
        steps = warmup_epochs(config, preset, images) * len(loader)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 0.5) / steps))

    def epoch(number: int) -> float:
        return train_epoch(model, loader, optimizer, scheduler=scheduler, squared=config.recon_loss == "mse")

    return epoch


def ours(preset: str, seed: int, images: int, device: str, *, compiles: bool = True) -> Epoch:
    """This package's epoch, compiled after the first, as in a run that is long enough."""
    import torch

    from vae.data.datasets import load_splits
    from vae.model.build import build_model
    from vae.system.machine import resolve_precision
    from vae.training.epoch import train_epoch
    from vae.training.optimizer import build_optimizer
    from vae.training.step import TrainingStep

    config = configure({"preset": preset, "seed": seed})
    config = dataclasses.replace(
        config,
        precision=resolve_precision("auto", torch.device(device)),
        lr_warmup_epochs=warmup_epochs(config, preset, images),
    )
    torch.manual_seed(seed)
    split = load_splits("mnist", ROOT / "data").to(torch.device(device)).train.take(torch.arange(images))
    model = build_model(config, image_shape=(1, 28, 28), num_classes=10).to(device)
    step = TrainingStep(model, build_optimizer(config, model), config)
    generator = torch.Generator(device).manual_seed(seed)

    def epoch(number: int) -> float:
        metrics = train_epoch(step, split, epoch=number, generator=generator)
        if compiles and step.compiled is None:
            step.compile(split, epoch=number + 1)
        return metrics["loss"]

    return epoch


def floor(preset: str, seed: int, images: int, device: str) -> Epoch:
    """An epoch's matrix products and convolutions, forward and backward, and nothing else."""
    import torch

    from vae.model.build import build_model
    from vae.model.objective import AUTOCAST_DTYPES
    from vae.system.machine import resolve_precision

    config = configure({"preset": preset, "seed": seed})
    dtype = AUTOCAST_DTYPES.get(resolve_precision("auto", torch.device(device)), torch.float32)
    model = build_model(config, image_shape=(1, 28, 28), num_classes=10).to(device, dtype)
    products = list(_products(model, torch.rand(config.batch_size, 1, 28, 28, device=device, dtype=dtype)))
    steps = images / config.batch_size  # the last batch counts as the part that it is

    def epoch(number: int) -> None:
        for _ in range(round(steps)):
            for product in products:
                product()

    return epoch


def _products(model: Any, x: Any) -> Iterator[Callable[[], Any]]:
    """Of every layer that multiplies: its output, its weights' gradient and, but for the first, its input's."""
    import torch
    from torch import nn

    seen: list[tuple[Any, Any, Any]] = []

    def remember(layer: Any, inputs: tuple[Any, ...], output: Any) -> None:
        seen.append((layer, inputs[0].detach(), torch.rand_like(output)))

    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)]
    handles = [layer.register_forward_hook(remember) for layer in layers]
    with torch.no_grad():
        model(x, eps=torch.randn(len(x), model.latent_dim, device=x.device, dtype=x.dtype))
    for handle in handles:
        handle.remove()
    for place, (layer, h, grad) in enumerate(seen):
        weight = layer.weight.detach()
        if isinstance(layer, nn.Linear):
            yield partial(torch.matmul, h, weight.T)
            yield partial(torch.matmul, grad.T, h)
            if place:
                yield partial(torch.matmul, grad, weight)
            continue
        turned = isinstance(layer, nn.ConvTranspose2d)
        shape = (layer.stride, layer.padding, layer.dilation, turned, layer.output_padding, layer.groups)
        yield partial(torch.ops.aten.convolution, h, weight, None, *shape)
        mask = [bool(place), True, False]
        yield partial(torch.ops.aten.convolution_backward, grad, h, weight, None, *shape, mask)


def serve(way: str, preset: str, seed: int, images: int, device: str) -> None:
    """Run an epoch for every line that comes in, and answer with a line of JSON."""
    import torch

    from vae.system import memory
    from vae.system.machine import peak_memory_mb

    if way not in ("plain", "workers"):
        memory.keep_freed()  # as a run does
    sys.path.insert(0, str(ROOT / "benchmarks"))
    makers: dict[str, Callable[[], Epoch]] = {
        "plain": lambda: plain(preset, seed, images, device),
        "workers": lambda: plain(preset, seed, images, device, num_workers=WORKERS),
        "uncompiled": lambda: ours(preset, seed, images, device, compiles=False),
        "ours": lambda: ours(preset, seed, images, device),
        "floor": lambda: floor(preset, seed, images, device),
    }
    epoch = makers[way]()
    print("ready", flush=True)
    for number, _ in enumerate(sys.stdin, start=1):
        started = time.perf_counter()
        loss = epoch(number)
        if device != "cpu":
            torch.cuda.synchronize()
        answer = {"seconds": time.perf_counter() - started, "loss": loss, "peak_memory_mb": peak_memory_mb()}
        print(json.dumps(answer), flush=True)


def compare(preset: str, seed: int, *, num_epochs: int, device: str, images: int) -> Entry:
    """Let the ways take turns for `num_epochs` epochs of `images` images."""
    flags = [preset, "--seeds", str(seed), "--device", device, "--images", str(images)]
    servers = {
        way: subprocess.Popen(
            [sys.executable, __file__, "--serve", way, "--presets", *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for way in WAYS
    }
    entry: Entry = {"preset": preset, "seed": seed, "images": images, "device": device}
    answers: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    try:
        for server in servers.values():
            ask(server, None)
        for _ in range(num_epochs):
            for way, server in servers.items():
                answers[way].append(ask(server, "go"))
    finally:
        for server in servers.values():
            server.terminate()
            server.communicate()
    for way, given in answers.items():
        timed = [one["seconds"] for one in given[1:]] or [given[0]["seconds"]]
        entry[way] = {"seconds": timed, "loss": given[-1]["loss"], "peak_memory_mb": given[-1]["peak_memory_mb"]}
    return entry


def ask(server: subprocess.Popen[str], line: str | None) -> dict[str, Any]:
    """Send a line to a process, and return its answer; `None` only waits until it is ready."""
    assert server.stdin and server.stdout
    if line:
        server.stdin.write(line + "\n")
        server.stdin.flush()
    answer = server.stdout.readline()
    if not answer:
        raise SystemExit("a way of the benchmark ended early: see its message above")
    return {} if line is None else json.loads(answer)


def _grouped(entries: list[Entry]) -> Iterator[tuple[str, str, list[Entry]]]:
    """Each preset and device with its entries, one a seed."""
    for preset, device in dict.fromkeys((entry["preset"], entry["device"]) for entry in entries):
        yield preset, device, [e for e in entries if (e["preset"], e["device"]) == (preset, device)]


def table(entries: list[Entry]) -> str:
    """The table: medians over all epochs and seeds, ratios of medians."""
    lines = [
        "| preset | way | s per epoch | images/s | against plain | of the floor | loss after the epochs | peak MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for preset, device, chosen in _grouped(entries):
        medians = {way: statistics.median(s for e in chosen for s in e[way]["seconds"]) for way in WAYS}
        for way in WAYS:
            seconds, losses = medians[way], [entry[way]["loss"] for entry in chosen if way != "floor"]
            spread = f" ± {statistics.stdev(losses):.2f}" if len(losses) > 1 else ""
            lines.append(
                f"| `{preset}`, {device} | {way} | {seconds:.2f} | {chosen[0]['images'] / seconds:,.0f} "
                f"| {medians['plain'] / seconds:.2f}× | {medians['floor'] / seconds:.0%} "
                f"| {'' if way == 'floor' else f'{statistics.mean(losses):.2f}{spread}'} "
                f"| {max(entry[way]['peak_memory_mb'] for entry in chosen):,.0f} |"
            )
    return "\n".join(lines)


def verdicts(entries: list[Entry]) -> str:
    """Of each preset with several seeds, how far our loss is from the plain loop's, beside its standard error."""
    lines = []
    for preset, device, chosen in _grouped(entries):
        differences = [entry["ours"]["loss"] - entry["plain"]["loss"] for entry in chosen]
        if len(differences) > 1:
            mean, error = statistics.mean(differences), statistics.stdev(differences) / len(differences) ** 0.5
            told = "worse: look into it" if mean > 3 * error + 1e-3 * chosen[0]["plain"]["loss"] else "not worse"
            lines.append(f"`{preset}`, {device}: {mean:+.2f} ± {error:.2f} ({told})")
    title = "Our loss less the plain loop's, mean ± standard error over seeds: "
    return f"{title}{'; '.join(lines)}." if lines else ""


def main() -> None:
    """Measure what is asked for and print it; with `--write`, keep it and write the table of docs/speed.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=list(PRESETS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--num_epochs", type=int, default=5, help="the first of them is not timed")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--images", type=int, help="of an epoch (default: 60,000; 4,096 for conv-2d)")
    parser.add_argument("--write", action="store_true", help="keep whole measurements, and write docs/speed.md")
    parser.add_argument("--table", action="store_true", help="rewrite the table of docs/speed.md from what was kept")
    parser.add_argument("--serve", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(args.serve, args.presets[0], args.seeds[0], args.images, args.device)
    if args.num_epochs < 2 or not 256 <= (args.images or 256) <= 60_000:
        parser.error("--num_epochs is 2 at least, --images 256 to 60,000")
    if args.write and (args.images or args.num_epochs != 5):
        parser.error("--write keeps measurements of the usual epochs and images only")
    entries: list[Entry] = json.loads(STORE.read_text()) if STORE.exists() and (args.write or args.table) else []
    for preset in () if args.table else args.presets:
        images = args.images or IMAGES.get(preset, 60_000)
        for seed in args.seeds:
            entry = compare(preset, seed, num_epochs=args.num_epochs, device=args.device, images=images)
            same = ("preset", "seed", "device")
            entries = [old for old in entries if any(old[key] != entry[key] for key in same)] + [entry]
            entries.sort(key=lambda one: (one["device"], PRESETS.index(one["preset"]), one["seed"]))
            if args.write:
                write_json(STORE, entries)
            print(table([entry]), flush=True)
    text = f"{table(entries)}\n\n{verdicts(entries)}".rstrip()
    print(text)
    if args.write or args.table:
        write_table(*TABLE, text)
    return None


if __name__ == "__main__":
    main()
