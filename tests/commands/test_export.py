import json
import shutil
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from small_runs import ROOT

from main import main
from vae import VAE, load_model, open_run
from vae.config.options import Export, export_format
from vae.config.presets import configure
from vae.model.build import build_model
from vae.runs import export as module
from vae.runs.export import ExportError, export
from vae.system.errors import UsageError
from vae.system.extras import MissingPackageError

KINDS = {
    "dense": {"latent_dim": 3, "hidden_dims": (8,)},
    "conditional": {"latent_dim": 3, "hidden_dims": (8,), "conditional": True, "prior": "flow", "prior_width": 4},
    "conv": {"latent_dim": 2, "arch": "conv", "base_channels": 4, "image_size": 8, "conditional": True},
    "continuous": {"latent_dim": 2, "hidden_dims": (8,), "recon_loss": "continuous_bernoulli"},
    "vamp": {"latent_dim": 2, "hidden_dims": (8, 8), "block": "residual", "prior": "vamp", "num_pseudo_inputs": 3},
    "gated": {"latent_dim": 2, "hidden_dims": (8, 8), "block": "gated", "recon_loss": "mse"},
}
QUICK = ("conv",)  # with classes and colour; the dense net of the finished run is exported below


def model_of(kind):
    """A model, and what a checkpoint says of it."""
    config = configure(KINDS[kind])
    shape = (3 if kind == "conv" else 1, config.image_size, config.image_size)
    facts = {"config": config.to_dict(), "image_shape": list(shape), "num_classes": 4, "latent_dim": config.latent_dim}
    facts |= {"epoch": 3, "fallback": "", "places": {}, "title": "a title"}
    torch.manual_seed(1)
    return build_model(config, image_shape=shape, num_classes=4).eval(), facts


def run_program(folder, name, *inputs):
    """The outputs of a program in the folder, whichever its format."""
    if (folder / f"{name}.pt2").exists():
        outputs = torch.export.load(folder / f"{name}.pt2").module()(*inputs)
        return outputs if isinstance(outputs, tuple) else (outputs,)
    session = onnxruntime.InferenceSession(folder / f"{name}.onnx", providers=["CPUExecutionProvider"])
    names = [argument.name for argument in session.get_inputs()]
    return [torch.from_numpy(it) for it in session.run(None, dict(zip(names, map(np.asarray, inputs), strict=True)))]


@pytest.mark.parametrize("format", ["torch", "onnx"])
@pytest.mark.parametrize("kind", [it if it in QUICK else pytest.param(it, marks=pytest.mark.slow) for it in KINDS])
def test_the_programs_give_the_model_s_numbers_for_any_batch_size(kind, format, tmp_path):
    model, facts = model_of(kind)
    assert export(model, tmp_path, facts, format=format).largest_difference < 1e-5
    for count in (1, 2, 7):
        z = torch.randn(count, model.latent_dim)
        y = (torch.arange(count) % model.num_classes,) if model.num_classes else ()
        with torch.no_grad():
            images = model.decode(z, *y)
            expected = [images, *model.encode(images, *y)]
        outputs = [*run_program(tmp_path, "decoder", z, *y), *run_program(tmp_path, "encoder", images, *y)]
        for output, reference in zip(outputs, expected, strict=True):
            torch.testing.assert_close(output, reference, atol=1e-6, rtol=1e-5)
    with np.load(tmp_path / "example.npz") as example:
        assert example["images"].shape[1:] == model.image_shape and ("y" in example) == bool(model.num_classes)
    entries = json.loads((tmp_path / "export.json").read_text())
    assert entries["title"] == "a title" and entries["largest_difference"] < 1e-5 and entries["format"] == format


def test_an_onnx_graph_names_its_arguments_and_says_what_it_is(tmp_path):
    model, facts = model_of("conv")
    export(model, tmp_path, facts, format="onnx")
    graphs = {name: onnx.load(tmp_path / f"{name}.onnx") for name in ("encoder", "decoder")}
    signatures = {
        name: [[argument.name for argument in side] for side in (graph.graph.input, graph.graph.output)]
        for name, graph in graphs.items()
    }
    assert signatures == {"encoder": [["x", "y"], ["mu", "logvar"]], "decoder": [["z", "y"], ["images"]]}
    for graph in graphs.values():
        onnx.checker.check_model(graph, full_check=True)
        metadata = {entry.key: entry.value for entry in graph.metadata_props}
        assert metadata["title"] == "a title" and json.loads(metadata["config"])["arch"] == "conv"
        assert graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param  # a name, so any size
        assert not [tensor for tensor in graph.graph.initializer if tensor.external_data]  # all in one file


@pytest.mark.parametrize("kind", KINDS)
def test_safetensors_hold_all_weights_and_what_load_model_needs(kind, tmp_path):
    model, facts = model_of(kind)
    assert export(model, tmp_path, facts, format="safetensors").largest_difference == 0
    again = load_model(tmp_path / "model.safetensors")
    assert not again.training and again.image_shape == model.image_shape and again.num_classes == model.num_classes
    assert list(again.state_dict()) == list(model.state_dict())
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_what_differs_from_the_model_is_refused(tmp_path, monkeypatch):
    model, facts = model_of("dense")
    for difference in (0.1, float("nan")):
        monkeypatch.setattr(module, "_difference", lambda *_, value=difference: value)
        with pytest.raises(ExportError, match="differ from the model by"):
            export(model, tmp_path, facts, overwrite=True)
    monkeypatch.setattr(module, "load_model", lambda path, nets: VAE(latent_dim=3, hidden_dims=(8,)))
    with pytest.raises(ExportError, match="differ from the model by inf"):
        export(model, tmp_path, facts, format="safetensors")


@pytest.mark.parametrize(
    ("format", "packages"),
    [("onnx", ["onnx", "onnxscript", "onnxruntime"]), ("onnx", ["onnxruntime"]), ("safetensors", ["safetensors"])],
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    use, run_dir, tmp_path, monkeypatch, capsys, format, packages
):
    for package in packages:
        monkeypatch.setitem(sys.modules, package, None)
    assert use("export", run_dir, "--format", format, "--output", tmp_path / "x") == 1
    message = capsys.readouterr().err
    names = " ".join(packages)
    assert message == f"error: format {format} needs {' and '.join(packages)}: pip install {names}\n"
    assert not (tmp_path / "x").exists()
    if format == "safetensors":
        (tmp_path / "x.safetensors").touch()
        with pytest.raises(MissingPackageError, match=r"reading .*x\.safetensors needs safetensors: pip install"):
            load_model(tmp_path / "x.safetensors")


def test_the_name_of_the_output_chooses_the_format():
    for output, format in {"a.onnx": "onnx", "a.SafeTensors": "safetensors", "a.pt2": "torch", "a": "torch"}.items():
        assert export_format(output, "auto") == format == export_format(output, format)
    assert export_format("folder", "onnx") == "onnx"
    with pytest.raises(UsageError, match=r"format torch: a name ending in \.onnx is onnx"):
        Export(format="torch", output="a.onnx")


def test_files_lie_in_a_folder_or_after_the_name_of_a_file_and_replace_nothing_unasked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    common = ["example.npz", "export.json"]
    for target, format, expected in (
        ("v1/", "onnx", ["v1/encoder.onnx", "v1/decoder.onnx", *(f"v1/{name}" for name in common)]),
        ("x.ONNX", "onnx", ["x_encoder.onnx", "x_decoder.onnx", *(f"x_onnx_{name}" for name in common)]),
        ("y.safetensors", "safetensors", ["y.safetensors", *(f"y_safetensors_{name}" for name in common)]),
    ):
        assert [str(path) for path in module.paths_of(target, format)] == expected
    with pytest.raises(UsageError, match=r"a file ending in \.onnx"):
        module.paths_of("y.onx", "onnx")
    model, facts = model_of("dense")
    (tmp_path / "y_safetensors_export.json").touch()
    with pytest.raises(UsageError, match=r"y_safetensors_export\.json exists"):
        export(model, "y.safetensors", facts, format="safetensors")
    assert export(model, "y.safetensors", facts, format="safetensors", overwrite=True).paths[0].stat().st_size


USES = {"torch": "torch.export.load('x/decoder.pt2')", "onnx": "onnxruntime.InferenceSession('x/decoder.onnx')"}


@pytest.mark.parametrize("format", USES)
def test_the_command_says_how_to_use_the_programs_from_here_and_nothing_else(
    use, run_dir, tmp_path, monkeypatch, capfd, format
):
    monkeypatch.chdir(tmp_path)
    assert use("export", run_dir, "--format", format, "--output", tmp_path / "x") == 0
    names = {path.name for path in (tmp_path / "x").iterdir()}
    assert names == {*module.FORMATS[format].files, "example.npz", "export.json"}
    out, err = capfd.readouterr()
    assert USES[format] in out and len(out.splitlines()) == 2 + len(names) and not err


def test_an_exported_model_is_taken_as_a_checkpoint(use, run_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert use("export", run_dir, "--output", "mine.safetensors") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("mine.safetensors", "mine_safetensors_example.npz", "mine_safetensors_export.json")
    ]
    before, after = open_run(run_dir, device="cpu"), open_run("mine.safetensors", device="cpu")
    assert (after.epoch, after.title, after.class_names) == (before.epoch, before.title, before.class_names)
    flags = ["--num_importance_samples", "0", "--device", "cpu", "--output"]
    assert main(["evaluate", "--run", str(run_dir), *flags, "a.json"]) == 0
    assert main(["evaluate", "--checkpoint", "mine.safetensors", *flags, "b.json"]) == 0
    scores = [json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json")]
    assert scores[0]["test"] == scores[1]["test"]
    assert main(["gif", "--checkpoint", "mine.safetensors"]) == 2
    assert "outside a run's folder" in capsys.readouterr().err


def test_a_checkpoint_s_averaged_weights_are_those_that_are_scored(finished_run, tmp_path):
    path = shutil.copy(finished_run / "outputs/whole/checkpoints/last.pt", tmp_path / "x.pt")
    state = torch.load(path, weights_only=True)
    state["trained_state"] = {name: tensor + 1 for name, tensor in state["model_state"].items()}
    torch.save(state, path)
    trained = open_run(path, device="cpu")
    export(trained.model, tmp_path, trained.description, format="safetensors")
    weights = load_model(tmp_path / "model.safetensors").state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in state["model_state"].items())


@pytest.mark.parametrize("format", module.FORMATS)
def test_nothing_that_is_published_says_where_the_run_its_data_and_this_code_lay(use, run_dir, tmp_path, format):
    config = open_run(run_dir, device="cpu").config
    assert use("export", run_dir, "--format", format, "--output", tmp_path) == 0
    for path in tmp_path.iterdir():
        content = path.read_bytes()
        for folder in (config.data_dir, config.output_dir, config.log_dir, str(run_dir.parent), str(ROOT)):
            assert folder.startswith("/") and folder.encode() not in content, path
    assert json.loads((tmp_path / "export.json").read_text())["checkpoint"] == "whole/checkpoints/last.pt"
