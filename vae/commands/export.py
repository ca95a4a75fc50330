"""The encoder and the decoder as `torch.export` programs, which run without this code, each held against the model.

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
from vae.config import options
from vae.model.vae import VAE
from vae.system.errors import UserError
from vae.system.files import write_atomic, write_json, write_npz

EXAMPLE = 4  # images in the example
TOLERANCE = 1e-5  # between the program's numbers and the model's


class ExportError(UserError):
    """A program that doesn't give the model's numbers."""


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
    """Write `encoder.pt2` and `decoder.pt2`, for the CPU and any batch size; try them on an example.

    Args:
        model: left as it is.
        folder: also gets `example.npz`, inputs and outputs by name, and `export.json`.
        facts: what else that JSON should say.

    Returns:
        The largest difference between what a loaded program and the model make of the example.

    Raises:
        ExportError: that difference is above TOLERANCE.
    """
    model = copy.deepcopy(model).cpu().eval().to(memory_format=torch.contiguous_format)  # what the archive keeps whole
    z = torch.randn(EXAMPLE, model.latent_dim, generator=torch.Generator().manual_seed(0))
    y = torch.arange(EXAMPLE) % model.num_classes if model.num_classes else None
    with torch.no_grad():
        images = model.decode(z, y)
        mu, logvar = model.encode(images, y)
    example = {"z": z, "images": images, "mu": mu, "logvar": logvar} | ({} if y is None else {"y": y})
    differences = []
    for name, module, given, expected in (
        ("encoder", Encoder(model), images, (mu, logvar)),
        ("decoder", Decoder(model), z, (images,)),
    ):
        path = folder / f"{name}.pt2"
        _save(module, (given,) if y is None else (given, y), path)
        differences.append(_difference(path, given, y, expected))
    if max(differences) > TOLERANCE:
        raise ExportError(f"the programs in {folder} differ from the model by {max(differences):.1e}: don't use them")
    write_npz(folder / "example.npz", example)
    classes = ", y (B,)" if model.num_classes else ""
    signatures = {
        "encoder": f"x (B, C, H, W) in [0, 1]{classes} to mu (B, D), logvar (B, D)",
        "decoder": f"z (B, D){classes} to pixel means (B, C, H, W) in [0, 1]",
    }
    sizes = {"image_shape": list(model.image_shape), "latent_dim": model.latent_dim, "num_classes": model.num_classes}
    write_json(
        folder / "export.json",
        {**facts, **sizes, **signatures, "largest_difference": max(differences), "torch": torch.__version__},
    )
    return max(differences)


def _save(module: nn.Module, inputs: tuple[Tensor, ...], path: Path) -> None:
    batch = torch.export.Dim("batch", min=1)
    with torch.no_grad():
        program = torch.export.export(module, inputs, dynamic_shapes=tuple({0: batch} for _ in inputs))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    write_atomic(path, lambda stream: stream.write(buffer.getbuffer()))


def _difference(path: Path, given: Tensor, y: Tensor | None, expected: tuple[Tensor, ...]) -> float:
    """Largest difference of the saved program from what is expected, for the example and for its first image alone."""
    program = torch.export.load(io.BytesIO(path.read_bytes())).module()  # torch opens no path that is not Unicode
    worst = 0.0
    for count in (EXAMPLE, 1):
        found = program(given[:count]) if y is None else program(given[:count], y[:count])
        for one, other in zip(found if isinstance(found, tuple) else (found,), expected, strict=True):
            worst = max(worst, (one - other[:count]).abs().max().item())
    return worst


def run(session: Session, chosen: options.Export) -> None:
    """Write encoder and decoder as programs, each held against the model."""
    trained = session.trained
    folder = session.folder(session.default / "programs")
    facts = {name: getattr(trained, name) for name in ("title", "protocol", "epoch", "class_names")}
    difference = export(trained.model, folder, {**facts, "checkpoint": str(trained.path)})
    session.console.say(f"loaded again, the programs differ from the model by {difference:.1e} at most (example.npz)")
    y = ", y" if trained.model.num_classes else ""
    session.console.say(f"use: torch.export.load('decoder.pt2').module()(z{y})")
    session.wrote(*sorted(folder.iterdir()))
