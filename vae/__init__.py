"""Variational autoencoders on MNIST: `from vae import VAE, interpolate, load_model`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vae.build import load_model
    from vae.model import VAE, VAEOutput, interpolate, reparameterize
    from vae.report import write_report
    from vae.trained import Trained, open_run

_HOMES = {
    "Trained": "vae.trained",
    "VAE": "vae.model",
    "VAEOutput": "vae.model",
    "interpolate": "vae.model",
    "load_model": "vae.build",
    "open_run": "vae.trained",
    "reparameterize": "vae.model",
    "write_report": "vae.report",
}
__all__ = ["VAE", "Trained", "VAEOutput", "interpolate", "load_model", "open_run", "reparameterize", "write_report"]


def __getattr__(name: str) -> Any:
    """Load a public name on first use: `python main.py --help` must not wait for torch."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'vae' has no attribute {name!r}")
