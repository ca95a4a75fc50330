"""Packages that only some commands need, and that not everyone installs."""

from __future__ import annotations

from importlib import import_module

from vae.system.errors import UserError


class MissingPackageError(UserError):
    """A package that is not installed, or that can't be imported."""


def require(purpose: str, *packages: str) -> None:
    """Name the packages that `purpose` needs and that can't be imported, with the command that installs them."""
    missing = []
    for package in packages:
        try:
            import_module(package)
        except ImportError:
            missing.append(package)
    if missing:
        raise MissingPackageError(f"{purpose} needs {' and '.join(missing)}: pip install {' '.join(packages)}")
