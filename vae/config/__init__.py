"""Every knob of a run once, the presets, and the parsers made from them. Nothing here imports torch."""

from vae.config.config import Config

__all__ = ["Config"]
