import json

import pytest
import torch
from safetensors.torch import save_file

from vae.config.presets import configure
from vae.data.pixels import to_pixels
from vae.data.splits import Split
from vae.model.build import build_model, load_model, start_from_images
from vae.system import weights
from vae.system.checkpoint import CheckpointError
from vae.system.errors import UsageError, one_line
from vae.system.files import FileError


def test_only_a_conditional_model_has_class_inputs():
    plain, conditional = (
        build_model(configure({"conditional": flag}), image_shape=(1, 28, 28), num_classes=10) for flag in (False, True)
    )
    assert (plain.num_classes, conditional.num_classes) == (0, 10)
    assert conditional.encoder.body[0].in_features == 794 and conditional.decoder.body[0].in_features == 12


@pytest.mark.parametrize(
    ("dataset", "fix"),
    [("folder", "class subfolders"), ("arrays", "save labels"), ("mnist", "files into mine/MNIST/raw")],
)
def test_a_conditional_model_without_labels_says_where_to_get_them(dataset, fix):
    config = configure({"conditional": True, "dataset": dataset, "data_dir": "mine"})
    with pytest.raises(UsageError, match=fix):
        build_model(config, image_shape=(1, 28, 28), num_classes=0)


@pytest.mark.parametrize("arch", ["mlp", "conv", "mixer"])
def test_a_mean_bias_is_the_logit_of_the_mean_image(arch):
    config = configure({"arch": arch, "base_channels": 4, "hidden_dims": (4,), "mean_bias": True})
    model = build_model(config, image_shape=(1, 28, 28), num_classes=10)
    images = torch.randint(0, 256, (20, 1, 28, 28), dtype=torch.uint8)
    images[:, :, :14] = 0  # always black
    start_from_images(model, Split(images, torch.zeros(20, dtype=torch.int64)), config)
    logit = torch.logit(to_pixels(images).mean(0), eps=0.001)
    if arch == "mlp":
        torch.testing.assert_close(model.decoder.head.bias, logit.flatten())
    elif arch == "conv":
        torch.testing.assert_close(model.decoder.body[-1].bias, logit.mean((1, 2)))
    else:
        torch.nn.init.zeros_(model.decoder.head.weight)
        torch.testing.assert_close(model.logits(torch.zeros(1, 2))[0], logit)


def test_a_mixture_with_a_mean_bias_starts_from_the_mean_image():
    knobs = {"mixture_components": 3, "binarize": "dynamic", "hidden_dims": (4,), "mean_bias": True}
    config = configure(knobs)
    model = build_model(config, image_shape=(1, 28, 28), num_classes=0)
    images = torch.randint(0, 256, (20, 1, 28, 28), dtype=torch.uint8)
    start_from_images(model, Split(images, torch.zeros(20, dtype=torch.int64)), config)
    torch.nn.init.zeros_(model.decoder.head.weight)
    torch.testing.assert_close(model.decode(torch.zeros(1, 2))[0], to_pixels(images).mean(0))


def test_pseudo_inputs_start_as_training_images_of_the_run_s_seed():
    config = configure({"prior": "vamp", "num_pseudo_inputs": 3, "hidden_dims": (4,), "seed": 5})
    images = torch.randint(10, 245, (20, 1, 28, 28), dtype=torch.uint8)
    models = [build_model(config, image_shape=(1, 28, 28), num_classes=10) for _ in range(2)]
    for model in models:
        start_from_images(model, Split(images, torch.zeros(20, dtype=torch.int64)), config)
    assert torch.equal(models[0].prior.pseudo_logits, models[1].prior.pseudo_logits)
    pixels = torch.sigmoid(models[0].prior.pseudo_logits)
    distances = (pixels.flatten(1).unsqueeze(1) - to_pixels(images).flatten(1)).abs().amax(-1)
    assert distances.min(1).values.max() < 1e-5


def exported(path, **changes):
    """A small model's file, its description changed."""
    config = configure({"hidden_dims": (4,)})
    description = {"config": config.to_dict(), "image_shape": [1, 8, 8], "num_classes": 0, "latent_dim": 2}
    description |= {"epoch": 1, "fallback": "", "places": {}, **changes}
    model = build_model(config, image_shape=(1, 8, 8), num_classes=0)
    weights.save(path, model.state_dict(), description)
    return model


def test_a_safetensors_file_is_loaded_to_the_bit(tmp_path):
    model = exported(tmp_path / "caf\udce9.safetensors")  # a byte that is no Unicode
    for name, tensor in load_model(tmp_path / "caf\udce9.safetensors").state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])


def test_a_slope_is_kept_in_a_file_and_is_pytorch_s_default_in_one_that_lacks_it(tmp_path):
    leaky = configure({"hidden_dims": (4,), "activation": "leaky_relu", "negative_slope": 0.2}).to_dict()
    older = {name: value for name, value in leaky.items() if name != "negative_slope"}
    for config, expected in ((leaky, 0.2), (older, torch.nn.LeakyReLU().negative_slope)):
        exported(tmp_path / "model.safetensors", config=config)
        model = load_model(tmp_path / "model.safetensors")
        assert {m.negative_slope for m in model.modules() if isinstance(m, torch.nn.LeakyReLU)} == {expected}


DESCRIPTIONS = {
    "a missing entry": {"config": None},
    "a wrong type": {"image_shape": "28"},
    "impossible sizes": {"image_shape": [1, 0, 8]},
    "other sizes": {"image_shape": [1, 9, 8]},
    "an unknown knob": {"config": {"surprise": 1}},
    "a later format": {"format": 99},
    "places that are none": {"places": {"a": 1}},
}


@pytest.mark.parametrize("damage", DESCRIPTIONS)
def test_a_description_that_does_not_fit_is_refused_in_one_line(tmp_path, damage):
    exported(tmp_path / "x.safetensors", **DESCRIPTIONS[damage])
    with pytest.raises(FileError, match=r"x\.safetensors") as caught:
        load_model(tmp_path / "x.safetensors")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_cut_or_none_of_ours_is_refused_in_one_line(tmp_path):
    path = tmp_path / "x.safetensors"
    exported(path)
    content = path.read_bytes()
    for length in (*range(0, 40), len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match="is not a safetensors file, or it is damaged"):
            load_model(path)
    metadata = [None, {}, {"vae": "{"}, {"vae": "[]"}, {"vae": "[" * 100_000}, {"vae": json.dumps({"config": {}})}]
    for entries in metadata:
        save_file({"x": torch.zeros(1)}, path, entries)
        with pytest.raises(CheckpointError, match=r"doesn't describe its model|lacks"):
            load_model(path)
    for gone in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(CheckpointError):
            load_model(gone)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e36])
def test_weights_that_are_no_numbers_or_of_another_type_are_refused(tmp_path, value):
    exported(tmp_path / "x.safetensors")
    description = weights.load(tmp_path / "x.safetensors")
    tensors = description.pop("model_state")
    for change in (lambda tensor: tensor * value, lambda tensor: tensor.double()):
        weights.save(tmp_path / "x.safetensors", {name: change(it) for name, it in tensors.items()}, description)
        with pytest.raises(CheckpointError, match=r"not all finite numbers below|are not those of"):
            load_model(tmp_path / "x.safetensors")


@pytest.mark.parametrize("layers", [1000, 1_000_000])
def test_a_checkpoint_that_claims_many_layers_is_refused_before_any_is_made(tmp_path, monkeypatch, layers):
    path = tmp_path / "x.safetensors"
    exported(path, config=configure({"hidden_dims": (4,)}).to_dict() | {"hidden_dims": (4,) * layers})
    monkeypatch.setattr("torch.nn.Module.__init__", lambda *args, **options: pytest.fail("a module was made"))
    with pytest.raises(FileError) as refusal:
        load_model(path)
    assert len(one_line(refusal.value)) < 700
