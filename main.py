"""Train a variational autoencoder on MNIST, `python main.py --num_epochs 60`, and use it: `python main.py sample`."""

from vae.__main__ import main, program

__all__ = ["main"]

if __name__ == "__main__":
    program()
