import json

import numpy as np
import pytest
import torch

from vae import VAE
from vae.commands import export as module
from vae.commands.export import ExportError, export

MODELS = {
    "dense": {"latent_dim": 3, "hidden_dims": (8,)},
    "conditional": {"latent_dim": 3, "hidden_dims": (8,), "num_classes": 4},
    "conv": {"latent_dim": 2, "arch": "conv", "base_channels": 4, "image_shape": (3, 8, 8), "num_classes": 3},
    "continuous": {"latent_dim": 2, "hidden_dims": (8,), "recon_loss": "continuous_bernoulli"},
}


@pytest.mark.parametrize("kind", MODELS)
def test_the_programs_give_the_model_s_numbers_for_any_batch_size(kind, tmp_path):
    torch.manual_seed(0)
    model = VAE(**MODELS[kind]).eval()
    assert export(model, tmp_path, {"title": "x"}) < 1e-5
    encoder, decoder = (torch.export.load(tmp_path / f"{name}.pt2").module() for name in ("encoder", "decoder"))
    for count in (1, 2, 7):
        z = torch.randn(count, model.latent_dim)
        y = (torch.arange(count) % model.num_classes,) if model.num_classes else ()
        with torch.no_grad():
            images = model.decode(z, *y)
            torch.testing.assert_close(decoder(z, *y), images, atol=1e-6, rtol=1e-5)
            for found, expected in zip(encoder(images, *y), model.encode(images, *y), strict=True):
                torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    with np.load(tmp_path / "example.npz") as example:
        assert example["images"].shape[1:] == model.image_shape and ("y" in example) == bool(model.num_classes)
    facts = json.loads((tmp_path / "export.json").read_text())
    assert facts["title"] == "x" and facts["largest_difference"] < 1e-5


def test_programs_that_differ_from_the_model_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_difference", lambda *_: 0.1)
    with pytest.raises(ExportError, match=r"differ from the model by 1\.0e-01"):
        export(VAE(latent_dim=2, hidden_dims=(4,)), tmp_path, {})


def test_the_command_says_how_to_use_the_programs(use, run_dir, tmp_path, capsys):
    assert use("export", run_dir, "--output", tmp_path / "x") == 0
    names = sorted(path.name for path in (tmp_path / "x").iterdir())
    assert names == ["decoder.pt2", "encoder.pt2", "example.npz", "export.json"]
    assert "torch.export.load" in capsys.readouterr().out
