import torch

from vae.config.presets import configure
from vae.model.build import build_model
from vae.training.optimizer import build_optimizer


def test_the_optimizer_is_the_one_that_was_asked_for():
    for given, kind, decay in (({}, torch.optim.AdamW, 1e-2), ({"optimizer": "adam"}, torch.optim.Adam, 0)):
        config = configure({**given, "lr": 0.003})
        model = build_model(config, image_shape=(1, 28, 28), num_classes=10)
        (group,) = build_optimizer(config, model).param_groups
        assert (group["lr"], group["weight_decay"]) == (0.003, decay)
        assert type(build_optimizer(config, model)) is kind
        assert sum(p.numel() for p in group["params"]) == sum(p.numel() for p in model.parameters())
