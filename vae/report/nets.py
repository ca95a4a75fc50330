"""A net as steps that a page can compute, with its weights in 16 bits."""

from __future__ import annotations

import base64
import math
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vae.model.mixer import MixerBlock, MixerDecoder
from vae.model.networks import ConvDecoder, ConvEncoder, GatedBlock, MLPDecoder, MLPEncoder, ResidualBlock
from vae.model.priors import SCALE_LIMIT, Coupling, RealNVP, StandardNormal, VampPrior
from vae.system.errors import plain

MAX_WEIGHTS = 8_000_000  # of a net that runs in the page: 16 MB, and some 10 ms of an ordinary core
Step = dict[str, Any]


class _UnknownLayerError(Exception):
    """A layer that the page can't compute."""


class Weights(NamedTuple):
    """A net's weights in the order of use: matrices in 16 bits, everything else in 32."""

    matrices: list[Tensor]  # int16, each row divided by its scale, which is among the vectors
    vectors: list[Tensor]

    def add_linear(self, layer: nn.Linear) -> None:
        """Add a layer; each row's largest weight becomes 32767, with a tenth of float16's error in the same space."""
        scale = layer.weight.abs().amax(1).clamp(min=1e-30) / 32767
        self.matrices.append((layer.weight / scale[:, None]).round().to(torch.int16))
        self.vectors.extend([scale, torch.zeros_like(scale) if layer.bias is None else layer.bias])


@torch.no_grad()
def program(net: nn.Module, name: str) -> tuple[dict[str, Any] | None, str]:
    """A net as a page can run it; or `None` and the reason why it can't, which calls the net by this name.

    A prior's net maps latents to log p(z); an encoder's returns mu followed by logvar.
    """
    count = sum(parameter.numel() for parameter in net.parameters())
    if count > MAX_WEIGHTS:
        return None, f"the {name} has {count:,} weights, too many to run in a page (at most {MAX_WEIGHTS:,})"
    weights = Weights([], [])
    try:
        steps = _steps(net, weights)
    except _UnknownLayerError as error:
        return None, f"the {name} {error}"
    matrices, vectors = (torch.cat([part.flatten() for part in parts or [torch.empty(0)]]) for parts in weights)
    return {"steps": steps, "matrices": blob(matrices, "int16"), "vectors": blob(vectors, "float32")}, ""


def _steps(module: nn.Module, weights: Weights) -> list[Step]:
    """A net as a list of steps; their weights are added to `weights`, in the order of the steps."""

    in_turn = partial(_in_turn, weights)
    kind = type(module)
    if kind.__module__.partition(".")[0] not in ("vae", "torch"):  # a subclass may compute something else
        raise _UnknownLayerError(f"is, or has, a {plain(kind.__name__)}, which the page doesn't know")
    match module:
        case MLPEncoder() | MLPDecoder() | nn.Sequential():
            return in_turn(*module.children())
        case nn.Linear():
            weights.add_linear(module)
            return [{"op": "linear", "in": module.in_features, "out": module.out_features}]
        case nn.LayerNorm():
            weights.vectors.extend([module.weight, module.bias])
            return [{"op": "norm", "width": math.prod(module.normalized_shape), "eps": module.eps}]
        case MixerDecoder() | MixerBlock():
            return _mixer_steps(module, weights)
        case GatedBlock():
            return [*in_turn(module.linear), {"op": "gate"}]
        case ResidualBlock():
            return [{"op": "residual", "body": in_turn(module.norm, module.inner, module.activation, module.outer)}]
        case nn.LeakyReLU():
            return [{"op": "leaky_relu", "slope": module.negative_slope}]
        case nn.ELU():
            return [{"op": "elu", "alpha": module.alpha}]
        case nn.ReLU() | nn.SiLU() | nn.GELU() | nn.Tanh():
            return [{"op": type(module).__name__.lower()}]
        case StandardNormal():
            return [{"op": "normal"}]
        case VampPrior():
            mu, logvar = module.components()
            weights.vectors.extend([mu, logvar])
            return [{"op": "mixture", "components": len(mu), "latents": mu.shape[1]}]
        case RealNVP():
            return [{"op": "flow", "couplings": in_turn(*module.couplings)}]
        case Coupling():
            body = in_turn(module.body, module.head)  # without `from_amounts`: the page has undistorted images
            return [{"moves_first": module.moves_first, "cut": module.cut, "limit": SCALE_LIMIT, "body": body}]
        case ConvEncoder() | ConvDecoder():
            raise _UnknownLayerError("is convolutional, which takes a page too long to run while the pointer moves")
    raise _UnknownLayerError(f"is, or has, a {type(module).__name__}, which the page doesn't know")


def _in_turn(weights: Weights, *parts: nn.Module) -> list[Step]:
    """The steps of several parts, one after another."""
    return [step for part in parts for step in _steps(part, weights)]


def _mixer_steps(module: MixerDecoder | MixerBlock, weights: Weights) -> list[Step]:
    """A mixer's part as `_steps` has it: what patches or features share is a body for each of their rows."""

    def each(rows: int, *parts: nn.Module) -> Step:
        return {"op": "each", "count": rows, "body": _in_turn(weights, *parts)}

    def add(terms: Tensor) -> Step:
        weights.vectors.append(terms)
        return {"op": "add", "size": terms.numel()}

    if isinstance(module, MixerBlock):
        patches, width = module.patch_inner.in_features, module.feature_inner.in_features
        over_patches = [
            each(patches, module.patch_norm),
            {"op": "transpose", "rows": patches, "columns": width},
            each(width, module.patch_inner, module.activation, module.patch_outer),
            {"op": "transpose", "rows": width, "columns": patches},
        ]
        inner, outer = module.feature_inner, module.feature_outer
        over_features = [each(patches, module.feature_norm, inner, module.activation, outer)]
        return [{"op": "residual", "body": body} for body in (over_patches, over_features)]
    *blocks, norm, activation = module.mixers
    steps = _in_turn(weights, module.body, module.stem, *blocks)
    steps += [each(module.patches, norm, activation, module.head), add(module.bias)]
    if module.draws_images:
        steps.append({"op": "to_images", "shape": list(module.output_shape), "size": module.patch_size})
    return steps


def blob(values: Tensor, dtype: str) -> dict[str, Any]:
    """Numbers as base64 of little-endian `float32`, `int16`, `uint16` or `uint8`."""
    array = np.ascontiguousarray(values.detach().cpu().numpy().astype(np.dtype(dtype).newbyteorder("<")))
    return {"dtype": dtype, "shape": list(array.shape), "data": base64.b64encode(array.tobytes()).decode()}
