"""p(z): the standard normal, and two priors that are learned with the nets.

Shapes: D latent_dim, K num_pseudo_inputs, N draws, Q quantiles, A amounts of a distortion; (...) is any batch of
latents, such as (S, B).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from vae.model.linear import Linear
from vae.model.losses import standard_normal_log_density

SCALE_LIMIT = 2.0  # a coupling stretches no latent by more than e²: a bound, so that no step can blow up


class Prior(nn.Module):
    """A distribution of latents. A subclass has `log_prob`, and `from_noise` or a `sample` of its own."""

    latent_dim: int

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z), nats, (...,), for latents (..., D)."""
        raise NotImplementedError

    def from_noise(self, eps: Tensor) -> Tensor:
        """Map standard normal noise (..., D) to latents (..., D)."""
        raise NotImplementedError

    def sample(
        self,
        n: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
        temperature: float = 1.0,
    ) -> Tensor:
        """Draw latents, (N, D).

        Args:
            n: N.
            generator: of the noise, on any device; `None` is torch's global one.
            device: the prior's.
            temperature: factor of the noise; at 0 every draw is the centre of the prior or of one of its components.
        """
        return self.from_noise(temperature * _noise(n, self.latent_dim, generator=generator, device=device))

    @torch.no_grad()
    def quantiles(self, levels: Tensor) -> Tensor:
        """Each latent's marginal quantiles, (Q, D), at `levels` (Q,) in [0, 1]: here those of 10,000 fixed draws."""
        generator = torch.Generator().manual_seed(0)
        return torch.quantile(self.sample(10_000, generator=generator, device=levels.device), levels, dim=0)


def _noise(*shape: int, generator: torch.Generator | None, device: torch.device | str) -> Tensor:
    """Standard normal noise; a CPU generator gives every device the same."""
    source = generator.device if generator else device
    return torch.randn(*shape, generator=generator, device=source).to(device)


class StandardNormal(Prior):
    """N(0, I)."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z), nats, (...,), for latents (..., D)."""
        return standard_normal_log_density(z)

    def from_noise(self, eps: Tensor) -> Tensor:
        """The noise itself, (..., D)."""
        return eps

    def quantiles(self, levels: Tensor) -> Tensor:
        """Each latent's marginal quantiles, (Q, D), at `levels` (Q,) in [0, 1], in closed form."""
        return torch.special.ndtri(levels).unsqueeze(1).expand(-1, self.latent_dim)


class VampPrior(Prior):
    """The mixture of the posteriors of K learned pseudo-inputs. Tomczak & Welling 2018, eq. 9.

    Args:
        encode: maps images (K, C, H, W) in [0, 1] to mu and logvar of q(z|x), (K, D) each.
        num_pseudo_inputs: K.
        image_shape: (C, H, W).
    """

    def __init__(
        self,
        encode: Callable[[Tensor], tuple[Tensor, Tensor]],
        num_pseudo_inputs: int,
        image_shape: tuple[int, int, int],
    ) -> None:
        super().__init__()
        self._encode = encode
        self.pseudo_logits = nn.Parameter(torch.randn(num_pseudo_inputs, *image_shape) - 2)  # (K, C, H, W)

    @torch.no_grad()
    def start_from(self, images: Tensor) -> None:
        """Set the pseudo-inputs to images (K, C, H, W) in [0, 1]."""
        self.pseudo_logits.copy_(torch.logit(images, eps=0.01))

    def components(self) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the K Gaussians, (K, D) each."""
        return self._encode(torch.sigmoid(self.pseudo_logits))

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z), nats, (...,), for latents (..., D)."""
        mu, logvar = self.components()
        # The sum over D of (z - mu)² / sigma² is multiplied out: two matrix products instead of a tensor (..., K, D).
        # Its terms cancel where components are narrow, which costs a whole nat in float32 at sigma = 0.003.
        dtype = torch.float32 if z.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
        with torch.autocast(z.device.type, enabled=False):
            point, centre, precision = z.to(dtype), mu.to(dtype), torch.exp(-logvar.to(dtype))
            square = point.square() @ precision.T - 2 * point @ (centre * precision).T
            square = (square + (centre.square() * precision).sum(1)).to(z.dtype)  # (..., K)
        log_density = -0.5 * (square + logvar.sum(1) + mu.shape[1] * math.log(2 * math.pi))
        return torch.logsumexp(log_density, dim=-1) - math.log(len(mu))

    def sample(
        self,
        n: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
        temperature: float = 1.0,
    ) -> Tensor:
        """Draw latents, (N, D): a component each, then a point of it."""
        mu, logvar = self.components()
        source = generator.device if generator else device
        k = torch.randint(len(mu), (n,), generator=generator, device=source).to(device)
        eps = _noise(n, mu.shape[1], generator=generator, device=device)
        return mu[k] + temperature * torch.exp(0.5 * logvar[k]) * eps


class Coupling(nn.Module):
    """Shifts and scales one half of the latents by functions of the other half. Dinh et al. 2017, eq. 4.

    Args:
        latent_dim: D.
        width: of the two hidden layers that compute shift and scale.
        moves_first: whether the first half moves, or the second.
        num_amounts: A, as `RealNVP` has it.
    """

    def __init__(self, latent_dim: int, width: int, *, moves_first: bool, num_amounts: int = 0) -> None:
        super().__init__()
        self.moves_first, self.cut = moves_first, latent_dim // 2
        moved = self.cut if moves_first else latent_dim - self.cut
        self.body = nn.Sequential(Linear(latent_dim - moved, width), nn.SiLU(), Linear(width, width), nn.SiLU())
        self.head = Linear(width, 2 * moved)
        if num_amounts:
            self.from_amounts = Linear(num_amounts, width, bias=False)  # adds nothing for amounts of 0
        nn.init.zeros_(self.head.weight)  # starts as the identity
        nn.init.zeros_(self.head.bias)

    def _split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The half that stays and the half that moves."""
        first, second = z[..., : self.cut], z[..., self.cut :]
        return (second, first) if self.moves_first else (first, second)

    def _join(self, kept: Tensor, moved: Tensor) -> Tensor:
        return torch.cat([moved, kept] if self.moves_first else [kept, moved], dim=-1)

    def _shift_and_log_scale(self, kept: Tensor, amounts: Tensor | None = None) -> tuple[Tensor, Tensor]:
        h = self.body[0](kept)
        if amounts is not None:
            h = h + self.from_amounts(amounts)
        shift, raw = self.head(self.body[1:](h)).to(kept.dtype).chunk(2, dim=-1)
        return shift, SCALE_LIMIT * torch.tanh(raw / SCALE_LIMIT)

    def forward(self, z: Tensor, amounts: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Latents (..., D) one step towards noise, and the log of the step's Jacobian determinant, (...,)."""
        kept, moved = self._split(z)
        shift, log_scale = self._shift_and_log_scale(kept, amounts)
        return self._join(kept, (moved - shift) * torch.exp(-log_scale)), -log_scale.sum(-1)

    def inverse(self, eps: Tensor) -> Tensor:
        """Noise (..., D) one step towards latents of undistorted images."""
        kept, moved = self._split(eps)
        shift, log_scale = self._shift_and_log_scale(kept)
        return self._join(kept, moved * torch.exp(log_scale) + shift)


class RealNVP(Prior):
    """Noise through a chain of invertible couplings. Dinh et al. 2017.

    Before each coupling the latents are dealt into even and odd ones, so that the halves mix.

    Args:
        latent_dim: D, at least 2.
        num_couplings: length of the chain.
        width: of the hidden layers in each coupling.
        num_amounts: A, the numbers telling how a training image was distorted, on which the prior is conditioned; or 0.
            Amounts of 0 stand for an undistorted image and add nothing: scoring and sampling leave them out. Karras et
            al. 2022, app. F.2.
    """

    def __init__(self, latent_dim: int, num_couplings: int, width: int, *, num_amounts: int = 0) -> None:
        super().__init__()
        self.latent_dim, self.num_amounts = latent_dim, num_amounts
        self.couplings = nn.ModuleList(
            Coupling(latent_dim, width, moves_first=index % 2 == 1, num_amounts=num_amounts)
            for index in range(num_couplings)
        )

    def to_noise(self, z: Tensor, amounts: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map latents (..., D) to noise (..., D), with the log of the Jacobian determinant, (...,)."""
        log_det = torch.zeros_like(z[..., 0])
        for coupling in self.couplings:
            dealt = torch.cat([z[..., ::2], z[..., 1::2]], dim=-1)
            z, step = coupling(dealt, amounts)
            log_det = log_det + step
        return z, log_det

    def from_noise(self, eps: Tensor) -> Tensor:
        """Map noise (..., D) to latents (..., D)."""
        num_even = (self.latent_dim + 1) // 2
        for coupling in reversed(self.couplings):
            dealt = cast(Coupling, coupling).inverse(eps)
            eps = torch.empty_like(dealt)
            eps[..., ::2], eps[..., 1::2] = dealt[..., :num_even], dealt[..., num_even:]
        return eps

    def log_prob(self, z: Tensor, amounts: Tensor | None = None) -> Tensor:
        """log p(z), nats, (...,), for latents (..., D): the change of variables. Dinh et al. 2017, eq. 3.

        Args:
            z: (B, D) or (S, B, D) if there are amounts.
            amounts: how the images of z were distorted, (B, A); `None` for not at all.
        """
        eps, log_det = self.to_noise(z, amounts)
        return standard_normal_log_density(eps) + log_det
