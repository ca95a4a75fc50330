"""Everything that is measured of a trained model, as plain figures with their standard errors, seeds and caveats.

Shapes: N images, D latent_dim.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vae.data.datasets import Split, Splits
from vae.data.pixels import BINARIZE_SEED, draw_once
from vae.evaluation.classifier import ClassifierError
from vae.evaluation.elbo import EVAL_SEED, evaluate, posterior
from vae.evaluation.latents import aggregate_terms, knn_accuracy, probe_accuracy
from vae.evaluation.likelihood import ImageBounds, has_closed_form_kl, importance_bounds, mse_log_normalizer
from vae.evaluation.samples import missing_reason, sample_quality
from vae.model.vae import VAE, reparameterize
from vae.system.errors import UserError
from vae.system.stopping import raise_if_stopped

LEAST_ESS, MOST_BIAS = 5, 0.1  # beyond, importance sampling is not to be trusted: see `likelihood_warnings`
Figure = dict[str, float]  # mean over images and its standard error


class MeasureError(UserError):
    """A model that gives no finite figures."""


def measure(
    model: VAE,
    splits: Splits,
    *,
    protocol: str,
    binarize: str,
    num_importance_samples: int,
    cache_dir: Path,
    seed: int = EVAL_SEED,
    on_samples: Callable[[int], None] = lambda count: None,
) -> dict[str, Any]:
    """Likelihood, latents and samples of a model on the test images; plain values that fit into JSON.

    Args:
        model: left in eval mode.
        splits: what it was trained on, on its device.
        protocol: how pixels were made into targets and scored.
        binarize: of the training.
        num_importance_samples: K.
        cache_dir: where the classifier that judges samples is kept.
        seed: of all noise but that of the binarisation.
        on_samples: told how many more samples are decoded, `num_decoded` in all.

    Raises:
        MeasureError: a figure that is no finite number.
    """
    model.eval()
    splits = _all_binary(splits) if binarize == "dynamic" else splits
    found: dict[str, Any] = {
        "dataset": splits.title,
        "protocol": protocol,
        "unit": "nats per image; mean and standard error over images",
        "evaluation": f"float32, beta 1, {num_importance_samples:,} samples of q(z|x) per image, noise seed {seed}",
        "images": len(splits.test),
        "num_importance_samples": num_importance_samples,
        "seed": seed,
    }
    for name, split in _scored(model, splits.test, binarize).items():
        bounds = importance_bounds(model, split, num_samples=num_importance_samples, seed=seed, on_samples=on_samples)
        found[name] = likelihood_figures(model, bounds, num_importance_samples)
    raise_if_stopped()
    found["latents"] = latent_figures(model, splits, seed=seed)
    raise_if_stopped()
    found["samples"] = _sample_figures(model, splits, binarize, seed=seed, cache_dir=cache_dir)
    if names := _not_finite(found):
        raise MeasureError(f"the model's {names[0]} is no finite number: its weights have diverged")
    return found | {"caveats": _caveats(model, binarize, found), "warnings": likelihood_warnings(found)}


def num_decoded(model: VAE, splits: Splits, *, binarize: str, num_importance_samples: int) -> int:
    """How many samples `measure` decodes for its likelihoods."""
    return len(_scored(model, splits.test, binarize)) * len(splits.test) * num_importance_samples


def _all_binary(splits: Splits) -> Splits:
    """Training images drawn once, as the test images are."""
    return replace(splits, train=_drawn(splits.train))


def _drawn(split: Split) -> Split:
    return Split(draw_once(split.images.cpu(), seed=BINARIZE_SEED).to(split.images.device), split.labels)


def _scored(model: VAE, test: Split, binarize: str) -> dict[str, Split]:
    """The test images and, where a Bernoulli saw grey ones, their binary draw, of which it is a true likelihood."""
    grey = binarize == "none" and model.recon_loss == "bce" and test.images.shape[1] == 1
    return {"test": test} | ({"test_binarised": _drawn(test)} if grey else {})


def likelihood_figures(model: VAE, bounds: ImageBounds, num_samples: int) -> dict[str, Any]:
    """Means over images of what `importance_bounds` gives, and how far they can be trusted.

    Raises:
        MeasureError: a mean that is no finite number.
    """
    if not bounds.nll.mean().isfinite():
        raise MeasureError(f"the model's likelihood is {bounds.nll.mean().item()}: its weights have diverged")
    figures: dict[str, Any] = {name: _figure(getattr(bounds, name)) for name in ("nll", "elbo", "recon", "kl")}
    bits = (bounds.nll + mse_log_normalizer(model)) / (math.prod(model.image_shape) * math.log(2))
    return figures | {
        "gap": _figure(-bounds.elbo - bounds.nll),  # what the bound with one sample lacks
        "bits_per_dim": _figure(bits),
        "ess_median": bounds.ess.median().item(),
        "ess_below_least": (bounds.ess < LEAST_ESS).double().mean().item(),
        # E log of a mean of K weights is below log p(x) by var(w) / (2 K E[w]²): Burda et al. 2015, sec. 3
        "nll_bias": (0.5 * (1 / bounds.ess - 1 / num_samples)).mean().item(),
    }


def latent_figures(model: VAE, splits: Splits, *, seed: int) -> dict[str, Any]:
    """What each latent carries, information and class accuracies of the posterior on the test images."""
    test, train = splits.test, splits.train
    scores = evaluate(model, test, seed=seed)
    mu, logvar = posterior(model, test)
    eps = torch.randn(mu.shape, generator=torch.Generator().manual_seed(seed)).to(mu.device)
    z = reparameterize(mu, logvar, eps)
    information, aggregate_kl = aggregate_terms(mu, logvar, z, model.prior.log_prob)
    found: dict[str, Any] = {
        "num_latents": model.latent_dim,
        "active_units": scores.active_units,
        "kl_per_dim": scores.kl_per_dim,
        "mutual_information": _figure(information),
        "mutual_information_ceiling": math.log(len(test)),
        "aggregate_kl": _figure(aggregate_kl),
    }
    if len(train.labels.unique()) < 2:
        return found | {"missing": "kNN and probe: the images have fewer than two classes"}
    points = (posterior(model, train)[0], train.labels, mu, test.labels)
    for name, accuracy in (("knn_accuracy", knn_accuracy(*points)), ("probe_accuracy", probe_accuracy(*points))):
        found[name] = {"mean": accuracy, "se": math.sqrt(accuracy * (1 - accuracy) / len(test))}
    return found


def _not_finite(value: Any, name: str = "") -> list[str]:
    """Names of the figures that are infinite or NaN, such as `test elbo se`."""
    if isinstance(value, dict):
        return [bad for key, inner in value.items() for bad in _not_finite(inner, f"{name} {key}".strip())]
    if isinstance(value, list):
        return [bad for inner in value for bad in _not_finite(inner, name)]
    return [name] if isinstance(value, float) and not math.isfinite(value) else []


def _sample_figures(
    model: VAE,
    splits: Splits,
    binarize: str,
    *,
    seed: int,
    cache_dir: Path,
) -> dict[str, Any]:
    if reason := missing_reason(splits):
        return {"missing": reason}
    try:
        return sample_quality(model, splits, pixels=binarize, seed=seed, folder=cache_dir)
    except ClassifierError as error:
        return {"missing": str(error)}


def likelihood_warnings(found: dict[str, Any]) -> list[str]:
    """A line for each likelihood whose importance weights rest on too few samples.

    The rule: half of the images have an effective sample size below `LEAST_ESS`, or the bias that the weights
    themselves show is above `MOST_BIAS` nats. Weights with a heavy tail show less than they have.
    """
    lines = []
    for name in ("test", "test_binarised"):
        figures = found.get(name)
        if figures and (figures["ess_median"] < LEAST_ESS or figures["nll_bias"] > MOST_BIAS):
            bias = f"by the weights' own account {figures['nll_bias']:.2f} nats too high"
            alone = found["num_importance_samples"] == 1
            lines.append(
                f"{name}: too few importance samples for its NLL: median effective sample size "
                f"{figures['ess_median']:.1f}, {'which makes it the ELBO' if alone else bias}; "
                f"raise --num_importance_samples from {found['num_importance_samples']:,}"
            )
    return lines


def _caveats(model: VAE, binarize: str, found: dict[str, Any]) -> list[str]:
    """What must be said beside the figures."""
    lines = ["the NLL is an upper bound on average, tight as the number of importance samples grows"]
    if binarize == "none" and model.recon_loss == "bce":
        bound = f"; test_binarised is a valid bound, of test images drawn once with seed {BINARIZE_SEED}"
        lines.append(
            "pixels between 0 and 1 as Bernoulli targets are no probabilities: NLL and bits per dimension compare with "
            f"others of this protocol only{bound if 'test_binarised' in found else ''}"
        )
    if binarize == "threshold":
        lines.append("thresholded images are easier than drawn ones: comparable with this protocol only")
    if model.recon_loss != "bce":
        constant = (
            f"; NLL and recon leave out {mse_log_normalizer(model):.1f} nats of constant"
            if mse_log_normalizer(model)
            else ""
        )
        lines.append(f"bits per dimension are of a density on [0, 1]: add 8 for 8-bit levels{constant}")
    if not has_closed_form_kl(model):
        lines.append("the KL is a mean over samples: the prior has no closed form for it")
    if model.num_classes:
        lines.append(
            "every figure is given the class, p(x|y); the encoder sees it too, which kNN and probe may find again"
        )
    lines.append(
        "I(x; z) is that of the test images, at most the logarithm of their number; KL(q(z) || p(z)) is the rest of "
        "the KL, and close to that ceiling tells little of the prior"
    )
    lines.append("Fréchet and kernel distances are of this project's own features: never beside a published FID")
    return lines


def _figure(values: Tensor) -> Figure:
    """Mean over images (N,) and its standard error."""
    return {"mean": values.mean().item(), "se": values.std().item() / math.sqrt(len(values))}
