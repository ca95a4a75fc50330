"""A run's model and all that trains it: from one epoch to the next, and from a checkpoint on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from vae.config import Config
from vae.data.splits import Splits
from vae.evaluation.elbo import evaluate
from vae.model.build import build_model, start_from_images
from vae.model.own import Nets, check_own
from vae.system import memory
from vae.system.checkpoint import CheckpointError
from vae.system.distributed import ProcessGroup
from vae.training.compiled import CompileError, should_compile
from vae.training.divergence import DivergedError
from vae.training.epoch import train_epoch
from vae.training.optimizer import build_optimizer, restore_optimizer
from vae.training.schedule import phase
from vae.training.step import TrainingStep


class Learner:
    """The tensors of a run; it knows of no folder and no screen, and leaves torch's global random state alone.

    Attributes:
        epoch: number of epochs done.
        model: the VAE under training.
        eval_model: the VAE that is scored, drawn and saved: the averaged weights with `--ema`, else `model`.
        parameters: number of the model's weights.
        nets: made the model; `None` for `build_model`.
        to_compile: whether `compile` should be called before the next epoch, unless that is the first.

    Args:
        config: every knob, its precision resolved.
        splits: the images, on the device to train on.
        processes: the processes that train it together.
        nets: makes the model in place of `build_model`.

    Raises:
        TooLargeError: the training doesn't fit into this machine's memory.
        UsageError: the knobs, the data and the nets don't go together.
    """

    def __init__(self, config: Config, splits: Splits, *, processes: ProcessGroup, nets: Nets | None = None) -> None:
        self.config, self.splits, self.processes, self.nets = config, splits, processes, nets
        self.device = splits.train.device
        self.epoch = 0
        self.num_classes = len(splits.class_names)
        shape, images = splits.image_shape, len(splits.train)
        if nets is None:  # else the sizes are not those of the configuration
            check_memory(config, shape, num_classes=self.num_classes, images=images, device=self.device)
        self._rng_state = torch.Generator().manual_seed(config.seed).get_state()
        with self._own_rng():
            model = build_model(config, image_shape=shape, num_classes=self.num_classes, nets=nets)
            if nets is not None:
                check_own(model.cpu(), config)
            self.model = model.to(self.device)
        start_from_images(self.model, splits.train, config)
        self._optimizer = build_optimizer(config, self.model)
        self._step = TrainingStep(self.model, self._optimizer, config, num_images=images, processes=processes)
        self.eval_model = self.model if self._step.ema is None else self._step.ema.model
        self.parameters = sum(parameter.numel() for parameter in self.model.parameters())
        self._compiles = self.to_compile = should_compile(config, self.device, images=images)
        self._generator = torch.Generator(self.device).manual_seed(config.seed)

    @contextmanager
    def _own_rng(self) -> Iterator[None]:
        """Use this run's own state of torch's global CPU generator within the block; the caller's state is restored.

        Initial weights come from it, and the noise of layers that draw by themselves, as dropout does.
        """
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._rng_state)
            yield
            self._rng_state = torch.get_rng_state()

    def compile(self) -> None:
        """Compile the step for the epochs of this phase; there is one attempt, whether it succeeds or not.

        Raises:
            CompileError: this machine can't compile it.
        """
        self.to_compile = False
        try:
            with torch.random.fork_rng(devices=[]):
                self._step.compile(self.splits.train, epoch=self.epoch + 1)
        except CompileError:
            self._compiles = False  # it would fail again
            raise

    def learn(self, on_batch: Callable[[int], None]) -> dict[str, Any]:
        """Train for an epoch. Returns its figures as they go into metrics.jsonl and TensorBoard.

        Args:
            on_batch: called with each batch's image count; what it raises stops the epoch.

        Raises:
            DivergedError: a term, a gradient, a weight or a score is no longer finite.
        """
        started = time.perf_counter()
        with self._own_rng():
            metrics = train_epoch(
                self._step, self.splits.train, epoch=self.epoch + 1, generator=self._generator, on_batch=on_batch
            )
        seconds = time.perf_counter() - started
        self.epoch += 1
        before, after = (phase(self.config, epoch).num_samples for epoch in (self.epoch, self.epoch + 1))
        if before != after:  # batches of noise of another shape
            self._step.forget_compiled()
            self.to_compile = self._compiles
        row: dict[str, Any] = {"epoch": self.epoch}
        row |= {f"train/{name}": metrics[name] for name in ("loss", "recon", "kl", "elbo")}
        row |= self._scores("val") | self._scores("test")
        speed = len(self.splits.train) / seconds
        return row | {"lr": metrics["lr"], "beta": metrics["beta"], "seconds": seconds, "images_per_second": speed}

    def _scores(self, name: str) -> dict[str, Any]:
        split = getattr(self.splits, name)
        if split is None:
            return {}
        scores = evaluate(self.eval_model, split, processes=self.processes)
        if not math.isfinite(scores.elbo):
            raise DivergedError(f"the {name} loss is {-scores.elbo} after epoch {self.epoch}: try a smaller --lr")
        return {f"{name}/{term}": value for term, value in scores.as_dict().items()}

    def state(self) -> dict[str, Any]:
        """The learner's part of a checkpoint: tensors and plain Python."""
        return {
            "model_state": _copy(self.eval_model.state_dict()),
            "trained_state": {} if self._step.ema is None else _copy(self.model.state_dict()),
            "optimizer_state": _copy(self._optimizer.state_dict()),
            "scaler_state": self._step.scaler.state_dict(),
            "latent_dim": self.model.latent_dim,
            "image_shape": list(self.model.image_shape),
            "num_classes": self.num_classes,
            "epoch": self.epoch,
            "random_state": {
                "device": self.device.type,
                "generator": self._generator.get_state(),
                "torch": self._rng_state,
            },
        }

    def restore(self, state: dict[str, Any], source: Path) -> None:
        """Continue from a checkpoint.

        Raises:
            CheckpointError: it is another model's, or damaged.
        """
        self.epoch = state["epoch"]
        scaler, random = self._step.scaler, state["random_state"]
        try:
            self.eval_model.load_state_dict(state["model_state"])
            if self._step.ema is not None:
                self.model.load_state_dict(state["trained_state"])
            restore_optimizer(self._optimizer, state["optimizer_state"], may_lack=bool(self.model.own))
            kinds = {name: type(value) for name, value in scaler.state_dict().items()}
            if kinds and kinds != {name: type(value) for name, value in state["scaler_state"].items()}:
                raise ValueError("its scaler's state is damaged")
            scaler.load_state_dict(state["scaler_state"])
            torch.Generator().set_state(random["torch"])  # raises an error for anything that is not a state
            self._rng_state = random["torch"]
            if random["device"] == self.device.type:
                self._generator.set_state(random["generator"])
            else:  # another device's generator has another state: repeatable, but not the same bits
                self._generator.manual_seed(self.config.seed + self.epoch)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{source} doesn't fit: {str(error).splitlines()[0][:200]}") from None


def _copy(state: Any) -> Any:
    """A state whose tensors have memory of their own: a compiled step makes them views of larger ones."""
    if isinstance(state, dict):
        return {name: _copy(value) for name, value in state.items()}
    return state.clone() if isinstance(state, torch.Tensor) else state


def check_memory(
    config: Config, image_shape: tuple[int, int, int], *, num_classes: int, images: int, device: torch.device
) -> None:
    """Refuse a training that can't fit, before anything is allocated: a rough count of the least it takes.

    Args:
        config: every knob.
        image_shape: (C, H, W).
        num_classes: of the data, 0 where it has none.
        images: to train on; no batch is larger.
        device: to train on.

    Raises:
        TooLargeError: one line with the flag to lower, what is needed and what is free.
    """
    with torch.device("meta"):  # shapes without memory
        model = build_model(config, image_shape=image_shape, num_classes=num_classes)
    prior = sum(weights.numel() for weights in model.prior.parameters())
    net = sum(weights.numel() for weights in model.parameters()) - prior
    pixels, conv = math.prod(image_shape), config.arch == "conv"
    width = config.base_channels * math.prod(image_shape[1:]) if conv else sum(config.hidden_dims)
    sizes = {"hidden_dims": max(config.hidden_dims) / max(Config.hidden_dims)}  # in their defaults
    if config.arch == "mixer":
        width += (config.mixer_blocks + 1) * config.patch_width * math.prod(image_shape[1:]) // config.patch_size**2
        sizes |= {name: getattr(config, name) / getattr(Config, name) for name in ("patch_width", "mixer_blocks")}
    batch = min(config.batch_size, images)
    pairs = batch * config.latent_dim if config.tc_weight != 1 else 0  # of each image, with every other
    batch *= config.num_samples_train * (pixels + width + pairs)
    floats = {  # by the flag to lower; of a weight there are four: itself, its gradient and Adam's two means
        "base_channels" if conv else max(sizes, key=lambda name: sizes[name]): 4 * net,
        "num_pseudo_inputs" if config.prior == "vamp" else "prior_width": 4 * prior,
        "num_samples_train" if config.num_samples_train > config.batch_size else "batch_size": batch,
    }
    flag = max(floats, key=lambda name: floats[name])
    value = getattr(config, flag)
    value = " ".join(map(str, value)) if isinstance(value, tuple) else value
    memory.require(4 * sum(floats.values()), f"--{flag} {value}: training", device)
