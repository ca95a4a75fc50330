"""The averaged weights."""

import copy

import pytest
import torch
from torch.optim.swa_utils import AveragedModel

from vae.config import Config
from vae.data.splits import Split
from vae.model.vae import VAE
from vae.training.ema import WeightAverage
from vae.training.epoch import train_epoch
from vae.training.optimizer import build_optimizer
from vae.training.step import TrainingStep


def small():
    return VAE(2, hidden_dims=(8,), image_shape=(1, 4, 4), prior="flow", num_couplings=2, prior_width=4)


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_the_average_is_torch_s_own_to_the_bit(decay):
    """Against AveragedModel, which keeps d = min(decay, (1 + n) / (10 + n)) of itself at step n."""

    def follow(averages, weights, number):
        torch._foreach_lerp_(averages, weights, 1 - min(decay, (1 + number.item()) / (10 + number.item())))

    model = small()
    ema, expected = WeightAverage(model, decay), AveragedModel(model, multi_avg_fn=follow)
    expected.n_averaged.fill_(1)  # at 0 it would copy the weights
    for step in range(1, 30):
        with torch.no_grad():
            for weights in model.parameters():
                weights.add_(torch.randn_like(weights))
        expected.update_parameters(model)
        ema.update(step)
        assert all(map(torch.equal, ema.model.parameters(), expected.module.parameters()))


def test_the_average_is_a_model_of_the_same_entries_that_learns_nothing_itself():
    model = small()
    ema = WeightAverage(model, 0.9)
    assert list(ema.model.state_dict()) == list(model.state_dict()) and not ema.model.training
    assert not any(weights.requires_grad for weights in ema.model.parameters())
    assert all(weights.requires_grad for weights in model.parameters())


def test_the_average_counts_the_steps_of_the_run_and_not_of_the_process():
    """An epoch by a new TrainingStep, as after a restart, leaves the bits that the old one leaves."""
    config = Config(batch_size=8, precision="fp32", ema=0.99)
    split = Split(torch.randint(0, 256, (30, 1, 4, 4), dtype=torch.uint8), torch.zeros(30, dtype=torch.int64))
    model, averages = small(), []
    step = TrainingStep(model, build_optimizer(config, model), config)
    train_epoch(step, split, epoch=1, generator=torch.Generator().manual_seed(1))
    twin = copy.deepcopy(model)
    again = TrainingStep(twin, build_optimizer(config, twin), config)
    again.optimizer.load_state_dict(copy.deepcopy(step.optimizer.state_dict()))
    again.ema.model.load_state_dict(step.ema.model.state_dict())
    for one in (step, again):
        train_epoch(one, split, epoch=2, generator=torch.Generator().manual_seed(2))
        averages.append(one.ema.model.state_dict())
    torch.testing.assert_close(averages[1], averages[0], rtol=0, atol=0)
