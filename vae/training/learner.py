"""What learns: a model and all that moves it, from one epoch to the next, and from a checkpoint on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from vae.config import Config
from vae.data.datasets import Splits
from vae.evaluation.elbo import evaluate
from vae.model.build import build_model, start_from_images
from vae.model.objective import Objective
from vae.system.checkpoint import CheckpointError
from vae.system.distributed import ProcessGroup
from vae.training.compiled import CompiledStep, should_compile
from vae.training.divergence import DivergedError
from vae.training.ema import WeightAverage
from vae.training.epoch import compile_step, train_epoch
from vae.training.footprint import check_fits
from vae.training.optimizer import build_optimizer, restore_optimizer


class Learner:
    """The tensors of a run; knows of no folder and no screen.

    Args:
        config: every knob, its precision resolved.
        splits: the images, on the device to train on.
        processes: the processes that train it together.

    Raises:
        TooLargeError: the machine can't hold it.
    """

    def __init__(self, config: Config, splits: Splits, *, processes: ProcessGroup) -> None:
        self.config, self.splits, self.processes = config, splits, processes
        self.device = splits.train.images.device
        self.epoch = 0  # epochs behind it
        self.num_classes = len(splits.class_names)
        torch.manual_seed(config.seed)
        shape, images = splits.image_shape, len(splits.train)
        check_fits(config, shape, num_classes=self.num_classes, images=images, device=self.device)
        self.model = build_model(config, image_shape=shape, num_classes=self.num_classes).to(self.device)
        start_from_images(self.model, splits.train.images, config)
        self.ema = WeightAverage(self.model, config.ema) if config.ema else None
        self.eval_model = self.ema.model if self.ema else self.model  # what is scored, drawn and saved
        self.parameters = sum(parameter.numel() for parameter in self.model.parameters())
        self.to_compile = should_compile(config, self.device, processes, images=images)
        self._objective = processes.wrap(Objective(self.model, config))
        self._optimizer = build_optimizer(config, self.model)
        self._generator = torch.Generator(self.device).manual_seed(config.seed)
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=config.precision == "fp16")
        self._compiled: CompiledStep | None = None

    def compile(self) -> None:
        """Compile the step, from the next epoch on; for once, whether it succeeds or not.

        Raises:
            CompileError: it can't be done here.
        """
        self.to_compile = False
        self._compiled = compile_step(self.model, self.splits.train, self._optimizer, self.config)

    def learn(self, on_batch: Callable[[int], None]) -> dict[str, Any]:
        """Train for an epoch. Returns its figures as they go into metrics.jsonl and TensorBoard.

        Args:
            on_batch: called with each batch's image count; what it raises stops the epoch.

        Raises:
            DivergedError: something is no longer a number.
        """
        started = time.perf_counter()
        metrics = train_epoch(
            self.model,
            self.splits.train,
            self._optimizer,
            self.config,
            epoch=self.epoch + 1,
            generator=self._generator,
            scaler=self._scaler,
            ema=self.ema,
            objective=self._objective,
            compiled=self._compiled,
            processes=self.processes,
            on_batch=on_batch,
        )
        seconds = time.perf_counter() - started
        self.epoch += 1
        row: dict[str, Any] = {"epoch": self.epoch}
        row |= {f"train/{name}": metrics[name] for name in ("loss", "recon", "kl", "elbo")}
        row |= self._scores("val") | self._scores("test")
        speed = len(self.splits.train) / seconds
        return row | {"lr": metrics["lr"], "beta": metrics["beta"], "seconds": seconds, "images_per_second": speed}

    def _scores(self, name: str) -> dict[str, Any]:
        split = getattr(self.splits, name)
        if not split:
            return {}
        scores = evaluate(self.eval_model, split, processes=self.processes)
        if not math.isfinite(scores.elbo):
            raise DivergedError(f"the {name} loss is {-scores.elbo} after epoch {self.epoch}: try a smaller --lr")
        return {f"{name}/{term}": value for term, value in scores.as_dict().items()}

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it: tensors and plain Python."""
        return {
            "model_state": self.eval_model.state_dict(),
            "trained_state": self.model.state_dict() if self.ema else {},
            "optimizer_state": self._optimizer.state_dict(),
            "scaler_state": self._scaler.state_dict(),
            "latent_dim": self.model.latent_dim,
            "image_shape": list(self.model.image_shape),
            "num_classes": self.num_classes,
            "epoch": self.epoch,
            "random_state": {
                "device": self.device.type,
                "generator": self._generator.get_state(),
                "torch": torch.get_rng_state(),  # for layers that draw by themselves, as dropout does
            },
        }

    def restore(self, state: dict[str, Any], source: Path) -> None:
        """Take up what a checkpoint holds.

        Raises:
            CheckpointError: it is another model's, or damaged.
        """
        self.epoch = state["epoch"]
        try:
            self.eval_model.load_state_dict(state["model_state"])
            if self.ema:
                self.model.load_state_dict(state["trained_state"])
            restore_optimizer(self._optimizer, state["optimizer_state"])
            kinds = {name: type(value) for name, value in self._scaler.state_dict().items()}
            if kinds and kinds != {name: type(value) for name, value in state["scaler_state"].items()}:
                raise ValueError("its scaler's state is damaged")
            self._scaler.load_state_dict(state["scaler_state"])
            random = state["random_state"]
            torch.set_rng_state(random["torch"])
            if random["device"] == self.device.type:
                self._generator.set_state(random["generator"])
            else:  # another device's generator has another state: repeatable, but not the same bits
                self._generator.manual_seed(self.config.seed + self.epoch)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{source} doesn't fit: {str(error).splitlines()[0][:200]}") from None
