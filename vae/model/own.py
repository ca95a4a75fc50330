"""Nets of one's own: the function in a user's file that makes a model, and the check of what it returns.

Only what a person names on the command line or in Python is run, never what a file of a run names.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from vae.config.config import Config
from vae.data.splits import Splits
from vae.model.likelihoods import is_built_in
from vae.model.vae import VAE
from vae.system.console import short_path
from vae.system.errors import UsageError, UserError
from vae.system.wording import did_you_mean

Nets = Callable[..., VAE]  # called as `build_model` is: (config, *, image_shape, num_classes)


class NetsError(UserError):
    """A user's file that can't be run, or whose function raises an error."""


class Own(NamedTuple):
    """What a person gives to a run that no file of the run can bring back."""

    nets: Nets | None = None  # make the model in place of `build_model`
    splits: Splits | None = None  # data, in place of those that the configuration names


NOTHING = Own()


IN_PYTHON = "python:"  # before the name of nets that stand in no file
ROWS, SAMPLES, DRAWS = 2, 3, 5  # of the tensors that a new model is tried with


def load_nets(place: str) -> Nets:
    """Run a user's file and return its function, for `FILE.py:FUNCTION`.

    As with `python FILE.py`, the file's folder is searched for imports, while the file and while the function runs.

    Raises:
        UsageError: there is no such file or function.
        NetsError: the file raises an error; so does the function that is returned. One line names its place.
    """
    file, _, name = place.rpartition(":")
    path = Path(file)
    if path.suffix != ".py" or not name.isidentifier():
        raise UsageError(f"--nets {place}: expected FILE.py:FUNCTION")
    if not path.is_file():
        raise UsageError(f"--nets {place}: no file {file}")
    spec = importlib.util.spec_from_file_location(f"nets_in_{path.stem}", path.resolve())
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look for their module there
    with _running(path):
        spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        names = [known for known, value in vars(module).items() if callable(value)]
        raise UsageError(f"--nets {place}: {file} has no function {name} ({did_you_mean(name, names) or 'define it'})")

    def nets(config: Config, **sizes: object) -> VAE:
        with _running(path):
            model: VAE = function(config, **sizes)
        return model

    nets.__name__ = name
    return nets


@contextmanager
def _running(path: Path) -> Iterator[None]:
    """Let a user's file import its neighbours, and write no bytecode beside it."""
    folder, writes = str(path.resolve().parent), sys.dont_write_bytecode
    sys.path.insert(0, folder)
    sys.dont_write_bytecode = True
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise NetsError(f"{_place(error, path)}: {type(error).__name__}: {error}") from error
    finally:
        sys.dont_write_bytecode = writes
        sys.path.remove(folder)


def _place(error: Exception, path: Path) -> str:
    """The line of a user's file at which an error was raised, or which can't be read."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path.resolve()
    ]
    return f"{path}, line {lines[-1]}" if lines else str(path)


def name_of(nets: Nets | VAE | str) -> str:
    """What a run remembers of its nets: `FILE.py:FUNCTION`, or the names of what was made in Python."""
    if isinstance(nets, str):
        return nets
    if isinstance(nets, VAE):
        return IN_PYTHON + "+".join(nets.own)
    name = getattr(nets, "__qualname__", type(nets).__name__)
    file = inspect.getsourcefile(nets) if inspect.isfunction(nets) else None
    is_in_file = file and name.isidentifier() and Path(file).is_file()
    return f"{short_path(Path(str(file)))}:{name}" if is_in_file else f"{IN_PYTHON}{name}"


def missing_nets(config: Config) -> str:
    """Why a run with nets of its own can't be opened without them, and how it can."""
    name = config.nets.removeprefix(IN_PYTHON)
    if name != config.nets:
        return f"nets of its own, {name}, made in Python: open it there with nets=, or give --nets FILE.py:FUNCTION"
    flag = f"--nets {shlex.quote(name)}"
    return f"nets of its own, {name}, and what a run names is never run by itself: if you trust that file, give {flag}"


def call_nets(nets: Nets, config: Config, *, image_shape: tuple[int, int, int], num_classes: int) -> VAE:
    """Make a model by a function of a user's, which may itself call `build_model`, and check the model's sizes.

    Args:
        nets: the function.
        config: every knob.
        image_shape: (C, H, W).
        num_classes: of a conditional model, else 0.

    Raises:
        UsageError: what it returns is no such model.
    """
    model = nets(dataclasses.replace(config, nets=""), image_shape=image_shape, num_classes=num_classes)
    if not isinstance(model, VAE):
        raise UsageError(f"--nets {config.nets} returned a {type(model).__name__}: expected a vae.VAE")
    expected = {"latent_dim": config.latent_dim, "image_shape": tuple(image_shape), "num_classes": num_classes}
    for name, value in expected.items():
        size = getattr(model, name)
        if (tuple(size) if name == "image_shape" else size) != value:
            raise UsageError(f"--nets {config.nets} returned a model with {name} {size}: this run needs {value}")
    return model


@torch.no_grad()
def check_own(model: VAE, config: Config) -> None:
    """Try a new model with parts of one's own, before a run begins, and refuse knobs that it can't go with.

    Raises:
        UsageError: a tensor of another shape than the part's protocol says, in one line.
    """
    likelihood = model.likelihood
    for flag, is_set in {"free_bits": config.free_bits, "tc_weight": config.tc_weight != 1}.items():
        if is_set and not model.has_closed_form_kl:
            raise UsageError(f"--{flag} needs the KL in closed form, which is that of the built-in standard prior")
    if config.augment_labels and not getattr(model.prior, "num_amounts", 0):
        raise UsageError("--augment_labels needs the flow of VAE(prior='flow', augment_labels=True)")
    if config.binarize != "none" and likelihood.support != "binary":
        raise UsageError(f"--binarize {config.binarize}: {likelihood.name} is not a likelihood of binary pixels")
    if not isinstance(likelihood.name, str) or not likelihood.name.isprintable():
        raise UsageError("the likelihood's name is to be a line of text")

    def check(what: str, value: object, *shape: int) -> None:
        if not isinstance(value, Tensor):
            raise UsageError(f"{what} gives a {type(value).__name__}: expected a tensor")
        if value.shape != shape:
            raise UsageError(f"{what} gives a tensor of shape {tuple(value.shape)}: expected {shape}")

    was_training = model.training
    model.eval()  # batch norm keeps its means
    x = torch.full((ROWS, *model.image_shape), 0.5)
    y = torch.zeros(ROWS, dtype=torch.int64)
    one_hot = [torch.nn.functional.one_hot(y, model.num_classes).float()] if model.num_classes else []
    posterior = model.encoder(x, *one_hot)
    if not isinstance(posterior, tuple) or len(posterior) != 2:
        raise UsageError(f"the encoder gives a {type(posterior).__name__}: expected two tensors, mu and logvar")
    for name, value in zip(("mu", "logvar"), posterior, strict=True):
        check(f"the encoder's {name}", value, ROWS, model.latent_dim)
    z = posterior[0] + torch.zeros(SAMPLES, ROWS, model.latent_dim)
    rows = model.decoder(z[0], *one_hot)
    if not isinstance(rows, Tensor) or rows.shape[:1] != (ROWS,):
        raise UsageError(f"the decoder gives no tensor with a row for each of {ROWS} latents")
    if is_built_in(likelihood):
        check("the decoder", rows, ROWS, *likelihood.output_shape(model.image_shape))
    logits = model.logits(z, y)
    check("the likelihood's mean", likelihood.mean(logits), SAMPLES, ROWS, *model.image_shape)
    check("the likelihood's recon", model.recon(logits[0], x), ROWS)
    check("the likelihood's recon of several samples", model.recon(logits, x), SAMPLES, ROWS)
    check("the prior's log_prob", model.prior.log_prob(z), SAMPLES, ROWS)
    generator = torch.Generator().manual_seed(0)
    check("the prior's sample", model.prior.sample(DRAWS, generator=generator), DRAWS, model.latent_dim)
    check("the prior's quantiles", model.prior.quantiles(torch.tensor([0.5])), 1, model.latent_dim)
    model.train(was_training)
