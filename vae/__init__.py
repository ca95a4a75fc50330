"""Variational autoencoders on MNIST: `from vae import VAE, load_model, open_run`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vae.__main__ import main
    from vae.model import VAE, Likelihood, Prior, VAEOutput, interpolate, load_model, reparameterize
    from vae.runs.fit import fit
    from vae.runs.trained import Trained, open_run

__version__ = "0.1.0"
_MODULE_OF = {
    "Likelihood": "vae.model.likelihoods",
    "Prior": "vae.model.priors",
    "Trained": "vae.runs.trained",
    "VAE": "vae.model.vae",
    "VAEOutput": "vae.model.vae",
    "fit": "vae.runs.fit",
    "interpolate": "vae.model.sampling",
    "load_model": "vae.model.build",
    "main": "vae.__main__",
    "open_run": "vae.runs.trained",
    "reparameterize": "vae.model.vae",
}
__all__ = [
    "VAE",
    "Likelihood",
    "Prior",
    "Trained",
    "VAEOutput",
    "fit",
    "interpolate",
    "load_model",
    "main",
    "open_run",
    "reparameterize",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `python main.py --help` doesn't wait for torch."""
    if name in _MODULE_OF:
        return getattr(import_module(_MODULE_OF[name]), name)
    raise AttributeError(f"module 'vae' has no attribute {name!r}")
