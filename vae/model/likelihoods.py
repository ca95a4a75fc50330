"""p(x|z): the built-in likelihoods, which `--recon_loss` names, and the base of others.

Shapes: B batch, C channels, H height, W width, S samples, R numbers that describe a pixel; N patches, K components.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vae.model.losses import (
    bernoulli_mixture_recon,
    bernoulli_recon,
    continuous_bernoulli_mean,
    continuous_bernoulli_recon,
    squared_error_recon,
)
from vae.model.patches import ImageShape, to_images, to_patches


class Likelihood(nn.Module):
    """A distribution of images given what the decoder returns. A subclass has `name`, `recon` and perhaps `mean`.

    It may have parameters, which are trained with the nets.

    Attributes:
        name: of the distribution, in a few words: it stands beside every figure.
        support: what the distribution gives a probability to: `binary` pixels or 256 `levels`; or a density on
            `continuous` pixels.
        outputs_per_pixel: R.
        log_normalizer: what `recon` leaves out of -log p(x|z), nats per pixel.
    """

    name: str
    support: Literal["binary", "levels", "continuous"] = "continuous"
    outputs_per_pixel: int = 1
    log_normalizer: float = 0.0

    def output_shape(self, image_shape: ImageShape) -> tuple[int, ...]:
        """What a built-in decoder returns for an image of shape (C, H, W): here (R·C, H, W)."""
        channels, height, width = image_shape
        return self.outputs_per_pixel * channels, height, width

    def logits_of(self, mean: Tensor) -> Tensor:
        """What a built-in decoder returns to draw an image (C, H, W) in (0, 1), of its `output_shape`."""
        return torch.logit(mean)

    def recon(self, logits: Tensor, x: Tensor) -> Tensor:
        """-log p(x|z), the reconstruction term, nats per image, (B,) or (S, B).

        Args:
            logits: what the decoder returns, (B, ...) or (S, B, ...), float32.
            x: images in [0, 1], (B, C, H, W).
        """
        raise NotImplementedError

    def mean(self, logits: Tensor) -> Tensor:
        """E[x|z] for pictures, (..., C, H, W) in [0, 1]: here the sigmoid of the logits."""
        return torch.sigmoid(logits)

    def draw(self, logits: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Binary images drawn from p(x|z), (..., C, H, W), with a CPU's `generator`: here each pixel on its own."""
        return torch.bernoulli(self.mean(logits).clamp(0, 1).cpu(), generator=generator)

    def least_recon(self, x: Tensor) -> Tensor | None:
        """The least reconstruction term that any decoder can reach, nats per image, (B,); `None` if it has no bound."""
        return None


class Bernoulli(Likelihood):
    """A probability of binary pixels, or the cross-entropy of grey ones."""

    name = "bce"
    support = "binary"

    def recon(self, logits: Tensor, x: Tensor) -> Tensor:
        """-log p(x|z), nats per image, (B,) or (S, B)."""
        return bernoulli_recon(logits, x)

    def least_recon(self, x: Tensor) -> Tensor:
        """The entropy of pixels with these grey levels as their means, nats per image, (B,); 0 for binary pixels."""
        return F.binary_cross_entropy(x, x, reduction="none").flatten(1).sum(1)


class BernoulliMixture(Bernoulli):
    """A mixture of Bernoullis for every patch of binary pixels, so that its pixels depend on each other given z.

    A decoder returns (B, N, K, M + 1): for each patch, from left to right and from the top down, and each component,
    the logits of the patch's M pixels and the log of the component's weight, up to a constant.

    Args:
        components: K, at least 2.
        patch: height and width of a patch, in pixels.
        image_shape: (C, H, W); H and W are multiples of `patch`.
    """

    def __init__(self, components: int, patch: int, image_shape: ImageShape) -> None:
        super().__init__()
        self.components, self.patch, self.image_shape = components, patch, image_shape

    def output_shape(self, image_shape: ImageShape) -> tuple[int, ...]:
        """(N, K, M + 1)."""
        pixels = image_shape[0] * self.patch**2
        return math.prod(image_shape) // pixels, self.components, pixels + 1

    def logits_of(self, mean: Tensor) -> Tensor:
        """Components that are all alike, of equal weight, (N, K, M + 1)."""
        pixels = torch.logit(to_patches(mean, self.patch)).unsqueeze(1).expand(-1, self.components, -1)
        return F.pad(pixels, (0, 1))

    def recon(self, logits: Tensor, x: Tensor) -> Tensor:
        """-log p(x|z), nats per image, (B,) or (S, B)."""
        return bernoulli_mixture_recon(logits[..., :-1], logits[..., -1], to_patches(x, self.patch))

    def mean(self, logits: Tensor) -> Tensor:
        """E[x|z], (..., C, H, W): each component's pixels, weighted."""
        weights = logits[..., -1:].softmax(-2)
        patches = (weights * torch.sigmoid(logits[..., :-1])).sum(-2)
        return to_images(patches, self.patch, height=self.image_shape[1])

    def draw(self, logits: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Binary images drawn from p(x|z), (..., C, H, W): a component of each patch, then its pixels."""
        logits = logits.cpu()
        weights = logits[..., -1].softmax(-1)  # (..., N, K)
        k = torch.multinomial(weights.flatten(0, -2), 1, generator=generator).view(*weights.shape[:-1], 1, 1)
        means = torch.sigmoid(logits[..., :-1].take_along_dim(k, dim=-2).squeeze(-2))
        return to_images(torch.bernoulli(means, generator=generator), self.patch, height=self.image_shape[1])


class SquaredError(Likelihood):
    """A Gaussian of variance 1/2 around the sigmoid of the logits, without its constant."""

    name = "mse"
    log_normalizer = 0.5 * math.log(math.pi)

    def recon(self, logits: Tensor, x: Tensor) -> Tensor:
        """-log p(x|z) without its constant, nats per image, (B,) or (S, B)."""
        return squared_error_recon(logits, x)


class ContinuousBernoulli(Likelihood):
    """A density of pixels in [0, 1]. Loaiza-Ganem & Cunningham 2019."""

    name = "continuous_bernoulli"

    def recon(self, logits: Tensor, x: Tensor) -> Tensor:
        """-log p(x|z), nats per image, (B,) or (S, B)."""
        return continuous_bernoulli_recon(logits, x)

    def mean(self, logits: Tensor) -> Tensor:
        """E[x|z], which is not the sigmoid of the logits."""
        return continuous_bernoulli_mean(logits)


LIKELIHOODS: dict[str, type[Likelihood]] = {
    likelihood.name: likelihood for likelihood in (Bernoulli, SquaredError, ContinuousBernoulli)
}


def make_likelihood(recon_loss: str, *, components: int, patch_size: int, image_shape: ImageShape) -> Likelihood:
    """The likelihood of this name; of `bce` with several components, a mixture of them for every patch.

    Raises:
        ValueError: components of another likelihood, or patches that don't fill the image.
    """
    if components == 1:
        return LIKELIHOODS[recon_loss]()
    if recon_loss != "bce" or patch_size < 1 or any(side % patch_size for side in image_shape[1:]):
        raise ValueError(f"a mixture needs recon_loss bce and patches that fill {image_shape}")
    return BernoulliMixture(components, patch_size, image_shape)


def is_built_in(likelihood: Likelihood) -> bool:
    """Whether a likelihood is one of these, and not a subclass, which may compute something else."""
    return type(likelihood) in (*LIKELIHOODS.values(), BernoulliMixture)
