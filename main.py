"""Train a variational autoencoder on MNIST, `python main.py --num_epochs 60`, and use it: `python main.py sample`."""

import sys

from vae.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
