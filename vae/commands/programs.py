"""Encoder and decoder as programs that run without this code: of torch.export, and ONNX.

Shapes: B batch, C channels, H height, W width, D latent_dim.
"""

from __future__ import annotations

import copy
import io
import json
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vae.model.vae import VAE
from vae.system.files import write_atomic

EXAMPLE = 4  # images in the example
ARGUMENTS = {"x": "images (B, C, H, W) in [0, 1]", "z": "latents (B, D)", "y": "classes (B,)"}
Arrays = dict[str, Tensor]  # inputs or outputs by name, in a program's order


class Encoder(nn.Module):
    """Images (B, C, H, W) in [0, 1], and classes (B,) of a conditional model, to mu and logvar, (B, D) each."""

    def __init__(self, model: VAE) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Parameters of q(z|x)."""
        return self.model.encode(x, y)


class Decoder(nn.Module):
    """Latents (B, D), and classes (B,) of a conditional model, to pixel means (B, C, H, W) in [0, 1]."""

    def __init__(self, model: VAE) -> None:
        super().__init__()
        self.model = model

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """E[x|z]."""
        return self.model.decode(z, y)


class Program(NamedTuple):
    """A part of a model, with an example of what it takes and what it gives."""

    module: nn.Module
    inputs: Arrays
    outputs: Arrays


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


def _dynamic_batch(program: Program) -> tuple[dict[int, Any], ...]:
    batch = torch.export.Dim("batch", min=1)
    return tuple({0: batch} for _ in program.inputs)


def save_torch(program: Program, path: Path, facts: dict[str, Any]) -> None:
    """Write a program for `torch.export.load`, for any batch size, with `facts` beside it in the archive."""
    with torch.no_grad():
        arguments = tuple(program.inputs.values())
        exported = torch.export.export(program.module, arguments, dynamic_shapes=_dynamic_batch(program))
    for node in exported.graph.nodes:
        node.meta.pop("stack_trace", None)  # it names this machine's folders
    buffer = io.BytesIO()
    torch.export.save(exported, buffer, extra_files={"facts.json": json.dumps(facts)})
    write_atomic(path, lambda stream: stream.write(buffer.getbuffer()))


def run_torch(path: Path, inputs: Arrays) -> list[Tensor]:
    """The outputs of a file that `save_torch` has written."""
    program = torch.export.load(io.BytesIO(path.read_bytes())).module()  # torch opens no path that is not Unicode
    outputs = program(*inputs.values())
    return list(outputs) if isinstance(outputs, tuple) else [outputs]


def save_onnx(program: Program, path: Path, facts: dict[str, Any]) -> None:
    """Write an ONNX graph for any batch size, with `facts` as its metadata and its arguments named and described."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's own, on names of axes
        exported = torch.onnx.export(
            program.module,
            tuple(program.inputs.values()),
            dynamo=True,
            dynamic_shapes=_dynamic_batch(program),
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


def run_onnx(path: Path, inputs: Arrays) -> list[Tensor]:
    """The outputs of a file that `save_onnx` has written, by onnxruntime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    outputs = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    return [torch.from_numpy(output) for output in outputs]
