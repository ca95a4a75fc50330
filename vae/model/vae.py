"""The variational autoencoder: q(z|x), p(z) and p(x|z) in one module (Kingma & Welling 2014).

Shapes: B batch, C channels, H height, W width, P pixels (C·H·W), D latent_dim, S samples or steps, A amounts of a
distortion.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vae.config import Config
from vae.data.augment import NUM_AMOUNTS
from vae.model.likelihoods import Likelihood, make_likelihood
from vae.model.losses import gaussian_kl, gaussian_log_density
from vae.model.nets import check_sides, make_decoder, make_encoder
from vae.model.patches import ImageShape
from vae.model.priors import Prior, RealNVP, StandardNormal, VampPrior
from vae.model.protocols import METHODS, DecoderLike, EncoderLike, LikelihoodLike, PriorLike

CHOICES = {field.name: field.metadata["choices"] for field in dataclasses.fields(Config)}  # those of the flags


class VAEOutput(NamedTuple):
    """What one pass through the model computes."""

    logits: Tensor  # (B, ...) or (S, B, ...) decoder output: of the built-in ones, images before the sigmoid
    mu: Tensor  # (B, D) mean of q(z|x)
    logvar: Tensor  # (B, D) log variance of q(z|x)
    z: Tensor  # (B, D) or (S, B, D) the samples that were decoded


def _checked(name: str, part: object) -> str:
    """The class name of a part of one's own, which is a module and has what its protocol asks for."""
    kind = type(part).__name__
    if not isinstance(part, nn.Module):
        raise ValueError(f"{name} is a {kind}: expected a torch.nn.Module")
    if missing := [method for method in METHODS[name] if not hasattr(part, method)]:
        raise ValueError(f"the {name} {kind} lacks {', '.join(missing)}: derive it from vae.{name.capitalize()}")
    return kind


def reparameterize(mu: Tensor, logvar: Tensor, eps: Tensor | None = None) -> Tensor:
    """z = mu + sigma · eps, (B, D) or (S, B, D). Kingma & Welling 2014, sec. 2.4.

    Args:
        mu: (B, D).
        logvar: (B, D), log sigma².
        eps: (B, D) standard normal noise, or (S, B, D); `None` draws (B, D) from torch's global generator.
    """
    if eps is None:
        eps = torch.randn_like(mu)
    return mu + torch.exp(0.5 * logvar) * eps


class VAE(nn.Module):
    """Encoder, prior, decoder and likelihood. `VAE(latent_dim=2)` is the default model.

    Each of the four can be a module of your own, which has what its protocol in `protocols` asks for. The others are
    built in, and the remaining arguments shape them.

    Attributes:
        own: class names of the parts that are not built in, and of a subclass.
        knobs: the arguments that shape the built-in parts, by their names in `Config`.

    Args:
        latent_dim: D.
        encoder: a module of your own; `None` for the built-in one.
        decoder: as the encoder.
        prior: `standard`; learned: `vamp` (not for conditional models) or `flow` (at least two latents); or a module.
        likelihood: a module of your own; `None` for the one that `recon_loss` names.
        arch: `mlp`, `conv` or `mixer`.
        hidden_dims: widths of the dense encoder's hidden layers, which the decoder has in reverse.
        base_channels: channels of the convolutional nets.
        activation: between layers, a key of `networks.ACTIVATIONS`.
        negative_slope: slope of `leaky_relu` below 0.
        block: the dense nets' kind of layer: `plain`, `gated` or `residual`.
        image_shape: (C, H, W); for `conv`, H and W are multiples of 4, for `mixer` of `patch_size`.
        num_classes: K of a class-conditional model, whose methods take labels y (B,); 0 for none.
        recon_loss: the likelihood p(x|z), a key of `likelihoods.LIKELIHOODS`.
        num_pseudo_inputs: number of mixture components of `vamp`.
        num_couplings: number of layers of `flow`.
        prior_width: width of the hidden layers in `flow`.
        augment_labels: whether `flow` can be conditioned on how an image was distorted.
        mixer_blocks: of a `mixer`.
        patch_width: features of each patch in a `mixer`.
        mixture_components: of every patch of binary pixels, for `bce` and not `conv`; 1 makes pixels independent.
        patch_size: height and width of a patch of mixtures and mixers, which divide H and W.

    Raises:
        ValueError: an unknown arch, prior or recon_loss, an image_shape that the nets can't take, or a part that is no
            module or lacks a method.
    """

    def __init__(
        self,
        latent_dim: int = 2,
        *,
        encoder: EncoderLike | None = None,
        decoder: DecoderLike | None = None,
        prior: str | PriorLike = "standard",
        likelihood: LikelihoodLike | None = None,
        arch: str = "mlp",
        hidden_dims: Sequence[int] = (512,),
        base_channels: int = 64,
        activation: str = "relu",
        negative_slope: float = 0.01,
        block: str = "plain",
        image_shape: ImageShape = (1, 28, 28),
        num_classes: int = 0,
        recon_loss: str = "bce",
        num_pseudo_inputs: int = 500,
        num_couplings: int = 6,
        prior_width: int = 256,
        augment_labels: bool = False,
        mixer_blocks: int = 1,
        patch_width: int = 96,
        mixture_components: int = 1,
        patch_size: int = 4,
    ) -> None:
        super().__init__()
        named = {"arch": arch, "recon_loss": recon_loss} | ({"prior": prior} if isinstance(prior, str) else {})
        for name, value in named.items():
            if value not in CHOICES[name]:
                raise ValueError(f"{name} is {value!r}: choose from {', '.join(CHOICES[name])}")
        if encoder is None or decoder is None:
            check_sides(arch, image_shape, patch_size)
        self.latent_dim = latent_dim
        self.image_shape = image_shape
        self.num_classes = num_classes
        self.knobs: dict[str, Any] = {
            **{"latent_dim": latent_dim, "conditional": bool(num_classes), "base_channels": base_channels},
            **{"hidden_dims": tuple(hidden_dims), "block": block},
            **{"activation": activation, "negative_slope": negative_slope},
            **{"num_pseudo_inputs": num_pseudo_inputs, "num_couplings": num_couplings, "prior_width": prior_width},
            **{"augment_labels": augment_labels},
            **{"mixer_blocks": mixer_blocks, "patch_width": patch_width},
            **{"mixture_components": mixture_components, "patch_size": patch_size},
            **named,
        }
        self.own = [type(self).__name__] if type(self) is not VAE else []
        self._range_checked = False
        for name, part in {"encoder": encoder, "decoder": decoder, "prior": prior, "likelihood": likelihood}.items():
            if part is not None and not isinstance(part, str):
                self.own.append(_checked(name, part))
        if mixture_components > 1 and arch == "conv":
            raise ValueError("a mixture needs arch mlp or mixer")
        mixture: dict[str, Any] = {"components": mixture_components, "patch_size": patch_size}
        made = make_likelihood(recon_loss, image_shape=image_shape, **mixture) if likelihood is None else likelihood
        p_of_x = cast(Likelihood, made)
        shaping: dict[str, Any] = {"num_classes": num_classes, "knobs": self.knobs}
        if encoder is None:
            encoder = cast(EncoderLike, make_encoder(image_shape, **shaping))
        if decoder is None:
            decoder = cast(DecoderLike, make_decoder(p_of_x.output_shape(image_shape), image_shape, **shaping))
        self.encoder, self.decoder = cast(nn.Module, encoder), cast(nn.Module, decoder)
        self.prior: Prior
        if not isinstance(prior, str):
            self.prior = cast(Prior, prior)
        elif prior == "vamp":
            self.prior = VampPrior(self.encode, num_pseudo_inputs, image_shape)
        elif prior == "flow":
            self.prior = RealNVP(latent_dim, num_couplings, prior_width, num_amounts=NUM_AMOUNTS * augment_labels)
        else:
            self.prior = StandardNormal(latent_dim)
        self.likelihood = p_of_x

    def encode(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Parameters of q(z|x, y): mu and logvar, (B, D) each, for images x (B, C, H, W) or (B, P) in [0, 1]."""
        if not x.is_floating_point():
            raise ValueError(f"images are {x.dtype}: pixels must be floats in [0, 1] (images / 255)")
        x, y = x.reshape(-1, *self.image_shape), self._one_hot(y)
        mu, logvar = self.encoder(x) if y is None else self.encoder(x, y)
        return mu.to(x.dtype), logvar.to(x.dtype)  # of nets in autocast's 16 bits too

    def logits(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """The decoder's output, (B, ...) or (S, B, ...), for z (B, D) or (S, B, D).

        That of the built-in decoders are images before the sigmoid, (B, C, H, W) or (S, B, C, H, W).
        """
        y, rows = self._one_hot(y), z.flatten(0, -2)
        logits = self.decoder(rows) if y is None else self.decoder(rows, y.expand(*z.shape[:-1], -1).flatten(0, -2))
        return logits.unflatten(0, z.shape[:-1])

    def decode(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Pixel means E[x|z, y] in [0, 1], (B, C, H, W) or (S, B, C, H, W)."""
        return self.likelihood.mean(self.logits(z, y)).clamp(0, 1)  # the mean of a Gaussian may lie outside

    def forward(self, x: Tensor, y: Tensor | None = None, eps: Tensor | None = None) -> VAEOutput:
        """Encode, sample with noise `eps`, (B, D) or (S, B, D), which is drawn if `None`, and decode.

        Raises:
            ValueError: the first batch has pixels outside [0, 1].
        """
        if not self._range_checked:  # the first batch only: on a GPU each check waits for the device
            low, high = x.min().item(), x.max().item()
            if low < 0 or high > 1:
                raise ValueError(f"pixels from {low:g} to {high:g}: they must lie in [0, 1] (images / 255)")
            self._range_checked = True
        mu, logvar = self.encode(x, y)
        z = reparameterize(mu, logvar, eps)
        return VAEOutput(self.logits(z, y), mu, logvar, z)

    def recon(self, logits: Tensor, x: Tensor) -> Tensor:
        """-log p(x|z), the reconstruction term, nats per image, (B,) or (S, B)."""
        return self.likelihood.recon(logits, x)

    @property
    def has_closed_form_kl(self) -> bool:
        """Whether the prior is the standard normal, whose KL from q(z|x) needs no samples."""
        return type(self.prior) is StandardNormal

    def kl(self, output: VAEOutput, amounts: Tensor | None = None) -> Tensor:
        """KL(q(z|x) || p(z)), nats per image: in closed form, (B,), or `sampled_kl` if the prior is learned."""
        if self.has_closed_form_kl:
            return gaussian_kl(output.mu, output.logvar)
        return self.sampled_kl(output, amounts)

    def sampled_kl(self, output: VAEOutput, amounts: Tensor | None = None) -> Tensor:
        """log q(z|x) - log p(z) at the samples z, an unbiased estimate of the KL, nats per image, (B,) or (S, B).

        `amounts` (B, A) condition the prior on how the images were distorted.
        """
        condition = () if amounts is None else (amounts,)
        return gaussian_log_density(output.z, output.mu, output.logvar) - self.prior.log_prob(output.z, *condition)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        y: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
    ) -> Tensor:
        """Pixel means of `n` draws from the prior, (n, C, H, W) in [0, 1].

        Args:
            n: number of draws.
            y: labels of a conditional model, (n,) or (1,).
            generator: of the noise; a CPU generator gives every device the same draws.
            temperature: factor of the noise.
        """
        device = next(self.parameters()).device
        y = None if y is None else y.expand(n)
        return self.decode(self.prior.sample(n, generator=generator, device=device, temperature=temperature), y)

    @torch.no_grad()
    def reconstruct(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Pixel means decoded from the mean of q(z|x), (B, C, H, W) in [0, 1]."""
        mu, _ = self.encode(x, y)
        return self.decode(mu, y)

    def _one_hot(self, y: Tensor | None) -> Tensor | None:
        """Labels as (B, K) for a conditional model; `None` for any other, which ignores labels."""
        if not self.num_classes:
            return None
        if y is None:
            raise ValueError(f"a class-conditional model needs labels y, integers below {self.num_classes}")
        return F.one_hot(y, self.num_classes).float()
