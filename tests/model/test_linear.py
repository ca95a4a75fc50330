"""Linear layers that a CPU scores at full speed."""

import copy

import pytest
import torch
from torch import nn

from vae.model import linear
from vae.model.linear import Linear, is_quicker_on_onednn, scoring
from vae.model.vae import VAE

ONEDNN = "mkldnn::_linear_pointwise"
has_it = pytest.mark.skipif(not is_quicker_on_onednn(), reason="needs AVX-512 and oneDNN")


def operations(run) -> set[str]:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        run()
    return {event.key for event in profile.key_averages()}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(40,), (7, 40), (3, 7, 40), (0, 40), (40, 7)])
def test_its_products_are_float32_products(shape, bias):
    layer, x = Linear(40, 30, bias=bias), torch.randn(shape)
    x = x.mT if shape == (40, 7) else x  # not contiguous
    with scoring():
        y = layer(x)
    exact = copy.deepcopy(layer).double()(x.double())
    assert y.dtype == torch.float32 and y.shape == exact.shape
    assert torch.allclose(y.double(), exact, atol=1e-5)  # products of bfloat16 would be 1e-2 away


@has_it
def test_only_scoring_takes_onednn_and_only_in_float32():
    layer, x = Linear(40, 30), torch.randn(7, 40)
    quick, doubles = scoring()(lambda: layer(x)), scoring()(lambda: copy.deepcopy(layer).double()(x.double()))
    assert ONEDNN in operations(quick)
    assert ONEDNN not in operations(doubles) | operations(lambda: layer(x)) | operations(
        torch.no_grad()(lambda: layer(x))
    )


@has_it
def test_every_dense_layer_of_the_built_in_nets_and_priors_takes_it():
    model = VAE(4, arch="mixer", block="residual", prior="flow", image_shape=(1, 8, 8), hidden_dims=(9, 9)).eval()
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    assert layers and all(type(layer) is Linear for layer in layers)


def test_gradients_are_those_of_a_linear_layer_in_a_scoring_block_too():
    layer, x = Linear(4, 3), torch.randn(2, 4, requires_grad=True)
    with scoring():
        assert not layer(x).requires_grad
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(layer(x).sum(), x)
    torch.testing.assert_close(gradient, layer.weight.sum(0).expand(2, 4))
    assert layer(x).requires_grad and not linear._blocks


def test_an_error_ends_the_block():
    with pytest.raises(RuntimeError, match="mat1"), scoring():
        nn.Linear(2, 3)(torch.zeros(1, 4))
    assert not linear._blocks and torch.is_grad_enabled()
