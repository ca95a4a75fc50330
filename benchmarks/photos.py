"""How many digits on photos are read right: made-up photos of MNIST's test digits, prepared as `reconstruct` does.

The photos are those of `tests/made_photos.py`: shadows, ruled paper, coloured pens, table edges and more. The reader is
the classifier of `vae/evaluation/classifier.py`, trained on MNIST itself. Run it from the project's root, where `data/`
holds MNIST:

    python benchmarks/photos.py           # 40 photos of each kind; minutes
    python benchmarks/photos.py --n 5 --kinds "hard shadow" "table edge"
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from made_photos import KINDS, make  # type: ignore[import-not-found]  # of tests/

from vae.data.datasets import load_splits
from vae.data.ink import SIDE, find_ink, place
from vae.data.pixels import to_pixels
from vae.evaluation.classifier import load_or_train


def prepared(glyph: Tensor, kind: str, seed: int) -> Tensor:
    """Photograph a digit and prepare the photo, (1, 1, SIDE, SIDE) uint8; all black if nothing stands out."""
    ink = find_ink(make(to_pixels(glyph).numpy(), kind, seed))
    return torch.zeros(1, 1, SIDE, SIDE, dtype=torch.uint8) if ink is None else place(ink.strength, mass=True)


def main() -> None:
    """Print, for each kind of photo, how many are read right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--n",
        type=int,
        default=40,
        help="photos of each kind, of as many of MNIST's test digits, whose indices are the seeds",
    )
    parser.add_argument("--first", type=int, default=0, help="the first of these test digits")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND")
    parser.add_argument("--data_dir", type=Path, default=Path("data"))
    args = parser.parse_args()

    splits = load_splits("mnist", args.data_dir)
    reader, accuracy = load_or_train(splits, pixels="none", cache_dir=args.data_dir / "classifiers")
    print(f"the reader's accuracy on MNIST's test images: {accuracy:.2%}")
    digits = range(args.first, args.first + args.n)
    labels = splits.test.labels[digits.start : digits.stop]
    right = 0
    for kind in args.kinds:
        images = [prepared(splits.test.images[index][0], kind, index) for index in digits]
        with torch.no_grad():
            count = int((reader(to_pixels(torch.cat(images))).argmax(1) == labels).sum())
        right += count
        print(f"{kind:24} {count:3} of {len(digits)}", flush=True)
    print(f"all: {right:,} of {len(args.kinds) * len(digits):,}")


if __name__ == "__main__":
    main()
