"""The baseline: the recipes as public examples write them, nothing of this package in it.

`torchvision.datasets.MNIST` + `ToTensor` + `DataLoader`, float32, binary cross-entropy on a sigmoid, unfused Adam or
AdamW, `loss.item()` in every step. Run it from the project's root, where `data/` holds MNIST:

    python benchmarks/plain_loop.py --num_epochs 60
"""

import argparse
import time
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms


class PlainVAE(nn.Module):
    """784-512-D-512-784, as in the usual tutorial, with as many hidden layers as asked for."""

    def __init__(self, hidden_dims: Sequence[int], latent_dim: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(*self.layers([784, *hidden_dims]))
        self.fc_mu = nn.Linear(hidden_dims[-1], latent_dim)
        self.fc_logvar = nn.Linear(hidden_dims[-1], latent_dim)
        self.decoder = nn.Sequential(
            *self.layers([latent_dim, *reversed(hidden_dims)]), nn.Linear(hidden_dims[0], 784), nn.Sigmoid()
        )

    @staticmethod
    def layers(widths: Sequence[int]) -> list[nn.Module]:
        """Linear layers, a ReLU after each."""
        return [layer for fan_in, fan_out in pairwise(widths) for layer in (nn.Linear(fan_in, fan_out), nn.ReLU())]

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pixel means as the images, mu and logvar."""
        h = self.encoder(image.view(-1, 784))
        mu, logvar = self.fc_mu(h), self.fc_logvar(h)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        return self.decoder(z).view_as(image), mu, logvar


class PlainConvVAE(nn.Module):
    """Four convolutions and four transposed ones, 64 channels."""

    def __init__(self, latent_dim: int, channels: int = 64) -> None:
        super().__init__()
        c = channels
        self.encoder = nn.Sequential(
            *(nn.Conv2d(1, c, 3, 1, 1), nn.LeakyReLU(), nn.Conv2d(c, c, 3, 2, 1), nn.LeakyReLU()),
            *(nn.Conv2d(c, c, 3, 2, 1), nn.LeakyReLU(), nn.Conv2d(c, c, 3, 1, 1), nn.LeakyReLU(), nn.Flatten()),
        )
        self.fc_mu = nn.Linear(c * 49, latent_dim)
        self.fc_logvar = nn.Linear(c * 49, latent_dim)
        self.decoder = nn.Sequential(
            *(nn.Linear(latent_dim, c * 49), nn.LeakyReLU(), nn.Unflatten(1, (c, 7, 7))),
            *(nn.ConvTranspose2d(c, c, 3, 1, 1), nn.LeakyReLU(), nn.ConvTranspose2d(c, c, 3, 2, 1, 1), nn.LeakyReLU()),
            *(nn.ConvTranspose2d(c, c, 3, 2, 1, 1), nn.LeakyReLU(), nn.ConvTranspose2d(c, 1, 3, 1, 1), nn.Sigmoid()),
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pixel means as the images, mu and logvar."""
        h = self.encoder(image)
        mu, logvar = self.fc_mu(h), self.fc_logvar(h)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        return self.decoder(z), mu, logvar


def loss_function(recon_x: Tensor, x: Tensor, mu: Tensor, logvar: Tensor, *, squared: bool = False) -> Tensor:
    """Reconstruction term + KL, summed over pixels, latents and the batch."""
    recon = F.mse_loss(recon_x, x, reduction="sum") if squared else F.binary_cross_entropy(recon_x, x, reduction="sum")
    kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return recon + kld


def train_epoch(
    model: nn.Module,
    loader: DataLoader[tuple[Tensor, Tensor]],
    optimizer: torch.optim.Optimizer,
    *,
    scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
    squared: bool = False,
) -> float:
    """One pass over the training images; returns the mean loss per image."""
    device = next(model.parameters()).device
    model.train()
    train_loss, images = 0.0, 0
    for image, _ in loader:
        x = image.to(device)
        optimizer.zero_grad()
        recon_x, mu, logvar = model(x)
        loss = loss_function(recon_x, x, mu, logvar, squared=squared)
        (loss / len(x)).backward()
        train_loss += loss.item()
        images += len(x)
        optimizer.step()
        if scheduler:
            scheduler.step()
    return train_loss / images


def main() -> None:
    """Train, test after every epoch, print a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_epochs", type=int, default=60)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--hidden_dims", type=int, nargs="+", default=[512])
    parser.add_argument("--latent_dim", type=int, default=2)
    parser.add_argument("--num_workers", type=int, default=0)
    parser.add_argument("--data_dir", default="data")
    args = parser.parse_args()

    torch.manual_seed(0)
    to_tensor = transforms.ToTensor()
    train_set = datasets.MNIST(args.data_dir, train=True, download=True, transform=to_tensor)
    test_set = datasets.MNIST(args.data_dir, train=False, download=True, transform=to_tensor)
    train_loader = DataLoader(train_set, batch_size=args.batch_size, shuffle=True, num_workers=args.num_workers)
    test_loader = DataLoader(test_set, batch_size=args.batch_size, num_workers=args.num_workers)
    model = PlainVAE(args.hidden_dims, args.latent_dim)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)

    for epoch in range(1, args.num_epochs + 1):
        started = time.perf_counter()
        train_mean = train_epoch(model, train_loader, optimizer)
        seconds = time.perf_counter() - started
        model.eval()
        test_loss = 0.0
        with torch.no_grad():
            for x, _ in test_loader:
                recon_x, mu, logvar = model(x)
                test_loss += loss_function(recon_x, x, mu, logvar).item()
        print(
            f"epoch {epoch}  train {train_mean:.2f}  test {test_loss / len(test_set):.2f}  {seconds:.2f} s", flush=True
        )


if __name__ == "__main__":
    main()
