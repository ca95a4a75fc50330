"""Scores of a trained model: always in float32, with beta 1."""

from vae.evaluation.elbo import evaluate, posterior

__all__ = ["evaluate", "posterior"]
