"""Every knob of a run, once: its default, help text and bounds. The command line is generated from here."""

from __future__ import annotations

import dataclasses
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vae.config.knobs import brief, check_all, check_device, knob
from vae.system.errors import UsageError
from vae.system.files import FileError

DATASETS = ("auto", "mnist", "fashion_mnist", "kmnist", "digits", "folder")
SEED_MAX = 2**63 - 1


ACTIVATIONS = ("relu", "leaky_relu", "elu", "silu", "gelu", "tanh")


@dataclass(frozen=True)
class Config:
    """What defines a run. The defaults are the README's first command.

    Raises:
        UsageError: a value out of bounds; the message names the flag, the value and what is allowed.
    """

    preset: str = knob("mlp-2d", "start from a known system; see --list_presets", group="preset", metavar="NAME")

    dataset: str = knob("auto", "auto is MNIST or, only where it can't be had, digits", group="data", choices=DATASETS)
    data_dir: str = knob(
        "data", "where data sets are looked for and kept; with folder, the images", group="data", metavar="DIR"
    )
    val_split: float = knob(
        0.0, "fraction of the training set held out to choose best.pt", group="data", low=0, below=1
    )
    image_size: int = knob(28, "height and width that images are resized to", group="data", low=4, high=256)
    binarize: str = knob(
        "none",
        "make pixels 0 or 1: dynamic redraws them every epoch, static draws once, threshold cuts at a half",
        group="data",
        choices=("none", "dynamic", "static", "threshold"),
    )

    arch: str = knob("mlp", "dense or convolutional nets", group="model", choices=("mlp", "conv"))
    latent_dim: int = knob(2, "number of latent variables", group="model", low=1, high=4096)
    hidden_dims: tuple[int, ...] = knob(
        (512,), "mlp: widths of the encoder's hidden layers; the decoder mirrors them", group="model", low=1, high=65536
    )
    base_channels: int = knob(64, "conv: channels of every hidden layer", group="model", low=1, high=4096)
    activation: str = knob("relu", "between layers", group="model", choices=ACTIVATIONS)
    block: str = knob(
        "plain",
        "mlp: what a hidden layer is; residual blocks have a norm and two linear layers each",
        group="model",
        choices=("plain", "gated", "residual"),
    )
    conditional: bool = knob(False, "encoder and decoder see the class", group="model")
    mean_bias: bool = knob(False, "the decoder starts from the mean training image", group="model")
    prior: str = knob(
        "standard",
        "p(z): normal, or learned: vamp is a mixture of the posteriors of learned images, flow a RealNVP",
        group="model",
        choices=("standard", "vamp", "flow"),
    )
    num_pseudo_inputs: int = knob(500, "vamp: learned images", group="model", low=1, high=100_000)
    num_couplings: int = knob(6, "flow: coupling layers", group="model", low=1, high=256)
    prior_width: int = knob(256, "flow: width of each coupling's hidden layers", group="model", low=1, high=65536)

    recon_loss: str = knob(
        "bce",
        "Bernoulli, squared error (a Gaussian of variance 1/2) or continuous Bernoulli, summed over pixels",
        group="objective",
        choices=("bce", "mse", "continuous_bernoulli"),
    )
    objective: str = knob(
        "elbo",
        "the bound that is maximised: elbo, or the importance-weighted one with its own (iwae) or DReG gradients",
        group="objective",
        choices=("elbo", "iwae", "dreg"),
    )
    num_samples_train: int = knob(1, "posterior samples of each image in a step", group="objective", low=1, high=10_000)
    beta: float = knob(1.0, "weight of the KL in the loss; the ELBO never carries it", group="objective", low=0)
    kl_warmup_epochs: float = knob(0.0, "epochs over which that weight grows from 0", group="objective", low=0)
    free_bits: float = knob(0.0, "nats of KL per latent that cost nothing", group="objective", low=0, high=1e6)

    num_epochs: int = knob(60, "passes over the training set", group="training", low=1, high=1_000_000)
    batch_size: int = knob(64, "images per step", group="training", low=1, high=1_000_000)
    optimizer: str = knob("adamw", "adam has no weight decay", group="training", choices=("adam", "adamw"))
    lr: float = knob(1e-3, "learning rate", group="training", above=0)
    lr_schedule: str = knob(
        "constant", "cosine falls to 0 at the end", group="training", choices=("constant", "cosine")
    )
    lr_warmup_epochs: float = knob(0.0, "epochs over which the learning rate grows from 0", group="training", low=0)
    weight_decay: float = knob(1e-2, "decoupled weight decay of adamw", group="training", low=0)
    grad_clip: float = knob(0.0, "largest norm of the gradient, 0 for any", group="training", low=0)
    ema: float = knob(
        0.0,
        "decay of the average of the weights that is used in their place; 0 for none",
        group="training",
        low=0,
        below=1,
    )
    augment: float = knob(
        0.0, "strength of random shifts and distortions of the training images", group="training", low=0, high=10
    )
    augment_until: float = knob(
        1.0, "fraction of the run after which they are left as they are", group="training", above=0, high=1
    )
    seed: int = knob(0, "of the weights, the batches and the noise", group="training", low=0, high=SEED_MAX)

    run_name: str = knob("", "name of the run's folders (default: time and model)", group="output", metavar="NAME")
    output_dir: str = knob("outputs", "checkpoints, metrics and pictures go below", group="output", metavar="DIR")
    log_dir: str = knob("runs", "TensorBoard logs go below", group="output", metavar="DIR")
    overwrite: bool = knob(False, "replace the run of that name", group="output")
    checkpoint_every: int = knob(0, "also keep epoch_NNN.pt every N epochs, 0 for never", group="output", low=0)
    sample_every: int = knob(
        5,
        "draw samples and reconstructions every N epochs, 0 for never; --gif alone makes it 1",
        group="output",
        low=0,
    )
    tsne_samples: int = knob(2000, "test images in the closing t-SNE picture", group="output", low=10, high=100_000)
    side_by_side: bool = knob(
        False, "load the saved model again and draw originals left, reconstructions right", group="output"
    )
    gif: bool = knob(
        False, "animate the pictures of --sample_every and, with two latents, the scatter too", group="output"
    )
    final_eval: bool = knob(
        False, "end with importance-weighted likelihoods and the quality of latents and samples", group="output"
    )
    num_importance_samples: int = knob(
        5000, "--final_eval: samples per test image", group="output", low=1, high=10_000_000
    )
    quiet: bool = knob(False, "print nothing but warnings and errors", group="output")

    device: str = knob("auto", "auto (the best there is), cpu, mps, cuda or cuda:N", group="machine")
    precision: str = knob(
        "auto",
        "of the training step; auto is bf16 where the hardware has it",
        group="machine",
        choices=("auto", "fp32", "bf16", "fp16"),
    )
    compile: str = knob(
        "auto",
        "make one graph of the training step after the first epoch; auto: where a compiler is and the run is long",
        group="machine",
        choices=("auto", "on", "off"),
    )
    threads: int = knob(0, "CPU threads, 0 for as many as PyTorch likes", group="machine", low=0, high=1024)

    def __post_init__(self) -> None:
        check_all(self)
        check_device(self.device)
        if self.run_name:
            _check_run_name(self.run_name)
        self._check_combinations()

    def _check_combinations(self) -> None:
        """Refuse what can't be had together, each with its reason."""
        if self.arch == "conv" and self.image_size % 4:
            raise UsageError(
                f"--image_size {self.image_size}: --arch conv halves it twice, so it must be a multiple of 4"
            )
        if self.binarize != "none" and self.recon_loss != "bce":
            raise UsageError(f"--recon_loss {self.recon_loss} is a density of grey pixels: use bce with --binarize")
        for name in ("lr_warmup_epochs", "kl_warmup_epochs"):
            if getattr(self, name) > self.num_epochs:
                raise UsageError(
                    f"--{name} {getattr(self, name):g} is longer than the run: --num_epochs {self.num_epochs}"
                )
        if self.gif and not self.sample_every:
            raise UsageError("--gif animates the pictures of --sample_every: that must not be 0")
        if self.overwrite and not self.run_name:
            raise UsageError("--overwrite replaces the run that --run_name names: give both")
        if os.path.realpath(self.output_dir) == os.path.realpath(self.log_dir):
            raise UsageError(f"--output_dir and --log_dir are both {self.output_dir}: give each a folder of its own")
        self._check_objective()
        if self.optimizer == "adam" and self.weight_decay:
            raise UsageError(f"--weight_decay {self.weight_decay}: adam has none here; use --optimizer adamw, or 0")

    def _check_objective(self) -> None:
        """Refuse priors and bounds that exclude each other, or flags without effect."""
        if self.prior == "vamp" and self.conditional:
            raise UsageError("--prior vamp has pseudo-inputs without a class: use flow or standard with --conditional")
        if self.prior == "flow" and self.latent_dim < 2:
            raise UsageError("--prior flow couples latents: it needs --latent_dim 2 or more")
        if self.objective != "elbo" and self.num_samples_train == 1:
            raise UsageError(f"--objective {self.objective} with one sample is the ELBO: give --num_samples_train 5")
        if self.free_bits and (self.prior != "standard" or self.objective != "elbo"):
            raise UsageError("--free_bits counts each latent's KL in closed form: it needs --prior standard, elbo")
        if self.block != "plain" and self.arch != "mlp":
            raise UsageError(f"--block {self.block} is for dense nets: use --arch mlp")

    @property
    def model_name(self) -> str:
        """Short name of the model, for run folders: `mlp-512-2d`."""
        body = [self.arch, *map(str, self.hidden_dims if self.arch == "mlp" else [self.base_channels])]
        kinds = [self.block] * (self.block != "plain") + [self.prior] * (self.prior != "standard")
        return "-".join([*body, f"{self.latent_dim}d", *kinds, *(["conditional"] if self.conditional else [])])

    @property
    def recipe(self) -> str:
        """The objective and the optimizer in a line: `bce + KL, adamw 0.001, batch 64, 60 epochs`."""
        kl = ("" if self.beta == 1 else f"{self.beta:g} ") + "KL"
        kl += f" after {self.kl_warmup_epochs:g} epochs of warm-up" if self.kl_warmup_epochs else ""
        kl += f" above {self.free_bits:g} nats a latent" if self.free_bits else ""
        schedule = "" if self.lr_schedule == "constant" else f" {self.lr_schedule}"
        schedule += f" after {self.lr_warmup_epochs:g} epochs of warm-up" if self.lr_warmup_epochs else ""
        bound = "" if self.objective == "elbo" else f", {self.objective} bound"
        bound += f" of {self.num_samples_train} samples" if self.num_samples_train > 1 else ""
        decay = f", weight decay {self.weight_decay:g}" if self.weight_decay else ""
        optimizer = f"{self.optimizer} {self.lr:g}{schedule}{decay}"
        optimizer += f", weights averaged over {1 / (1 - self.ema):,.0f} steps" if self.ema else ""
        augment = f", images distorted by {self.augment:g}" if self.augment else ""
        augment += f" until {self.augment_until:.0%} of it" if self.augment and self.augment_until < 1 else ""
        length = f"batch {self.batch_size}, {self.num_epochs} epochs"
        return f"{self.recon_loss} + {kl}{bound}, {optimizer}, {length}{augment}"

    @property
    def protocol(self) -> str:
        """How pixels are made into targets and scored; no likelihood is printed without it."""
        pixels = {
            "none": "grey pixels",
            "dynamic": "dynamically binarised",
            "static": "statically binarised",
            "threshold": "thresholded at 0.5",
        }[self.binarize]
        likelihood = {
            "bce": "",
            "mse": ", squared error (σ² = 1/2, no constant)",
            "continuous_bernoulli": ", continuous Bernoulli",
        }[self.recon_loss]
        return pixels + likelihood + (f", {self.image_size}×{self.image_size}" if self.image_size != 28 else "")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as they go into config.json and checkpoints."""
        return dataclasses.asdict(self)

    def hparams(self) -> dict[str, Any]:
        """The knobs that can make two runs' figures differ."""
        groups = ("preset", "data", "model", "objective", "training")
        names = [field.name for field in dataclasses.fields(self) if field.metadata["group"] in groups]
        return {name: getattr(self, name) for name in [*names, "precision"] if name != "data_dir"}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Config:
        """Rebuild what `to_dict` gave.

        Raises:
            UsageError: a knob that this version doesn't know, or a value that can't be.
        """
        unknown = [brief(name) for name in values if name not in {field.name for field in dataclasses.fields(cls)}]
        if unknown:
            raise UsageError(f"the stored configuration has unknown entries: {', '.join(unknown[:5])}")
        return cls(**values)


def _check_run_name(name: str) -> None:
    """A run's name is one folder name, nothing that leads elsewhere."""
    if name != name.strip() or name.startswith((".", "-")) or re.search(r'[/\\:*?"<>|]', name):
        raise UsageError(f"--run_name {brief(name)}: a folder name, without separators or a leading dot or dash")
    if len(name.encode()) > 120:
        raise UsageError(f"--run_name is {len(name.encode())} bytes long: at most 120")
    if name in ("latest", "gallery"):
        raise UsageError(f"--run_name {name!r} is taken by the project: choose another")


GROUPS = {
    "preset": "preset",
    "data": "data",
    "model": "model",
    "objective": "objective",
    "training": "training",
    "output": "what a run leaves",
    "machine": "machine",
}


def stored_config(values: dict[str, Any], source: Path) -> Config:
    """The configuration that a file holds.

    Raises:
        FileError: an entry that this version doesn't know, or a value that can't be; the message names the file.
    """
    try:
        return Config.from_dict(values)
    except UsageError as error:
        raise FileError(f"{source} is damaged, or of another version: {error}") from None
