import pytest
import torch

from vae.config.presets import configure
from vae.model.build import build_model
from vae.system.errors import UsageError
from vae.training.optimizer import build_optimizer, restore_optimizer


def test_the_optimizer_is_the_one_that_was_asked_for():
    for given, kind, decay in (({}, torch.optim.AdamW, 1e-2), ({"optimizer": "adam"}, torch.optim.Adam, 0)):
        config = configure({**given, "lr": 0.003})
        model = build_model(config, image_shape=(1, 28, 28), num_classes=10)
        (group,) = build_optimizer(config, model).param_groups
        assert (group["lr"], group["weight_decay"]) == (0.003, decay)
        assert type(build_optimizer(config, model)) is kind
        assert sum(p.numel() for p in group["params"]) == sum(p.numel() for p in model.parameters())


def test_a_model_whose_weights_are_all_frozen_is_refused():
    config = configure({})
    model = build_model(config, image_shape=(1, 28, 28), num_classes=10).requires_grad_(False)
    with pytest.raises(UsageError, match="all weights are frozen"):
        build_optimizer(config, model)


@pytest.mark.parametrize("arch", ["mlp", "conv"])
def test_a_restored_mean_has_its_weight_s_memory_layout_whatever_the_file_s(arch):
    """Fused Adam would read past the single number of an expanded tensor."""
    config = configure({"arch": arch})
    model = build_model(config, image_shape=(1, 28, 28), num_classes=10)
    optimizer, weights = build_optimizer(config, model), list(model.parameters())
    one = torch.ones(1)
    state = {
        index: {"step": torch.tensor(3.0), "exp_avg": one.expand(weight.shape), "exp_avg_sq": one.expand(weight.shape)}
        for index, weight in enumerate(weights)
    }
    restore_optimizer(optimizer, {"state": state})
    for weight in weights:
        for mean in (optimizer.state[weight][name] for name in ("exp_avg", "exp_avg_sq")):
            assert mean.stride() == weight.stride() and torch.equal(mean, torch.ones_like(weight))
