"""The terms of a page, each explained in a sentence or two, which the page shows on demand."""

from __future__ import annotations

from typing import Any, NamedTuple

from vae.config.config import Config
from vae.config.presets import EXPECTED, Expected, configure
from vae.evaluation.elbo import ACTIVE


class Explanation(NamedTuple):
    """A term, and what a page says of it."""

    key: str  # of the element that holds it
    term: str
    text: str


BASICS = (
    Explanation(
        "elbo",
        "−ELBO",
        "Minus the evidence lower bound: the reconstruction term plus the KL. It bounds −log p(x), the negative "
        "log-likelihood of an image, from above, so lower is better.",
    ),
    Explanation(
        "recon",
        "Reconstruction term",
        "−log p(x|z): how badly the decoder explains an image's pixels, given latents z drawn from q(z|x). The sum is "
        "over the pixels, the mean over the images.",
    ),
    Explanation(
        "kl",
        "KL",
        "KL(q(z|x) ‖ p(z)): how far an image's posterior is from the prior, on average no less than the information "
        "that its latents carry. At 0 they carry none: the posterior has collapsed onto the prior.",
    ),
    Explanation(
        "nats",
        "Nats",
        "The unit of information when logarithms are natural: 1 nat is 1.44 bits. All figures are per image, summed "
        "over its pixels and latents.",
    ),
)
NLL = Explanation(
    "nll",
    "NLL",
    "An estimate of −log p(x) itself, by importance sampling with K draws of z for each image: at most the −ELBO, and "
    "the lower, the larger K is.",
)
POSTERIOR = Explanation(
    "mean",
    "Posterior mean",
    "mu, the centre of q(z|x): the place in latent space to which the encoder assigns an image.",
)
PRIOR = Explanation(
    "prior",
    "Prior",
    "p(z): where latents lie before an image is seen. A sample is a draw of it, decoded.",
)
KEYS = {"−ELBO": "elbo", "recon": "recon", "reconstruction": "recon", "KL": "kl", "NLL": "nll", "nats": "nats"}


def explain(
    config: Config, results: dict[str, Any], *, expected: Expected | None, floor: float | None
) -> list[Explanation]:
    """What a run's page explains.

    Args:
        config: the run's configuration.
        results: the content of results.json.
        expected: what the run's preset is expected to give; `None` if nothing was measured.
        floor: the least reconstruction term that is possible, nats per image; `None` if there is none.
    """
    active = Explanation(
        "active",
        "Active latents",
        f"A latent is active if its posterior mean has a variance above {ACTIVE} over the test images (Burda et al. "
        "2015). The others carry next to nothing, and the decoder has learned to ignore them.",
    )
    good = Explanation("good", "A good value", good_value(config, results, expected=expected, floor=floor))
    return [*BASICS, active, POSTERIOR, PRIOR, good]


def good_value(config: Config, results: dict[str, Any], *, expected: Expected | None, floor: float | None) -> str:
    """What −ELBO to hope for with a run's data, protocol and model, as one paragraph."""
    sentences = ["Only figures of the same data and protocol can be compared."]
    if expected:
        sentences.append(
            f"{config.preset} is expected to give {expected.mean:.2f} ± {expected.std:.2f} nats here, after "
            f"{expected.num_epochs} epochs."
        )
    peers = {
        preset: figures.mean
        for preset, figures in EXPECTED.items()
        if results["dataset"] == "MNIST"
        and not config.nets
        and configure({"preset": preset}).protocol == config.protocol
    }
    if peers:
        measured = ", ".join(f"{preset} {peers[preset]:.1f}" for preset in sorted(peers, key=peers.__getitem__))
        sentences.append(f"The presets' test figures by this protocol, the best first: {measured}.")
    if floor:
        sentences.append(
            f"None can be below {floor:.2f}, the entropy of the test images' grey levels, which even a perfect "
            "reconstruction costs."
        )
    if config.recon_loss == "continuous_bernoulli":
        sentences.append("p(x) is a density, which may exceed 1: figures below zero are usual.")
    return " ".join(sentences)
