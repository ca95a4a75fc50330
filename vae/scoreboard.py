"""Every measure that the project knows of a trained model, as plain figures and in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vae.data import Split
from vae.evaluate import EVAL_SEED, evaluate
from vae.summary import Table
from vae.trained import Trained


def bound(trained: Trained, split: Split) -> dict[str, Any]:
    """The one-sample ELBO, its terms and what each latent carries."""
    return evaluate(trained.model, split)._asdict()


# What `score` asks of every split, in this order: a further measure is a function here.
MEASURES: tuple[Callable[[Trained, Split], dict[str, Any]], ...] = (bound,)


def score(trained: Trained) -> dict[str, Any]:
    """The test figures, and the validation set's where images were held out; means over images, with their protocol."""
    found: dict[str, Any] = {
        "dataset": trained.title,
        "protocol": trained.protocol,
        "unit": "nats per image",
        "evaluation": f"float32, beta 1, one posterior sample per image, noise seed {EVAL_SEED}",
        "epoch": trained.epoch,
        "checkpoint": str(trained.path),
        "device": str(trained.device),
    }
    for name in ("val", "test"):
        if getattr(trained.splits, name):
            split = trained.split(name)
            found[name] = {"images": len(split)}
            for measure in MEASURES:
                found[name] |= measure(trained, split)
    return found


def table(found: dict[str, Any]) -> Table:
    """The figures of `score` for a screen."""
    rows: Table = [("protocol", f"{found['protocol']}; {found['evaluation']}")]
    for name in ("val", "test"):
        if name in found:
            terms = found[name]
            bound = f"{-terms['elbo']:.2f} = {terms['recon']:.2f} recon + {terms['kl']:.2f} KL"
            rows.append((name, f"{bound}, minus the ELBO in nats per image, {terms['images']:,} images"))
    test = found["test"]
    per_latent = sorted(test["kl_per_dim"], reverse=True)
    shown = " ".join(f"{value:.2f}" for value in per_latent[:10]) + (" …" if len(per_latent) > 10 else "")
    return [*rows, ("latents", f"{test['active_units']} of {len(per_latent)} active; KL of each: {shown} nats")]
