"""Packages that a command line needs, by the names that pip knows; formats and data sets look for theirs themselves."""

from __future__ import annotations

from vae.config.options import Compare, Embed, Evaluate, List, Options, Reconstruct, Report

MODEL = ("torch", "numpy", "pillow", "matplotlib", "tqdm", "filelock")
TRAINING = (*MODEL, "torchvision", "scipy", "scikit-learn", "tensorboard", "jinja2")


def packages_of(options: Options) -> tuple[str, ...]:
    """Packages that a command needs."""
    packages: tuple[str, ...] = MODEL if options.opens_models else ("tqdm",)
    if isinstance(options, Compare | Report):
        packages += ("jinja2",)
    if isinstance(options, Reconstruct | Report):
        packages += ("scipy",)
    if isinstance(options, Evaluate) or (isinstance(options, Embed) and options.picture != "none"):
        packages += ("scikit-learn", "scipy")
    if isinstance(options, Compare | List):
        packages += ("filelock",)
    return packages
