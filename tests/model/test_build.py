import pytest
import torch

from vae.config.presets import configure
from vae.data.pixels import to_pixels
from vae.model.build import build_model, start_from_images


def test_only_a_conditional_model_has_class_inputs():
    plain, conditional = (
        build_model(configure({"conditional": flag}), image_shape=(1, 28, 28), num_classes=10) for flag in (False, True)
    )
    assert (plain.num_classes, conditional.num_classes) == (0, 10)
    assert conditional.encoder.body[0].in_features == 794 and conditional.decoder.body[0].in_features == 12


@pytest.mark.parametrize("arch", ["mlp", "conv"])
def test_a_mean_bias_is_the_logit_of_the_mean_image(arch):
    config = configure({"arch": arch, "base_channels": 4, "hidden_dims": (4,), "mean_bias": True})
    model = build_model(config, image_shape=(1, 28, 28), num_classes=10)
    images = torch.randint(0, 256, (20, 1, 28, 28), dtype=torch.uint8)
    images[:, :, :14] = 0  # always black
    start_from_images(model, images, config)
    logit = torch.logit(to_pixels(images).mean(0), eps=0.001)
    if arch == "mlp":
        torch.testing.assert_close(model.decoder.head.bias, logit.flatten())
    else:
        torch.testing.assert_close(model.decoder.body[-1].bias, logit.mean((1, 2)))


def test_pseudo_inputs_start_as_training_images_of_the_run_s_seed():
    config = configure({"prior": "vamp", "num_pseudo_inputs": 3, "hidden_dims": (4,), "seed": 5})
    images = torch.randint(10, 245, (20, 1, 28, 28), dtype=torch.uint8)
    models = [build_model(config, image_shape=(1, 28, 28), num_classes=10) for _ in range(2)]
    for model in models:
        start_from_images(model, images, config)
    assert torch.equal(models[0].prior.pseudo_logits, models[1].prior.pseudo_logits)
    pixels = torch.sigmoid(models[0].prior.pseudo_logits)
    distances = (pixels.flatten(1).unsqueeze(1) - to_pixels(images).flatten(1)).abs().amax(-1)
    assert distances.min(1).values.max() < 1e-5
