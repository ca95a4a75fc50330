import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from vae.model import networks

LAYERS = [
    pytest.param(networks.Conv2d, nn.Conv2d, {"stride": 2}, id="convolution"),
    pytest.param(networks.ConvTranspose2d, nn.ConvTranspose2d, {"stride": 2, "output_padding": 1}, id="transposed"),
]


def with_gradients(layer, x):
    """A layer's output, and the gradients of its input and weights."""
    h = layer(x)
    weighting = torch.linspace(-1, 1, h.numel(), dtype=h.dtype).reshape(h.shape)
    return h, *torch.autograd.grad((h.square() * weighting).sum(), [x, *layer.parameters()])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("ours", "torchs", "knobs"), LAYERS)
def test_a_convolution_is_torch_s_own(ours, torchs, knobs, channels):
    layer, expected = (kind(channels, 5, 3, padding=1, dtype=torch.float64, **knobs) for kind in (ours, torchs))
    expected.load_state_dict(layer.state_dict())
    x = torch.randn(4, channels, 8, 8, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(with_gradients(layer, x), with_gradients(expected, x), rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), expected(x), rtol=0, atol=0)


class Backwards(TorchDispatchMode):
    """Remembers what every convolution's backward pass is given, and is asked for."""

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        if function is torch.ops.aten.convolution_backward.default:
            self.calls = [*getattr(self, "calls", []), (arguments[1], arguments[-1])]
        return function(*arguments, **(options or {}))


@pytest.mark.parametrize(("ours", "torchs", "knobs"), LAYERS)
def test_on_a_cpu_biases_have_their_gradients_from_sums_and_a_single_channel_has_company(ours, torchs, knobs):
    layer = ours(1, 5, 3, padding=1, **knobs)
    with Backwards() as backwards:
        layer(torch.randn(2, 1, 8, 8)).sum().backward()
    ((x, (_, _, sums_bias)),) = backwards.calls
    assert not sums_bias and layer.bias.grad is not None
    assert x.shape[1] == (2 if ours is networks.Conv2d else 1)
