"""What the paper is about: q(z|x), p(z), p(x|z) and the objective."""

from vae.model.build import load_model
from vae.model.likelihoods import Likelihood
from vae.model.priors import Prior
from vae.model.sampling import interpolate
from vae.model.vae import VAE, VAEOutput, reparameterize

__all__ = ["VAE", "Likelihood", "Prior", "VAEOutput", "interpolate", "load_model", "reparameterize"]
