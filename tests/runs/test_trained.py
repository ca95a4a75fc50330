"""Opening a run's folder or a checkpoint, and what an opened run does."""

import inspect
import json
import logging
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import load_state, run_main

from vae import Trained, open_run
from vae.config.options import COMMANDS
from vae.data.datasets import load_splits
from vae.data.errors import DataError
from vae.data.pixels import draw_once, to_pixels
from vae.evaluation.elbo import posterior
from vae.system.errors import UsageError


def test_a_run_opens_with_its_model_its_data_and_its_captions(finished_run):
    run_dir = finished_run / "outputs/whole"
    trained = open_run(run_dir)
    state = load_state(run_dir)
    assert trained.run_dir == run_dir.resolve() and trained.epoch == 4 and not trained.model.training
    assert all(torch.equal(value.cpu(), state["model_state"][key]) for key, value in trained.model.state_dict().items())
    expected = load_splits("digits", finished_run, val_split=0.1, seed=0)
    for name in ("train", "val", "test"):
        assert torch.equal(trained.split(name).images.cpu(), getattr(expected, name).images)
    assert not trained.model.decode(torch.zeros(1, 2)).requires_grad
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert trained.metrics == rows
    score = -rows[3]["test/elbo"]
    who = "scikit-learn digits · mlp-32-2d, seed 0 · epoch 4"
    assert trained.subtitle("x") == f"{who} · test −ELBO {score:.2f} (grey pixels) · x"
    assert trained.class_names == tuple("0123456789")


def test_any_checkpoint_opens_wherever_it_lies(finished_run, tmp_path):
    inside = open_run(finished_run / "outputs/whole/checkpoints/epoch_002.pt")
    assert inside.epoch == 2 and inside.run_dir == (finished_run / "outputs/whole").resolve()
    shutil.copy(finished_run / "outputs/whole/checkpoints/best.pt", tmp_path / "mine.pt")
    outside = open_run(tmp_path / "mine.pt")
    assert "ELBO" not in outside.subtitle() and outside.subtitle().endswith("grey pixels")
    assert outside.run_dir is None and len(outside.split("test")) == 360


def test_captions_come_from_the_data_where_a_checkpoint_has_no_usable_ones(finished_run, tmp_path):
    state = load_state(finished_run / "outputs/whole")
    for captions in (None, {}, {"title": 3}, {"title": "x", "protocol": "y", "class_names": ["0"]}):
        torch.save({**state, "shown": captions}, tmp_path / "x.pt")
        trained = open_run(tmp_path / "x.pt")
        assert (trained.title, trained.protocol, len(trained.class_names)) == ("scikit-learn digits", "grey pixels", 10)


def test_latest_is_found_without_its_link(finished_run, tmp_path):
    for age, name in enumerate(("newer", "older")):
        target = tmp_path / name / "checkpoints"
        target.mkdir(parents=True)
        shutil.copy(finished_run / "outputs/whole/checkpoints/last.pt", target)
        (tmp_path / name / "metrics.jsonl").touch()
        os.utime(target / "last.pt", (1e9 - age, 1e9 - age))
    assert open_run(tmp_path / "latest").run_dir == (tmp_path / "newer").resolve()
    (tmp_path / "latest").symlink_to("older", target_is_directory=True)
    assert open_run(tmp_path / "latest").run_dir == (tmp_path / "older").resolve()


def test_data_that_has_changed_since_is_refused(finished_run, tmp_path):
    state = load_state(finished_run / "outputs/whole")
    torch.save({**state, "config": {**state["config"], "image_size": 24}}, tmp_path / "x.pt")
    with pytest.raises(DataError, match="other images or classes"):
        _ = open_run(tmp_path / "x.pt").splits


def test_where_data_is_fetched_again_the_flag_that_spares_it_is_named(finished_run, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    state = load_state(finished_run / "outputs/whole")
    torch.save({**state, "config": {**state["config"], "dataset": "mnist", "data_dir": "gone"}}, tmp_path / "x.pt")
    with pytest.raises(DataError, match="not in gone, where its run had them: name their folder with --data_dir"):
        _ = open_run(tmp_path / "x.pt").splits
    assert not caplog.messages
    with pytest.raises(DataError):
        _ = open_run(tmp_path / "x.pt", data_dir="gone").splits
    assert "MNIST is not in gone/MNIST/raw (--data_dir)" in caplog.messages[0]


def test_a_split_that_was_not_held_out_is_refused(tmp_path, no_finish):
    assert run_main(tmp_path, "--run_name", "x", "--num_epochs", "1", "--binarize", "dynamic", "--seed", "1") == 0
    trained = open_run(tmp_path / "outputs/x")
    with pytest.raises(UsageError, match="held out no images"):
        trained.split("val")
    assert set(trained.split("train").images.unique().tolist()) == {0, 255}
    drawn = draw_once(trained.splits.train, seed=0)  # whatever the run's seed, as `evaluate` draws them
    assert torch.equal(trained.split("train").images, drawn.images)
    assert trained.protocol == "dynamically binarised, test images drawn once with seed 0"


@pytest.fixture(scope="module")
def run(finished_run):
    return open_run(finished_run / "outputs/whole", device="cpu")


@pytest.fixture(scope="module")
def conditional(conditional_run):
    return open_run(conditional_run, device="cpu")


def test_methods_have_the_words_and_the_defaults_of_the_commands_flags():
    methods = {name: method for name in COMMANDS if (method := getattr(Trained, name, None))}
    assert methods.keys() >= {
        "evaluate",
        "sample",
        "reconstruct",
        "interpolate",
        "traverse",
        "embed",
        "export",
        "report",
    }
    compared = 0
    for name, method in methods.items():
        for word, parameter in inspect.signature(method).parameters.items():
            default = getattr(COMMANDS[name], word, None)
            if isinstance(default, str | int | float) and word != "num_importance_samples":  # 1000: it takes minutes
                assert parameter.default == default, f"{name}({word})"
                compared += 1
    assert compared >= 9


def test_samples_are_decoded_draws_and_classes_come_in_turn(run, conditional):
    images, labels, z = run.sample(5, temperature=0.5, seed=3)
    assert labels is None and torch.equal(images, run.model.decode(z))
    assert torch.equal(z, 0.5 * run.sample(5, seed=3).z)
    assert conditional.sample(4).labels.tolist() == [0, 1, 2, 3]
    assert conditional.sample(3, digits=7).labels.tolist() == [7, 7, 7]
    images, labels, z = conditional.sample(3, digits=(7, 2))
    assert labels.tolist() == [7, 2, 7] and torch.equal(images, conditional.model.decode(z, labels))


def test_images_may_be_indices_a_split_or_arrays_of_any_layout(run, conditional):
    few = run.split("test").take(torch.tensor([4, 0]))
    whole = run.reconstruct([4, 0])
    assert torch.equal(whole.x, to_pixels(few.images)) and torch.equal(whole.means, run.model.reconstruct(whole.x))
    torch.testing.assert_close(whole.elbo, -(whole.recon + whole.kl))
    floats, array = to_pixels(few.images), few.images.numpy()
    for form in (
        torch.tensor([4, 0]),
        few,
        floats,
        floats.double().numpy(),
        array,
        array[:, 0],
        array[:, 0, :, :, None],
    ):
        result = run.reconstruct(form)
        assert torch.equal(result.x, whole.x) and torch.equal(result.elbo, whole.elbo)
    for form in (4, array[0], array[0, 0]):
        assert torch.equal(run.reconstruct(form).x, whole.x[:1])
    assert conditional.reconstruct([4, 0]).labels.tolist() == few.labels.tolist()
    assert conditional.reconstruct([4, 0], digits=3).labels.tolist() == [3, 3]
    assert conditional.reconstruct(floats).labels.shape == (2,)  # the likeliest


def test_pictures_may_be_files_folders_or_opened_ones(run, tmp_path):
    picture = Image.fromarray(255 - run.split("test").images[0, 0].numpy()).resize((90, 90))
    picture.save(tmp_path / "mine.png")
    (tmp_path / "text.png").write_text("no image")
    for form in (tmp_path / "mine.png", str(tmp_path), picture, [picture], [Image.open(tmp_path / "mine.png")]):
        result = run.reconstruct(form)
        assert [(image.inverted, image.path.stem in ("mine", "image")) for image in result.pictures] == [(True, True)]
        torch.testing.assert_close(result.x[0], result.pictures[0].pixels)
    assert 0 <= run.worse_than(result.elbo).item() <= 1


def test_a_path_goes_between_test_images_classes_draws_or_latents(run, conditional):
    path = run.interpolate(3, 18, steps=5)
    mu, _ = posterior(run.model, run.test_images([3, 18]))
    torch.testing.assert_close(path.z[[0, -1]], mu)
    assert path.indices == (3, 18) and torch.equal(path.images, run.model.decode(path.z))
    ends = run.interpolate(digits=(3, 8)).indices
    assert run.split("test").labels[list(ends)].tolist() == [3, 8] and ends == (run.typical(3), run.typical(8))
    draws = run.sample(2, seed=5).z
    for path in (run.interpolate(random=True, seed=5, path="spherical"), run.interpolate(*draws, path="spherical")):
        assert not path.indices and torch.equal(path.z[[0, -1]], draws)
    first, last = conditional.interpolate().indices
    assert conditional.split("test").labels[first] == conditional.split("test").labels[last]
    assert conditional.interpolate(0, 1, digit=4).labels.tolist() == [4]


def test_a_sweep_takes_the_latents_that_carry_most_first_and_holds_the_others(conditional):
    mu = conditional.embed("test").mu
    sweep = conditional.traverse(steps=3, image=7)
    assert sweep.units == conditional.information().argsort(descending=True).tolist()
    assert sweep.images.shape == (5, 3, 1, 28, 28) and sweep.labels.tolist() == [conditional.split("test").labels[7]]
    z = mu[7].clone()
    z[2] = conditional.model.prior.quantiles(torch.tensor([0.5]))[0, 2]
    expected = conditional.model.decode(z[None], sweep.labels)[0]
    torch.testing.assert_close(conditional.traverse([2], steps=3, image=7).images[0, 1], expected)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda run: run.evaluate(-1), "num_importance_samples -1: must be at least 0"),
        (lambda run: run.sample(0), "num_samples 0: must be at least 1"),
        (lambda run: run.sample(digits=(3, 10)), "digit 10: the classes are 0 to 9"),
        (lambda run: run.sample(temperature=-1), "temperature -1: must be at least 0"),
        (lambda run: run.reconstruct([0, 360]), "image 360: the test set has the images 0 to 359"),
        (lambda run: run.reconstruct([]), "no images"),
        (lambda run: run.reconstruct("nowhere.png"), "nowhere.png: no such image file or folder"),
        (lambda run: run.reconstruct(np.zeros((2, 32, 32))), "(2, 32, 32): this model's images are (N, 1, 28, 28) or"),
        (lambda run: run.reconstruct(torch.full((28, 28), 255.0)), "pixels must be uint8, or floats in [0, 1]"),
        (lambda run: run.reconstruct([0, 1, 2], digits=(1, 2)), "2 classes for 3 images"),
        (lambda run: run.interpolate(3), "a path has two ends"),
        (lambda run: run.interpolate(*torch.zeros(2, 9)), "two latents (5,)"),
        (lambda run: run.interpolate(3, 8, random=True), "name different ends"),
        (lambda run: run.interpolate(0, 1), "have two classes: choose the digit to decode"),
        (lambda run: run.interpolate(0, 1, digit=0, steps=1), "steps 1: a path needs at least 2"),
        (lambda run: run.interpolate(path="curved"), "path 'curved': choose from linear, spherical"),
        (lambda run: run.traverse([5]), "units [5]: the latents are 0 to 4"),
        (lambda run: run.embed("tset"), "split 'tset': choose from train, val, test (did you mean test?)"),
        (lambda run: run.export("x", format="onxx"), "format 'onxx': choose from"),
    ],
)
def test_a_mistake_from_python_gets_one_line_without_flags(conditional, mistake, message):
    with pytest.raises(UsageError) as caught:
        mistake(conditional)
    assert message in str(caught.value) and "\n" not in str(caught.value) and "--" not in str(caught.value)
