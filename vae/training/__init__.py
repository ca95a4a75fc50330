"""Gradients: a step, an epoch, its compiled twin, schedules, averaged weights."""

from vae.training.epoch import train_epoch
from vae.training.learner import Learner

__all__ = ["Learner", "train_epoch"]
