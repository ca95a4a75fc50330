"""Packages that are looked for before they are needed, without importing them."""

from __future__ import annotations

from importlib.util import find_spec

from vae.system.errors import UserError

MODULES = {"scikit-learn": "sklearn", "pillow": "PIL", "pyyaml": "yaml"}  # of packages with another name than theirs


class MissingPackageError(UserError):
    """A package that is not installed."""


def require(purpose: str, *packages: str) -> None:
    """Name the packages that `purpose` needs and that are not installed, with the command that installs them."""
    missing = [package for package in packages if find_spec(MODULES.get(package, package)) is None]
    if missing:
        raise MissingPackageError(f"{purpose} needs {' and '.join(missing)}: pip install {' '.join(missing)}")
