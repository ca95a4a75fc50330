"""Nets without gradients, and the library that multiplies their matrices."""

import pytest
import torch
from torch import nn

from vae.system import inference as module
from vae.system.inference import has_quick_linear, inference

LAYER = nn.Linear(40, 30)


def operations(x: torch.Tensor, layer: nn.Module = LAYER) -> set[str]:
    with inference(), torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        layer(x)
    return {event.key for event in profile.key_averages()}


@pytest.mark.parametrize("shape", [(40,), (7, 40), (3, 7, 40), (0, 40)])
@pytest.mark.parametrize("bias", [True, False])
def test_its_products_are_float32_products(shape, bias):
    layer, x = nn.Linear(40, 30, bias=bias), torch.randn(shape)
    with inference():
        y = layer(x)
    exact = layer.double()(x.double())
    assert y.dtype == torch.float32 and y.shape == exact.shape
    assert torch.allclose(y.double(), exact, atol=1e-5)  # products of bfloat16 would be 1e-2 away


def test_other_layouts_and_tied_weights():
    x, weight = torch.randn(40, 7).mT, torch.randn(40, 30).mT
    with inference():
        y = nn.functional.linear(x, weight)
    assert torch.allclose(y, x @ weight.mT, atol=1e-4)


def test_it_keeps_no_gradients():
    @inference()
    def run(x):
        return LAYER(x)

    assert LAYER(torch.randn(2, 40)).requires_grad and not run(torch.randn(2, 40)).requires_grad


@pytest.mark.skipif(not has_quick_linear(), reason="needs AVX-512, MKL and oneDNN")
def test_where_there_is_avx512_linear_layers_run_on_onednn():
    assert "mkldnn::_linear_pointwise" in operations(torch.randn(7, 40))
    assert "mkldnn::_linear_pointwise" not in operations(torch.randn(7, 40).double(), nn.Linear(40, 30).double())


def test_elsewhere_they_run_as_they_are(monkeypatch):
    monkeypatch.setattr(module, "has_quick_linear", lambda: False)
    assert "mkldnn::_linear_pointwise" not in operations(torch.randn(7, 40))
