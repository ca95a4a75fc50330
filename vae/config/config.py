"""The configuration of a run: its knobs, checked, and what they amount to in words."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from vae.config.combinations import check_model, check_objective, check_patches, check_run
from vae.config.fields import LIKELIHOODS, SEED_MAX, Fields
from vae.config.knobs import check_all, check_device, check_run_name
from vae.system.errors import UsageError
from vae.system.files import FileError
from vae.system.wording import plural

RENAMED = {"mixture_patch": "patch_size"}  # knobs of older runs
REMOVED = {"elastic": 0.0}  # knobs that older runs have, and their defaults


@dataclass(frozen=True)
class Config(Fields):
    """What defines a run. The defaults are those of `python main.py`.

    Raises:
        UsageError: a value or a combination of values that is not allowed.
    """

    def __post_init__(self) -> None:
        check_all(self)
        check_device(self.device)
        if self.run_name:
            check_run_name(self.run_name)
        check_model(self)
        check_patches(self)
        check_objective(self)
        check_run(self)

    @property
    def model_name(self) -> str:
        """Short name of the model: `mlp-512-256-20d`, `mlp-4x512-40d-residual`, or with --nets `my_nets-make-2d`."""
        widths = [(width, len(list(same))) for width, same in groupby(self.hidden_dims)]
        dense = [f"{layers}x{width}" if layers > 1 else str(width) for width, layers in widths]
        body = [self.arch, *([str(self.base_channels)] if self.arch == "conv" else dense)]
        kinds = [self.block] * (self.block != "plain") + [self.prior] * (self.prior != "standard")
        kinds += ["mixture"] * (self.mixture_components > 1)
        if self.nets:
            file, _, function = self.nets.rpartition(":")
            names = re.findall(r"\w+", f"{Path(file).stem.removeprefix('python')} {function}")
            body, kinds = names, []
        return "-".join([*body, f"{self.latent_dim}d", *kinds, *(["conditional"] if self.conditional else [])])

    @property
    def recipe(self) -> str:
        """The objective and the optimizer in a line: `bce + KL, adamw 0.001, batch 64, 60 epochs`."""
        loss = "recon" if self.nets else self.recon_loss
        if self.mixture_components > 1:
            loss += f" of {self.patch_size}×{self.patch_size} patches of {self.mixture_components} components"
        loss += f" + {'' if self.beta == 1 else f'{self.beta:g} '}KL"
        loss += f" after {_epochs(self.kl_warmup_epochs)} of warm-up" if self.kl_warmup_epochs else ""
        loss += f" above {self.free_bits:g} nats a latent" if self.free_bits else ""
        loss += f", total correlation times {self.tc_weight:g}" if self.tc_weight != 1 else ""
        loss += f", {self.objective} bound" if self.objective != "elbo" else ""
        loss += f" of {self.num_samples_train} samples" if self.num_samples_train > 1 else ""
        loss += f" after {100 * self.elbo_until:.3g}% of the run with the ELBO" if self.elbo_until else ""
        optimizer = f"{self.optimizer} {self.lr:g}"
        optimizer += f" {self.lr_schedule}" if self.lr_schedule != "constant" else ""
        optimizer += f" after {_epochs(self.lr_warmup_epochs)} of warm-up" if self.lr_warmup_epochs else ""
        optimizer += f", weight decay {self.weight_decay:g}" if self.weight_decay else ""
        optimizer += f", weights averaged over {1 / (1 - self.ema):,.0f} steps" if self.ema else ""
        length = f"batch {self.batch_size}, {_epochs(self.num_epochs)}"
        length += f", images distorted by {self.augment:g}" if self.augment else ""
        if self.augment and self.augment_until < 1:
            length += f" for the first {100 * self.augment_until:.3g}%"
        length += ", prior conditioned on that" if self.augment and self.augment_labels else ""
        return f"{loss}, {optimizer}, {length}"

    @property
    def protocol(self) -> str:
        """How pixels become targets and are scored; every likelihood is printed beside it."""
        return self.protocol_with(self.recon_loss)

    def protocol_with(self, likelihood: str) -> str:
        """The protocol with a likelihood of this name, which may be one's own."""
        binarised = {"dynamic": "dynamically binarised", "static": "statically binarised"}
        pixels = {"none": "grey pixels", "threshold": "thresholded at 0.5", **binarised}[self.binarize]
        words = LIKELIHOODS.get(likelihood, likelihood)
        size = f"{self.image_size}×{self.image_size}" if self.image_size != 28 else ""
        return ", ".join(filter(None, [pixels, words, size]))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as config.json and checkpoints hold them."""
        return dataclasses.asdict(self)

    def hparams(self) -> dict[str, Any]:
        """The knobs that can change a run's figures."""
        groups = ("preset", "data", "model", "objective", "training")
        names = [field.name for field in dataclasses.fields(self) if field.metadata["group"] in groups]
        return {name: getattr(self, name) for name in [*names, "precision"] if name != "data_dir"}


def check_seeds(seeds: Sequence[int]) -> None:
    """Refuse seeds that can't be trained one after another."""
    if len(seeds) < 2:
        raise UsageError(f"--seeds {' '.join(map(str, seeds))}: give two or more, or one with --seed")
    for seed, count in Counter(seeds).items():
        if not 0 <= seed <= SEED_MAX:
            raise UsageError(f"--seeds {seed}: must be from 0 to {SEED_MAX}")
        if count > 1:
            raise UsageError(f"--seeds names {seed} more than once")


def _epochs(count: float) -> str:
    return f"{count:,.7g} {plural(count, 'epoch')}"


def stored_config(values: dict[str, Any], source: Path) -> Config:
    """The configuration that the file `source` holds; lists stand for tuples, which JSON lacks."""
    known = {field.name for field in dataclasses.fields(Config)}
    values = {RENAMED.get(name, name): value for name, value in values.items() if REMOVED.get(name) != value}
    try:
        if unknown := [repr(name) for name in values if name not in known]:
            raise UsageError(f"the stored configuration has unknown entries: {', '.join(unknown[:5])}")
        knobs: dict[str, Any] = {name: tuple(it) if isinstance(it, list) else it for name, it in values.items()}
        return Config(**knobs)
    except UsageError as error:
        raise FileError(f"{source} is damaged, or of another version: {error}") from None
