"""p(z): the standard normal, and priors that are learned with the nets.

Shapes: D latent_dim, K num_pseudo_inputs, N draws, Q quantiles.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from vae.model.losses import standard_normal_log_density

SCALE_LIMIT = 2.0  # a coupling stretches no latent by more than e^2: bounded, so that no step can blow up


class Prior(nn.Module):
    """What every prior offers."""

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z), nats, (...,), for latents (..., D)."""
        raise NotImplementedError

    def sample(
        self,
        n: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
        temperature: float = 1.0,
    ) -> Tensor:
        """Draws, (N, D).

        Args:
            n: N.
            generator: of the noise, on whatever device; `None` is torch's global one.
            device: of the prior.
            temperature: factor of the noise; 0 gives each draw's most typical place.
        """
        raise NotImplementedError

    @torch.no_grad()
    def quantiles(self, levels: Tensor) -> Tensor:
        """Each latent's marginal quantiles at `levels` (Q,), (Q, D): here those of 10,000 draws with a seed of 0."""
        generator = torch.Generator().manual_seed(0)
        return torch.quantile(self.sample(10_000, generator=generator, device=levels.device), levels, dim=0)


def _noise(*shape: int, generator: torch.Generator | None, device: torch.device | str) -> Tensor:
    """Standard normal noise, the same on every device that a CPU generator is given for."""
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

    def sample(
        self,
        n: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
        temperature: float = 1.0,
    ) -> Tensor:
        """Draws, (N, D)."""
        return temperature * _noise(n, self.latent_dim, generator=generator, device=device)

    def quantiles(self, levels: Tensor) -> Tensor:
        """Each latent's marginal quantiles at `levels` (Q,), (Q, D), in closed form."""
        return torch.special.ndtri(levels).unsqueeze(1).expand(-1, self.latent_dim)


class VampPrior(Prior):
    """The mean of the posteriors of K learned pseudo-inputs, a mixture of Gaussians. Tomczak & Welling 2018, eq. 9.

    Args:
        encode: images (K, C, H, W) in [0, 1] to mu and logvar of q(z|x), (K, D) each.
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
        """Make images (K, C, H, W) in [0, 1] the pseudo-inputs."""
        self.pseudo_logits.copy_(torch.logit(images, eps=0.01))

    def _components(self) -> tuple[Tensor, Tensor]:
        return self._encode(torch.sigmoid(self.pseudo_logits))

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z), nats, (...,), for latents (..., D)."""
        mu, logvar = self._components()  # (K, D)
        # Sum over D of (z - mu)² / sigma², multiplied out: two products in place of a tensor (..., K, D). Its terms
        # cancel where components are narrow: a whole nat of float32 at sigma = 0.003.
        exact = torch.float32 if z.device.type == "mps" else torch.float64  # which Apple's GPUs don't have
        with torch.autocast(z.device.type, enabled=False):
            far, centre, precision = z.to(exact), mu.to(exact), torch.exp(-logvar.to(exact))
            square = far.square() @ precision.T - 2 * far @ (centre * precision).T
            square = (square + (centre.square() * precision).sum(1)).to(z.dtype)
        log_density = -0.5 * (square + logvar.sum(1) + mu.shape[1] * math.log(2 * math.pi))  # (..., K)
        return torch.logsumexp(log_density, dim=-1) - math.log(len(mu))

    def sample(
        self,
        n: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
        temperature: float = 1.0,
    ) -> Tensor:
        """Draws, (N, D): a pseudo-input each, then its posterior."""
        mu, logvar = self._components()
        source = generator.device if generator else device
        chosen = torch.randint(len(mu), (n,), generator=generator, device=source).to(device)
        eps = _noise(n, mu.shape[1], generator=generator, device=device)
        return mu[chosen] + temperature * torch.exp(0.5 * logvar[chosen]) * eps


class Coupling(nn.Module):
    """Shifts and scales one half of the latents by functions of the other. Dinh et al. 2017, eq. 4."""

    def __init__(self, latent_dim: int, width: int, *, first: bool) -> None:
        super().__init__()
        self.first, self.cut = first, latent_dim // 2
        moved = self.cut if first else latent_dim - self.cut
        self.body = nn.Sequential(nn.Linear(latent_dim - moved, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.head = nn.Linear(width, 2 * moved)
        nn.init.zeros_(self.head.weight)  # starts as the identity
        nn.init.zeros_(self.head.bias)

    def _split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The half that stays and the half that moves."""
        low, high = z[..., : self.cut], z[..., self.cut :]
        return (high, low) if self.first else (low, high)

    def _join(self, kept: Tensor, moved: Tensor) -> Tensor:
        return torch.cat([moved, kept] if self.first else [kept, moved], dim=-1)

    def _shift_and_log_scale(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        shift, raw = self.head(self.body(kept)).to(kept.dtype).chunk(2, dim=-1)
        return shift, SCALE_LIMIT * torch.tanh(raw / SCALE_LIMIT)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Latents (..., D) a step towards noise, and the log of this map's Jacobian determinant, (...,)."""
        kept, moved = self._split(z)
        shift, log_scale = self._shift_and_log_scale(kept)
        return self._join(kept, (moved - shift) * torch.exp(-log_scale)), -log_scale.sum(-1)

    def inverse(self, eps: Tensor) -> Tensor:
        """A step from noise towards latents, (..., D)."""
        kept, moved = self._split(eps)
        shift, log_scale = self._shift_and_log_scale(kept)
        return self._join(kept, moved * torch.exp(log_scale) + shift)


class RealNVP(Prior):
    """Noise through a chain of couplings that can be run backwards. Dinh et al. 2017.

    Between couplings the latents are dealt into even and odd ones, so that halves mix.

    Args:
        latent_dim: D, at least 2.
        num_couplings: their number.
        width: of the two hidden layers in each.
    """

    def __init__(self, latent_dim: int, num_couplings: int, width: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.couplings = nn.ModuleList(
            Coupling(latent_dim, width, first=index % 2 == 1) for index in range(num_couplings)
        )

    def to_noise(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Latents (..., D) to noise (..., D), and the log of the Jacobian determinant, (...,)."""
        log_det = torch.zeros_like(z[..., 0])
        for coupling in self.couplings:
            z = torch.cat([z[..., ::2], z[..., 1::2]], dim=-1)
            z, step = coupling(z)
            log_det = log_det + step
        return z, log_det

    def from_noise(self, eps: Tensor) -> Tensor:
        """Noise (..., D) to latents (..., D)."""
        even = (self.latent_dim + 1) // 2
        for coupling in reversed(self.couplings):
            dealt = cast(Coupling, coupling).inverse(eps)
            eps = torch.empty_like(dealt)
            eps[..., ::2], eps[..., 1::2] = dealt[..., :even], dealt[..., even:]
        return eps

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z), nats, (...,), for latents (..., D)."""
        eps, log_det = self.to_noise(z)
        return standard_normal_log_density(eps) + log_det

    def sample(
        self,
        n: int,
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
        temperature: float = 1.0,
    ) -> Tensor:
        """Draws, (N, D)."""
        return self.from_noise(temperature * _noise(n, self.latent_dim, generator=generator, device=device))
