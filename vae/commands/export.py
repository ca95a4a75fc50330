"""`export`: a model for other programs, compared with the model that it was made of."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vae.commands.programs import Arrays, Program, programs_of, run_onnx, run_torch, save_onnx, save_torch
from vae.commands.session import Session
from vae.config.options import Export
from vae.model.build import load_model
from vae.model.vae import VAE
from vae.runs.trained import Trained
from vae.system import weights
from vae.system.console import short_path
from vae.system.errors import UserError, plain
from vae.system.extras import require
from vae.system.files import write_json, write_npz

TOLERANCE = 1e-5  # largest difference between an output and the model's, as a part of it where it is above 1
COMMON = ("example.npz", "export.json")  # beside the files of a format


class ExportError(UserError):
    """What was written differs from the model."""


class Format(NamedTuple):
    """How a model is written, and compared with itself."""

    files: tuple[str, ...]
    packages: tuple[str, ...]  # beyond those that training needs
    write: Callable[[VAE, Sequence[Program], Sequence[Path], dict[str, Any]], float]  # returns the largest difference
    use: str  # a line of Python, with the last of the files and the classes of a conditional model


def export(model: VAE, folder: Path, facts: dict[str, Any], *, format: str = "torch") -> float:
    """Write a model into a folder, which is made, and compare what was written with it.

    Args:
        model: any.
        folder: of the format's files, `example.npz`, inputs and outputs by name, and `export.json`, with `facts`.
        facts: about the model. For safetensors they describe it: `Trained.description`.
        format: a key of FORMATS.

    Returns:
        The largest difference between the outputs of what was written and of the model for the example.

    Raises:
        ExportError: that difference is above TOLERANCE.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return _export(model, [folder / name for name in (*FORMATS[format].files, *COMMON)], facts, format=format)


def _export(model: VAE, paths: Sequence[Path], facts: dict[str, Any], *, format: str) -> float:
    """Write a format's files and the common ones to these paths, and compare, as `export` says."""
    kind = FORMATS[format]
    require(f"--format {format}", *kind.packages)
    *files, example_path, json_path = paths
    encoder, decoder = programs = programs_of(model)
    try:
        difference = kind.write(model, programs, files, facts)
    except RuntimeError as error:
        if not model.own:
            raise
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ExportError(
            f"--format {format} can't hold these nets: {reason[:200]}; safetensors keeps the weights"
        ) from None
    if not difference <= TOLERANCE:
        names = " and ".join(map(str, files))
        raise ExportError(f"{names} differ from the model by {difference:.1e}: don't use them")
    write_npz(example_path, {**decoder.inputs, **decoder.outputs, **encoder.outputs})
    classes = ", y (B,)" if model.num_classes else ""
    entries = {
        **facts,
        "image_shape": list(model.image_shape),
        "latent_dim": model.latent_dim,
        "num_classes": model.num_classes,
        "format": format,
        "files": [path.name for path in files],
        "encoder": f"x (B, C, H, W) in [0, 1]{classes} to mu (B, D), logvar (B, D)",
        "decoder": f"z (B, D){classes} to images, pixel means (B, C, H, W) in [0, 1]",
        "largest_difference": difference,
        "torch": torch.__version__,
    }
    write_json(json_path, entries)
    return difference


def write_programs(
    save: Callable[[Program, Path, dict[str, Any]], None], run: Callable[[Path, Arrays], list[Tensor]]
) -> Callable[[VAE, Sequence[Program], Sequence[Path], dict[str, Any]], float]:
    """A format's `write` that saves encoder and decoder and runs them, on the whole example and on its first row."""

    def write(model: VAE, programs: Sequence[Program], paths: Sequence[Path], facts: dict[str, Any]) -> float:
        differences = []
        for program, path in zip(programs, paths, strict=True):
            save(program, path, facts)
            for count in (len(next(iter(program.inputs.values()))), 1):
                outputs = run(path, {name: value[:count] for name, value in program.inputs.items()})
                for output, expected in zip(outputs, program.outputs.values(), strict=True):
                    differences.append(_difference(output, expected[:count]))
        return max(differences)

    return write


def _difference(output: Tensor, expected: Tensor) -> float:
    """The largest difference, in parts of the expected number where that is above 1; infinite if the shapes differ."""
    if output.shape != expected.shape:
        return float("inf")
    return ((output - expected).abs() / expected.abs().clamp(min=1)).max().item()


def write_weights(model: VAE, programs: Sequence[Program], paths: Sequence[Path], facts: dict[str, Any]) -> float:
    """Write all weights, of the prior too, and open them again: the difference is 0, or infinite."""
    (path,) = paths
    weights.save(path, model.state_dict(), facts)
    again = load_model(path, nets=lambda *_, **sizes: copy.deepcopy(model).cpu()).state_dict()
    is_same = all(torch.equal(tensor.cpu(), again[name]) for name, tensor in model.state_dict().items())
    return 0.0 if is_same else float("inf")


FORMATS = {
    "torch": Format(
        ("encoder.pt2", "decoder.pt2"),
        (),
        write_programs(save_torch, run_torch),
        "torch.export.load({file!r}).module()(z{y})",
    ),
    "onnx": Format(
        ("encoder.onnx", "decoder.onnx"),
        ("onnx", "onnxscript", "onnxruntime"),
        write_programs(save_onnx, run_onnx),
        "onnxruntime.InferenceSession({file!r}).run(None, {inputs})",
    ),
    "safetensors": Format(
        ("model.safetensors",),
        ("safetensors",),
        write_weights,
        "vae.load_model({file!r}{nets}).sample(16{y})",
    ),
}


def run(session: Session, options: Export) -> None:
    """Write a model for other programs and compare what was written with it."""
    trained = session.trained
    kind = FORMATS[options.file_format]
    require(f"--format {options.file_format}", *kind.packages)  # before anything is written
    paths = session.paths_in(options.file_format, kind.files, COMMON)
    facts = {name: getattr(trained, name) for name in ("title", "protocol", "class_names")}
    facts |= {"checkpoint": _name_of(trained), **trained.description}
    difference = _export(trained.model, paths, facts, format=options.file_format)
    extent = f"differ by at most {difference:.1e}" if difference else "are the same"
    session.console.say(f"loaded again and compared with the model: the numbers {extent}")
    y = ", y" if trained.model.num_classes else ""
    inputs = "{'z': z, 'y': y}" if y else "{'z': z}"
    nets = f", nets={trained.config.nets!r}" if trained.config.nets else ""
    session.console.say(
        f"use: {kind.use.format(file=short_path(paths[len(kind.files) - 1]), y=y, inputs=inputs, nets=nets)}"
    )
    if not trained.model.has_closed_form_kl:
        session.console.say(
            f"z comes from this model's own prior ({type(trained.model.prior).__name__}), not from N(0, I)"
        )
    session.wrote(*paths)


def _name_of(trained: Trained) -> str:
    """The checkpoint without where it lies: `my_run/checkpoints/last.pt`."""
    parts = trained.path.parts[-3:] if trained.run_dir else (trained.path.name,)
    return plain(Path(*parts).as_posix())
