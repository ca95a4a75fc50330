"""Scores of a trained model: always in float32, with beta 1."""

from vae.evaluation.elbo import evaluate, posterior, score_images
from vae.evaluation.likelihood import importance_bounds

__all__ = ["evaluate", "importance_bounds", "posterior", "score_images"]
