"""Gradients: a step, an epoch, its compiled twin, schedules, averaged weights."""

from vae.training.epoch import train_epoch
from vae.training.learner import Learner
from vae.training.step import TrainingStep

__all__ = ["Learner", "TrainingStep", "train_epoch"]
