"""The baseline: the default recipe as public examples write it, nothing of this package in it.

`torchvision.datasets.MNIST` + `ToTensor` + `DataLoader`, float32, binary cross-entropy on a sigmoid, unfused AdamW,
`loss.item()` in every step. Run it from the project's root, where `data/` holds MNIST:

    python benchmarks/plain_loop.py --num_epochs 60
"""

import argparse
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms


class PlainVAE(nn.Module):
    """784-512-D-512-784, as in the usual tutorial."""

    def __init__(self, hidden_dim: int, latent_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(784, hidden_dim)
        self.fc_mu = nn.Linear(hidden_dim, latent_dim)
        self.fc_logvar = nn.Linear(hidden_dim, latent_dim)
        self.fc3 = nn.Linear(latent_dim, hidden_dim)
        self.fc4 = nn.Linear(hidden_dim, 784)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pixel means, mu and logvar."""
        h = F.relu(self.fc1(x))
        mu, logvar = self.fc_mu(h), self.fc_logvar(h)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z)))), mu, logvar


def loss_function(recon_x: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """BCE + KL, summed over pixels, latents and the batch."""
    bce = F.binary_cross_entropy(recon_x, x, reduction="sum")
    kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return bce + kld


def main() -> None:
    """Train, test after every epoch, print a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_epochs", type=int, default=60)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--hidden_dim", type=int, default=512)
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
    model = PlainVAE(args.hidden_dim, args.latent_dim)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)

    for epoch in range(1, args.num_epochs + 1):
        started = time.perf_counter()
        model.train()
        train_loss = 0.0
        for image, _ in train_loader:
            x = image.view(-1, 784)
            optimizer.zero_grad()
            recon_x, mu, logvar = model(x)
            loss = loss_function(recon_x, x, mu, logvar)
            (loss / len(x)).backward()
            train_loss += loss.item()
            optimizer.step()
        seconds = time.perf_counter() - started
        model.eval()
        test_loss = 0.0
        with torch.no_grad():
            for image, _ in test_loader:
                x = image.view(-1, 784)
                recon_x, mu, logvar = model(x)
                test_loss += loss_function(recon_x, x, mu, logvar).item()
        train_mean, test_mean = train_loss / len(train_set), test_loss / len(test_set)
        print(f"epoch {epoch}  train {train_mean:.2f}  test {test_mean:.2f}  {seconds:.2f} s", flush=True)


if __name__ == "__main__":
    main()
