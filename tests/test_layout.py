"""The README's layout table, held against the imports."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "vae").glob("*.py"))
# Who may import what heavy thing; everyone else may not.
OWNERS = {
    "argparse": {"cli"},
    "matplotlib": {"canvas", "charts", "figures"},
    "sklearn": {"data", "latent_quality", "pictures"},
    "tensorboard": {"tracking"},
    "torchvision": {"sources"},
    "tqdm": {"console"},
}
# Modules in the order the data flows: each may import from those before it only.
ORDER = (
    *("errors", "files", "destination", "arrays", "bitmaps", "markup", "knobs", "config", "record"),
    *("options", "presets", "cli", "sections", "machine", "memory", "stopping", "folders", "console"),
    *("checkpoint", "sources", "static_mnist", "image_folder", "pixels", "data", "losses", "networks", "priors"),
    *(
        "team",
        "model",
        "objective",
        "augment",
        "averaging",
        "build",
        "footprint",
        "schedule",
        "divergence",
        "compiled",
        "train",
    ),
    *("onednn", "evaluate", "learner", "likelihood", "latent_quality", "classifier", "sample_quality", "measure"),
    *("canvas", "figures", "charts", "pictures", "animation", "tracking"),
    *("summary", "trained", "scorecard", "explorer", "report", "run", "launch", "generate", "morph"),
    *("ink", "own_images", "reconstruct", "embed", "export", "session", "gallery", "commands"),
)
WITHOUT_TORCH = {"__init__", "knobs", "errors", "files", "config", "presets", "cli", "stopping", "folders", "console"}
WITHOUT_TORCH |= {"record", "schedule", "options", "destination", "markup", "sections"}
LOSSES_ONLY_FROM = {"priors", "model", "objective", "train", "evaluate", "likelihood", "latent_quality"}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_imports_only_what_its_place_allows(path):
    names = [name.split(".") for name in imports(path)]
    inner = {parts[1] for parts in names if parts[0] == "vae" and len(parts) > 1}
    if path.stem != "__init__":
        assert inner <= set(ORDER[: ORDER.index(path.stem)])
    for package, owners in OWNERS.items():
        if any(package in parts for parts in names):
            assert path.stem in owners, f"{package} belongs to {owners}"
    if path.stem in WITHOUT_TORCH:
        assert not any(parts[0] == "torch" for parts in names)
    if "losses" in inner:
        assert path.stem in LOSSES_ONLY_FROM


def test_main_is_short_and_the_readme_names_every_module():
    assert len((ROOT / "main.py").read_text().splitlines()) <= 30
    readme = (ROOT / "README.md").read_text()
    for path in MODULES:
        assert path.stem == "__init__" or f"`{path.name}`" in readme, path.name
