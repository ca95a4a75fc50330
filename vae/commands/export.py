"""`export`: encoder and decoder as `torch.export` programs, which run without this code, compared with the model.

Shapes: B batch, C channels, H height, W width, D latent_dim.
"""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vae.commands.session import Session
from vae.config.options import Export
from vae.model.vae import VAE
from vae.system.errors import UserError
from vae.system.files import write_atomic, write_json, write_npz

EXAMPLE = 4  # images in the example
TOLERANCE = 1e-5  # largest difference between a program's output and the model's


class ExportError(UserError):
    """A program whose output differs from the model's."""


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


def export(model: VAE, folder: Path, facts: dict[str, Any]) -> float:
    """Write `encoder.pt2` and `decoder.pt2`, for the CPU and any batch size, and compare them with the model.

    The folder also gets `example.npz`, inputs and outputs by name, and `export.json`, with `facts` among its entries.

    Returns:
        The largest difference between the outputs of a loaded program and of the model for the example.

    Raises:
        ExportError: that difference is above TOLERANCE.
    """
    model = copy.deepcopy(model).cpu().eval().to(memory_format=torch.contiguous_format)  # archives keep no other
    z = torch.randn(EXAMPLE, model.latent_dim, generator=torch.Generator().manual_seed(0))
    y = (torch.arange(EXAMPLE) % model.num_classes,) if model.num_classes else ()
    with torch.no_grad():
        images = model.decode(z, *y)
        mu, logvar = model.encode(images, *y)
    difference = 0.0
    for name, module, inputs, outputs in (
        ("encoder", Encoder(model), (images, *y), (mu, logvar)),
        ("decoder", Decoder(model), (z, *y), (images,)),
    ):
        path = folder / f"{name}.pt2"
        _save(module, inputs, path)
        difference = max(difference, _difference(path, inputs, outputs))
    if difference > TOLERANCE:
        raise ExportError(f"the programs in {folder} differ from the model by {difference:.1e}: don't use them")
    example = {"z": z, "images": images, "mu": mu, "logvar": logvar}
    write_npz(folder / "example.npz", example | ({"y": y[0]} if y else {}))
    classes = ", y (B,)" if y else ""
    entries = {
        **facts,
        "image_shape": list(model.image_shape),
        "latent_dim": model.latent_dim,
        "num_classes": model.num_classes,
        "encoder": f"x (B, C, H, W) in [0, 1]{classes} to mu (B, D), logvar (B, D)",
        "decoder": f"z (B, D){classes} to pixel means (B, C, H, W) in [0, 1]",
        "largest_difference": difference,
        "torch": torch.__version__,
    }
    write_json(folder / "export.json", entries)
    return difference


def _save(module: nn.Module, inputs: tuple[Tensor, ...], path: Path) -> None:
    batch = torch.export.Dim("batch", min=1)
    with torch.no_grad():
        program = torch.export.export(module, inputs, dynamic_shapes=tuple({0: batch} for _ in inputs))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    write_atomic(path, lambda stream: stream.write(buffer.getbuffer()))


def _difference(path: Path, inputs: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> float:
    """Largest difference of a saved program's outputs from `expected`, for the example and for its first row."""
    program = torch.export.load(io.BytesIO(path.read_bytes())).module()  # torch opens no path that is not Unicode
    differences = []
    for count in (EXAMPLE, 1):
        outputs = program(*(value[:count] for value in inputs))
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        for output, reference in zip(outputs, expected, strict=True):
            differences.append((output - reference[:count]).abs().max().item())
    return max(differences)


def run(session: Session, options: Export) -> None:
    """Write encoder and decoder as programs and compare them with the model."""
    trained = session.trained
    folder = session.folder("programs")
    facts = {name: getattr(trained, name) for name in ("title", "protocol", "epoch", "class_names")}
    difference = export(trained.model, folder, {**facts, "checkpoint": str(trained.path)})
    session.console.say(f"loaded again, the programs differ from the model by at most {difference:.1e} (example.npz)")
    y = ", y" if trained.model.num_classes else ""
    session.console.say(f"use: torch.export.load('decoder.pt2').module()(z{y})")
    session.wrote(*sorted(folder.iterdir()))
