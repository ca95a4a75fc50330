"""Training from Python: one call with a configuration or a model, and data."""

from __future__ import annotations

import copy
import os
import signal
from pathlib import Path
from typing import Any

from vae.config import Config, presets
from vae.config.fields import DATASETS
from vae.config.parsers import AUTO, KNOBS
from vae.data.arrays import make_splits
from vae.data.splits import Splits
from vae.model.own import Nets, Own, load_nets, name_of
from vae.model.vae import VAE
from vae.runs import launch
from vae.runs.continuation import named_dir
from vae.runs.folders import is_seeds_dir
from vae.runs.run import Run
from vae.runs.trained import Trained, open_run
from vae.system import memory
from vae.system.errors import UsageError, check_single_process
from vae.system.wording import did_you_mean

Model = Config | VAE | Nets | str


@memory.explain_out_of_memory()
def fit(model: Model, data: Any, *, resume: str | Path = "", **knobs: Any) -> Trained:
    """Train a model as the command line does, into a folder of its own, and open the finished run.

    Args:
        model: a `Config` or the name of a preset; or a `VAE`, which is copied and trained from its present weights; or
            a function, called as `build_model` is, that makes one, or its place, `FILE.py:FUNCTION`. Only of the last
            two do the weights depend on the seed.
        data: the name of a data set, or a file or folder of images; or `Splits`; or arrays and tensors as `make_splits`
            takes them: x_train, (x_train, y_train), or ((x_train, y_train), (x_test, y_test)).
        resume: the folder of a run to continue, with the same model and data; or `auto`, to continue the run that
            `run_name` names if there is one, and else to begin it.
        knobs: the flags of the command line, such as `num_epochs=3` and `quiet=True`; those of a `Config` are replaced.

    Returns:
        The run. A later `open_run` of its folder asks for nets and data that are one's own.

    Raises:
        UserError: what `python main.py` prints as one line.
        KeyboardInterrupt: after Ctrl-C, when everything is saved: `resume` goes on from the last whole epoch.
    """
    knobs = {name: _plain(value) for name, value in knobs.items()}
    if unknown := [name for name in knobs if name not in KNOBS or name == "nets"]:
        hint = "the nets are the first argument" if unknown == ["nets"] else did_you_mean(unknown[0], KNOBS)
        raise UsageError(f"fit has no knob {unknown[0]!r} ({hint or 'see docs/options.md'})")
    check_single_process("fit")
    given, nets = _given(model, knobs)
    places, splits = _data(data, knobs)
    given |= places
    own, begun = Own(nets, splits), list[Run]()
    if str(resume) == AUTO and "run_name" not in given:
        raise UsageError("resume='auto' continues the run that run_name= names, or begins it: give both")
    run_dir = named_dir(presets.configure(given)) if str(resume) == AUTO else Path(resume)
    if resume and is_seeds_dir(run_dir):
        raise UsageError(f"resume={str(resume)!r} holds the runs of several seeds: name one of them")
    if resume:
        code = launch.resume({**given, "resume": str(resume)}, own)
    else:
        code = launch.train_run(presets.configure(given), own, on_begin=begun.append)
        run_dir = begun[0].folders.run_dir
    if code == 128 + signal.SIGINT:
        raise KeyboardInterrupt
    if code:
        raise SystemExit(code)
    return open_run(run_dir, device=given.get("device", "auto"), nets=nets, data=splits)


def _plain(value: Any) -> Any:
    """A knob's value as `Config` has it: text for a path, a tuple for a list."""
    return os.fspath(value) if isinstance(value, Path) else tuple(value) if isinstance(value, list) else value


def _given(model: Model, knobs: dict[str, Any]) -> tuple[dict[str, Any], Nets | None]:
    """The knobs that a model and keywords come to, as a command line gives them, and what makes the model."""
    if isinstance(model, Config):
        if model.nets:  # it may be that of an opened run, whose file may be a stranger's
            raise UsageError(f"this Config names nets, {model.nets}: give the function that makes them in its place")
        if "preset" in knobs:
            raise UsageError("a Config has its preset's knobs already: give the preset's name in its place")
        usual = presets.configure({"preset": model.preset, "gif": model.gif}).to_dict() | {"gif": False}
        values = {name: value for name, value in model.to_dict().items() if value != usual[name]}
        return {"preset": model.preset, **values, **knobs}, None
    if isinstance(model, VAE):
        if shaping := [name for name in knobs if name in (*model.knobs, "prior")]:
            raise UsageError(f"{shaping[0]} is the model's own: give it to VAE({shaping[0]}=…)")
        name = {"nets": name_of(model)} if model.own else {}
        return {**knobs, "prior": "standard", **model.knobs, **name}, lambda *_, **sizes: copy.deepcopy(model)
    if isinstance(model, str) and ":" not in model:
        return {**knobs, "preset": model}, None
    if not isinstance(model, str) and not callable(model):
        raise UsageError(f"fit trains a Config, a preset, a VAE or a function that makes it, not {model!r:.60}")
    return {**knobs, "nets": name_of(model)}, load_nets(model) if isinstance(model, str) else model


def _data(data: Any, knobs: dict[str, Any]) -> tuple[dict[str, Any], Splits | None]:
    """The knobs that stand for data, and the data if no file holds them."""
    if "dataset" in knobs:
        raise UsageError("dataset: the data are the second argument")
    if isinstance(data, str | Path):
        if data in DATASETS:
            return {"dataset": data}, None
        if not Path(data).exists():
            raise UsageError(f"data {str(data)!r}: expected a file or folder, or one of {', '.join(DATASETS)}")
        return {"dataset": "folder" if Path(data).is_dir() else "arrays", "data_dir": str(data)}, None
    splits = data if isinstance(data, Splits) else _splits_of(data)
    _, height, width = splits.image_shape
    if height != width and "image_size" not in knobs:
        raise UsageError(f"the images are {height}×{width}: give image_size=, the side that they are resized to")
    return {"dataset": "arrays", "image_size": knobs.get("image_size", height)}, splits


def _splits_of(data: Any) -> Splits:
    """Splits of arrays; without test images, the same tenth is held out whatever the seed of the run."""
    if not isinstance(data, tuple):
        return make_splits(data)
    if len(data) != 2:
        raise UsageError(
            f"data of {len(data)} parts: expected (x_train, y_train) or ((x_train, y_train), (x_test, y_test))"
        )
    if isinstance(data[0], tuple):
        (train, labels), (test, test_labels) = data
        return make_splits(train, test, labels=labels, test_labels=test_labels)
    return make_splits(data[0], labels=data[1])
