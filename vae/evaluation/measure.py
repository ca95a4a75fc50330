"""All scores of a trained model: plain numbers with their standard errors, seeds, caveats and warnings.

Shapes: N images, D latent_dim.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from vae.data.pixels import BINARIZE_SEED, draw_once
from vae.data.splits import Split, Splits
from vae.evaluation.classifier import ClassifierError
from vae.evaluation.elbo import EVAL_SEED, EvaluationError, evaluate, posterior, sampled_posterior
from vae.evaluation.latents import (
    aggregate_terms,
    evenly_spaced,
    information_per_dim,
    knn_accuracy,
    probe_accuracy,
)
from vae.evaluation.likelihood import ImageBounds, importance_bounds
from vae.evaluation.samples import sample_scores
from vae.model.vae import VAE
from vae.system.distributed import SINGLE_PROCESS, ProcessGroup
from vae.system.stopping import raise_if_stopped
from vae.system.wording import plural

MIN_ESS, MAX_BIAS = 5, 0.1  # limits beyond which importance sampling is not to be trusted: see `likelihood_warnings`


def evaluate_all(
    model: VAE,
    splits: Splits,
    *,
    protocol: str,
    binarize: str,
    num_importance_samples: int,
    cache_dir: Path,
    seed: int = EVAL_SEED,
    on_samples: Callable[[int], None] = lambda count: None,
    processes: ProcessGroup = SINGLE_PROCESS,
) -> dict[str, Any]:
    """Score a model's likelihood, latents and samples on the test images; the result fits into JSON.

    Args:
        model: left in eval mode.
        splits: what it was trained on, on its device.
        protocol: how pixels were made into targets and scored.
        binarize: the value of `--binarize` in training.
        num_importance_samples: K, samples per test image.
        cache_dir: where the classifier that judges samples is kept.
        seed: of all noise except that of the binarisation.
        on_samples: called with the number of newly decoded samples, `num_decoded` in all.
        processes: they share the likelihoods; the main one does the rest, and the others return these alone.

    Raises:
        EvaluationError: a score is not finite.
    """
    model.eval()
    if binarize == "dynamic":  # training images are drawn once, as the test images are
        splits = replace(splits, train=draw_once(splits.train, seed=BINARIZE_SEED))
    draws = plural(num_importance_samples, "sample")
    scores: dict[str, Any] = {
        "dataset": splits.title,
        "protocol": protocol,
        "unit": "nats per image; mean and standard error over images",
        "evaluation": f"float32, beta 1, {num_importance_samples:,} {draws} of q(z|x) per image, noise seed {seed}",
        "images": len(splits.test),
        "num_importance_samples": num_importance_samples,
        "seed": seed,
    }
    for name, split in _scored_splits(model, splits.test, binarize).items():
        bounds = importance_bounds(
            model, split, num_samples=num_importance_samples, seed=seed, on_samples=on_samples, processes=processes
        )
        scores[name] = likelihood_scores(model, bounds, num_importance_samples)
    if not processes.is_main:
        return scores
    raise_if_stopped()
    scores["latents"] = latent_scores(model, splits, seed=seed)
    raise_if_stopped()
    try:
        scores["samples"] = sample_scores(model, splits, pixels=binarize, seed=seed, cache_dir=cache_dir)
    except ClassifierError as error:
        scores["samples"] = {"missing": str(error)}
    if names := _not_finite(scores):
        raise EvaluationError(f"the model's {names[0]} is not a finite number: its weights have diverged")
    return scores | {"caveats": _caveats(model, binarize, scores), "warnings": likelihood_warnings(scores)}


def num_decoded(model: VAE, splits: Splits, *, binarize: str, num_importance_samples: int) -> int:
    """The number of samples that `evaluate_all` decodes for its likelihoods."""
    return len(_scored_splits(model, splits.test, binarize)) * len(splits.test) * num_importance_samples


def _scored_splits(model: VAE, test: Split, binarize: str) -> dict[str, Split]:
    """The test images; for a Bernoulli of grey pixels also a binary draw of them, of which it is a true likelihood."""
    grey = binarize == "none" and model.likelihood.support == "binary" and test.image_shape[0] == 1
    return {"test": test, "test_binarised": draw_once(test, seed=BINARIZE_SEED)} if grey else {"test": test}


def likelihood_scores(model: VAE, bounds: ImageBounds, num_samples: int) -> dict[str, Any]:
    """Means over images of the `importance_bounds`, and how far they can be trusted.

    Raises:
        EvaluationError: the likelihood is not finite.
    """
    if not bounds.nll.mean().isfinite():
        raise EvaluationError(f"the model's likelihood is {bounds.nll.mean().item()}: its weights have diverged")
    pixels = math.prod(model.image_shape)
    bits = (bounds.nll + pixels * model.likelihood.log_normalizer) / (pixels * math.log(2))
    return {
        **{name: _mean_and_se(getattr(bounds, name)) for name in ("nll", "elbo", "recon", "kl")},
        "gap": _mean_and_se(-bounds.elbo - bounds.nll),  # between the ELBO and the bound with K samples
        "bits_per_dim": _mean_and_se(bits),
        "ess_median": bounds.ess.median().item(),
        "ess_below_least": (bounds.ess < MIN_ESS).double().mean().item(),
        # E log of a mean of K weights is below log p(x) by var(w) / (2 K E[w]²): Burda et al. 2015, sec. 3
        "nll_bias": (0.5 * (1 / bounds.ess - 1 / num_samples)).mean().item(),
    }


def latent_scores(model: VAE, splits: Splits, *, seed: int) -> dict[str, Any]:
    """What each latent carries, information and class accuracies of the posterior on the test images."""
    test, train = splits.test, splits.train
    elbo_scores = evaluate(model, test, seed=seed)
    mu, logvar, z = sampled_posterior(model, test, seed=seed)
    information, aggregate_kl = aggregate_terms(mu, logvar, z, model.prior.log_prob)
    rows = evenly_spaced(len(test))
    per_dim = information_per_dim(mu, logvar, z, rows=rows)
    scores: dict[str, Any] = {
        "num_latents": model.latent_dim,
        "active_units": elbo_scores.active_units,
        "kl_per_dim": elbo_scores.kl_per_dim,
        "mutual_information": _mean_and_se(information),
        "mutual_information_ceiling": math.log(len(test)),
        "mutual_information_per_dim": per_dim.mean(0).tolist(),
        "total_correlation": _mean_and_se(per_dim.sum(1) - information[rows]),
        "aggregate_kl": _mean_and_se(aggregate_kl),
    }
    if len(train.labels.unique()) < 2:
        return scores | {"missing": "kNN and probe: the images have fewer than two classes"}
    points = (posterior(model, train)[0], train.labels, mu, test.labels)
    for name, accuracy in (("knn_accuracy", knn_accuracy(*points)), ("probe_accuracy", probe_accuracy(*points))):
        scores[name] = {"mean": accuracy, "se": math.sqrt(accuracy * (1 - accuracy) / len(test))}
    return scores


def _mean_and_se(values: Tensor) -> dict[str, float]:
    """Mean over images (N,) and its standard error."""
    return {"mean": values.mean().item(), "se": values.std().item() / math.sqrt(len(values))}


def _not_finite(value: Any, name: str = "") -> list[str]:
    """Names of the scores that are infinite or NaN, such as `test elbo se`."""
    if isinstance(value, dict):
        return [bad for key, inner in value.items() for bad in _not_finite(inner, f"{name} {key}".strip())]
    if isinstance(value, list):
        return [bad for inner in value for bad in _not_finite(inner, name)]
    return [name] if isinstance(value, float) and not math.isfinite(value) else []


def likelihood_warnings(scores: dict[str, Any]) -> list[str]:
    """A line for each likelihood whose importance weights rest on too few samples.

    That is where half of the images have an effective sample size below `MIN_ESS`, or the bias that the weights
    themselves show exceeds `MAX_BIAS` nats. Weights with a heavy tail show less bias than they have.
    """
    lines = []
    num_samples = scores["num_importance_samples"]
    for name, images in (("test", "test images"), ("test_binarised", "binarised test images")):
        likelihood = scores.get(name)
        if likelihood and (likelihood["ess_median"] < MIN_ESS or likelihood["nll_bias"] > MAX_BIAS):
            bias = f"by its weights' own estimate {likelihood['nll_bias']:.2f} nats too high"
            lines.append(
                f"{images}: too few importance samples for their NLL: median effective sample size "
                f"{likelihood['ess_median']:.1f}, {'which makes it the ELBO' if num_samples == 1 else bias}; "
                f"raise --num_importance_samples from {num_samples:,}"
            )
    return lines


def _caveats(model: VAE, binarize: str, scores: dict[str, Any]) -> list[str]:
    """What a reader must know to compare these scores with others."""
    lines = ["the NLL is an upper bound on average, and tight as the number of importance samples grows"]
    if binarize == "none" and model.likelihood.support == "binary":
        lines.append(
            "grey pixels are not draws of a Bernoulli: NLL and bits per dimension compare with "
            "others of this protocol only"
        )
    if "test_binarised" in scores:
        lines[-1] += f"; the binarised figures are valid bounds, of test images drawn once with seed {BINARIZE_SEED}"
    if binarize == "threshold":
        lines.append("thresholded images are easier than drawn ones: compare within this protocol only")
    if model.likelihood.support == "continuous":
        lines.append("bits per dimension are of a density on [0, 1]: add 8 for 8-bit levels")
    if constant := math.prod(model.image_shape) * model.likelihood.log_normalizer:
        lines[-1] += f"; NLL and recon leave out {constant:.1f} nats of constant"
    if not model.has_closed_form_kl:
        lines.append("the KL is a mean over samples: the prior has no closed form for it")
    if model.num_classes:
        lines.append(
            "all scores are given the class, p(x|y); the encoder sees it too, so kNN and probe may read it off"
        )
    return [
        *lines,
        "I(x; z) is that of the test images, at most the logarithm of their number; KL(q(z) || p(z)) is the rest of "
        "the KL; near that ceiling, the rest and the total correlation are larger than of more images",
        "Fréchet and kernel distances use this project's own features: never compare them with a published FID",
    ]
