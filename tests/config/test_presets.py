import shlex

import pytest

from main import main
from vae.config import Config
from vae.config.cli import parse_args
from vae.config.presets import PRESETS, configure
from vae.system.errors import UsageError


def test_the_defaults_and_presets_are_the_five_known_systems():
    facts = {
        name: (c.arch, c.latent_dim, c.recon_loss, c.optimizer, c.lr, c.weight_decay, c.batch_size, c.num_epochs)
        for name in ("mlp-2d", "conv-2d", "mlp-64d", "mlp-32d", "mlp-20d")
        for c in [configure({"preset": name})]
    }
    assert facts == {
        "mlp-2d": ("mlp", 2, "bce", "adamw", 1e-3, 1e-2, 64, 60),
        "conv-2d": ("conv", 2, "mse", "adam", 5e-4, 0.0, 64, 200),
        "mlp-64d": ("mlp", 64, "bce", "adam", 1e-3, 0.0, 128, 25),
        "mlp-32d": ("mlp", 32, "bce", "adam", 1e-3, 0.0, 128, 20),
        "mlp-20d": ("mlp", 20, "bce", "adam", 1e-3, 0.0, 128, 20),
    }
    assert configure({}) == configure({"preset": "mlp-2d"}) == Config()
    assert (Config().hidden_dims, Config().dataset, Config().val_split) == ((512,), "auto", 0.0)
    assert configure({"preset": "conv-2d"}).val_split == 0.2
    assert configure({"preset": "mlp-20d"}).hidden_dims == (512, 256)


def test_tuned_recipes_have_the_size_and_length_of_the_plain_ones():
    for name in ("mlp-32d", "mlp-20d"):
        plain, tuned = (configure({"preset": preset}) for preset in (name, f"{name}-tuned"))
        for knob in ("arch", "hidden_dims", "latent_dim", "block", "batch_size", "num_epochs", "binarize", "prior"):
            assert getattr(plain, knob) == getattr(tuned, knob), (name, knob)


def test_records_are_of_dynamically_binarised_pixels_without_labels():
    arch, prior = {"record-mixer": "mixer"}, {"record-standard": "standard"}
    for name in ("quick", "record", "record-mixer", "record-standard"):
        config = configure({"preset": name})
        assert (config.arch, config.prior) == (arch.get(name, "mlp"), prior.get(name, "flow"))
        assert (config.binarize, config.conditional) == ("dynamic", False)
        assert config.beta == 1 and config.val_split == 0


def test_any_flag_overrides_its_preset():
    config = configure({"preset": "mlp-64d", "latent_dim": 3, "optimizer": "adamw", "side_by_side": False})
    assert (config.latent_dim, config.optimizer, config.side_by_side, config.hidden_dims) == (3, "adamw", False, (128,))
    assert config.weight_decay == 1e-2


def test_an_unknown_preset_is_refused_and_adam_comes_without_weight_decay():
    with pytest.raises(UsageError, match="choose from mlp-2d, conv-2d"):
        configure({"preset": "mlp-3d"})
    assert configure({"optimizer": "adam"}).weight_decay == 0
    with pytest.raises(UsageError, match="adam has none here"):
        configure({"optimizer": "adam", "weight_decay": 0.1})


@pytest.mark.parametrize("width", [80, 100])
def test_list_presets_prints_each_with_flags_that_work(width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    with pytest.raises(SystemExit, match="0"):
        main(["--list_presets"])
    text = capsys.readouterr().out
    paragraphs = text.strip().split("\n\n")
    assert max(map(len, text.splitlines())) <= width
    for (name, knobs), paragraph in zip(PRESETS.items(), paragraphs, strict=True):
        assert paragraph.startswith(f"{name}  ")
        lines = [shlex.split(line) for line in paragraph.splitlines() if line.startswith("    --")]
        assert parse_args([word for words in lines for word in words]) == knobs
        block = paragraph.partition("\n    --")[2].splitlines()
        assert all(line.startswith("    --") for line in block[1:])  # no line ends between a flag and its value


def test_the_recipe_names_the_weight_of_the_total_correlation():
    assert Config(tc_weight=6.0).recipe.startswith("bce + KL, total correlation times 6, adamw")


def test_one_epoch_is_no_plural():
    assert Config(num_epochs=1, lr_warmup_epochs=1.0).recipe.count("1 epochs") == 0
    assert "after 1 epoch of warm-up" in Config(lr_warmup_epochs=1.0).recipe
    assert Config(num_epochs=1).recipe.endswith("batch 64, 1 epoch")
    assert Config(num_epochs=10**6).recipe.endswith("1,000,000 epochs")


def test_a_preset_s_warm_ups_shrink_with_the_run_and_one_s_own_do_not():
    config = configure({"preset": "quick", "num_epochs": 1})
    assert (config.lr_warmup_epochs, config.kl_warmup_epochs) == (1.0, 1.0)
    assert configure({"preset": "quick", "num_epochs": 5}).lr_warmup_epochs == 2.0
    for length, message in ((0, "--num_epochs 0: must be at least 1"), (10**400, "--num_epochs: expected a finite")):
        with pytest.raises(UsageError, match=message):
            configure({"preset": "quick", "num_epochs": length})
    with pytest.raises(UsageError, match="--kl_warmup_epochs 8 is longer than the run"):
        configure({"preset": "quick", "num_epochs": 1, "kl_warmup_epochs": 8.0})
