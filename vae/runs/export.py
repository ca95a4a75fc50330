"""A model as files for other programs, compared with the model that they were made of.

Shapes: B batch, C channels, H height, W width, D latent_dim.
"""

from __future__ import annotations

import copy
import io
import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vae.config.options import EXPORT_SUFFIXES
from vae.model.build import load_model
from vae.model.vae import VAE
from vae.system import weights
from vae.system.errors import UsageError, UserError
from vae.system.extras import require
from vae.system.files import is_folder_name, write_atomic, write_json, write_npz

TOLERANCE = 1e-5  # largest difference between an output and the model's, as a part of it where it is above 1
EXAMPLE = 4  # images in the example
ARGUMENTS = {"x": "images (B, C, H, W) in [0, 1]", "z": "latents (B, D)", "y": "classes (B,)"}
COMMON = ("example.npz", "export.json")  # beside the files of a format

Arrays = dict[str, Tensor]  # inputs or outputs by name, in a program's order
Facts = dict[str, Any]  # about the model: for safetensors they describe it, as `Opened.description` does


class ExportError(UserError):
    """What was written differs from the model."""


class Exported(NamedTuple):
    """Files that were written, and how they compare with the model."""

    paths: list[Path]  # the format's own, then the example and export.json
    largest_difference: float  # of an output, as a part of it where it is above 1


class Encoder(nn.Module):
    """Images (B, C, H, W) in [0, 1], and classes (B,) of a conditional model, to mu and logvar, (B, D) each."""

    def __init__(self, model: VAE) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Parameters of q(z|x)."""
        return self.model.encode(x, y)


class Decoder(Encoder):
    """Latents (B, D), and classes (B,) of a conditional model, to pixel means (B, C, H, W) in [0, 1]."""

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """E[x|z]."""
        return self.model.decode(z, y)


class Program(NamedTuple):
    """A part of a model, with an example of what it takes and what it gives."""

    module: nn.Module
    inputs: Arrays
    outputs: Arrays

    @property
    def export_arguments(self) -> dict[str, Any]:
        """The example as the exporters take it, for any batch size."""
        batch = torch.export.Dim("batch", min=1)
        return {"args": tuple(self.inputs.values()), "dynamic_shapes": tuple({0: batch} for _ in self.inputs)}


def export(model: VAE, target: str | Path, facts: Facts, *, format: str = "torch", overwrite: bool = False) -> Exported:
    """Write a model, `example.npz`, inputs and outputs by name, and `export.json`, and compare them with the model.

    Args:
        model: any.
        target: a folder, which is made, or a file's name for all of them, see `paths_of`.
        facts: about the model.
        format: a key of FORMATS.
        overwrite: replace existing files.

    Raises:
        ExportError: the largest difference is above TOLERANCE.
    """
    packages, write = FORMATS[format].packages, FORMATS[format].write
    paths = paths_of(target, format)
    require(f"format {format}", *packages)  # before anything is written
    if taken := [path for path in paths if path.exists() and not overwrite]:
        raise UsageError(f"{taken[0]} exists: choose another place, or overwrite it")
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    *files, example_path, json_path = paths
    encoder, decoder = programs = programs_of(model)
    # A program is a file; weights are one for all.
    parts = zip(programs if len(files) > 1 else [model], files, strict=True)
    with _explained(model, format):
        difference = max(write(*pair, facts) for pair in parts)
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
    return Exported(paths, difference)


@contextmanager
def _explained(model: VAE, format: str) -> Iterator[None]:
    """Say in a line that a format can't hold a model's own nets, for what the exporters raise."""
    try:
        yield
    except RuntimeError as error:
        if not model.own:
            raise
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        way_out = "safetensors keeps the weights"
        raise ExportError(f"format {format} can't hold these nets: {reason[:200]}; {way_out}") from None


def paths_of(target: str | Path, format: str) -> list[Path]:
    """Where a format's files and the common ones go: into a folder, or beside each other under one file's name.

    digits.onnx stands for digits_encoder.onnx and digits_decoder.onnx, or for itself if there is a single file, and for
    digits_onnx_example.npz.
    """
    path, files, suffix = Path(target), FORMATS[format].files, EXPORT_SUFFIXES[format]
    if is_folder_name(target):
        return [path / name for name in (*files, *COMMON)]
    if path.suffix.lower() != suffix:
        raise UsageError(f"{target}: expected a folder, or a file ending in {suffix}")
    named = [path] if len(files) == 1 else [path.with_name(f"{path.stem}_{name}") for name in files]
    return [*named, *(path.with_name(f"{path.stem}_{suffix[1:]}_{name}") for name in COMMON)]


def programs_of(model: VAE) -> tuple[Program, Program]:
    """Encoder and decoder on the CPU; the example are draws from the prior, decoded and encoded again."""
    model = copy.deepcopy(model).cpu().eval().to(memory_format=torch.contiguous_format)  # archives keep no other
    y: Arrays = {"y": torch.arange(EXAMPLE) % model.num_classes} if model.num_classes else {}
    with torch.no_grad():
        z = model.prior.sample(EXAMPLE, generator=torch.Generator().manual_seed(0))
        images = model.decode(z, *y.values())
        mu, logvar = model.encode(images, *y.values())
    return (
        Program(Encoder(model).eval(), {"x": images, **y}, {"mu": mu, "logvar": logvar}),
        Program(Decoder(model).eval(), {"z": z, **y}, {"images": images}),
    )


def _write_torch(program: Program, path: Path, facts: Facts) -> float:
    """Write a program for `torch.export.load`, with `facts` in its archive. Returns the largest difference."""
    with torch.no_grad():
        exported = torch.export.export(program.module, **program.export_arguments)
    for node in exported.graph.nodes:
        node.meta.pop("stack_trace", None)  # it names this machine's folders
    buffer = io.BytesIO()
    torch.export.save(exported, buffer, extra_files={"facts.json": json.dumps(facts)})
    write_atomic(path, lambda stream: stream.write(buffer.getbuffer()))
    written = torch.export.load(io.BytesIO(path.read_bytes())).module()  # torch opens no path that is not Unicode

    def run(inputs: Arrays) -> list[Tensor]:
        outputs = written(*inputs.values())
        return list(outputs) if isinstance(outputs, tuple) else [outputs]

    return _largest_difference(run, program)


def _write_onnx(program: Program, path: Path, facts: Facts) -> float:
    """Write an ONNX graph, with `facts` as its metadata and its arguments named. Returns the largest difference."""
    import onnxruntime

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's own, on names of axes
        exported = torch.onnx.export(
            program.module,
            **program.export_arguments,
            dynamo=True,
            input_names=list(program.inputs),
            output_names=list(program.outputs),
            verbose=False,
        )
    assert exported is not None
    graph = exported.model_proto
    for argument in graph.graph.input:
        argument.doc_string = ARGUMENTS[argument.name]
    for node in graph.graph.node:
        del node.metadata_props[:]  # stack traces, which name this machine's folders
    for name, value in facts.items():
        graph.metadata_props.add(key=name, value=value if isinstance(value, str) else json.dumps(value))
    content = graph.SerializeToString(deterministic=True)
    write_atomic(path, lambda stream: stream.write(content))
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])

    def run(inputs: Arrays) -> list[Tensor]:
        outputs = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        return [torch.from_numpy(output) for output in outputs]

    return _largest_difference(run, program)


def _largest_difference(run: Callable[[Arrays], list[Tensor]], program: Program) -> float:
    """The largest difference of what was written from the example's outputs, on all of it and on its first row."""
    return max(
        _difference(output, expected[:count])
        for count in (EXAMPLE, 1)
        for output, expected in zip(
            run({name: value[:count] for name, value in program.inputs.items()}), program.outputs.values(), strict=True
        )
    )


def _difference(output: Tensor, expected: Tensor) -> float:
    """The largest difference, in parts of the expected number where that is above 1; infinite if the shapes differ."""
    if output.shape != expected.shape:
        return float("inf")
    return ((output - expected).abs() / expected.abs().clamp(min=1)).max().item()


def _write_weights(model: VAE, path: Path, facts: Facts) -> float:
    """Write all weights, of the prior too, and open them again. Returns a difference of 0, or an infinite one."""
    weights.save(path, model.state_dict(), facts)
    again = load_model(path, nets=lambda *_, **sizes: copy.deepcopy(model).cpu()).state_dict()
    is_same = all(torch.equal(tensor.cpu(), again[name]) for name, tensor in model.state_dict().items())
    return 0.0 if is_same else float("inf")


class Format(NamedTuple):
    """How a model is written: a file for each program, or one with all weights."""

    files: tuple[str, ...]
    packages: tuple[str, ...]  # beyond those that training needs
    write: Callable[[Any, Path, Facts], float]  # a Program or the model; returns the largest difference


FORMATS = {
    "torch": Format(("encoder.pt2", "decoder.pt2"), (), _write_torch),
    "onnx": Format(("encoder.onnx", "decoder.onnx"), ("onnx", "onnxscript", "onnxruntime"), _write_onnx),
    "safetensors": Format(("model.safetensors",), ("safetensors",), _write_weights),
}
