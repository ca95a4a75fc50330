import pytest
import torch

from main import main
from vae.config.options import COMMANDS, ModelOptions


@pytest.mark.parametrize("command", [name for name, options in COMMANDS.items() if issubclass(options, ModelOptions)])
def test_every_command_says_in_one_line_what_it_can_t_open(command, run_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.pt").write_text("no checkpoint")
    state = torch.load(run_dir / "checkpoints/last.pt", weights_only=True)
    torch.save({**state, "format": 2**20}, "newer.pt")
    torch.save({**state, "model_state": {}}, "other.pt")
    torch.save({**state, "config": {**state["config"], "colour": "red"}}, "strange.pt")
    weights = {name: torch.full_like(weight, torch.nan) for name, weight in state["model_state"].items()}
    torch.save({**state, "model_state": weights}, "nan.pt")
    cases = {
        (): "no run in outputs",
        ("--run", "nowhere"): "nowhere: no such run",
        ("--run", "."): "is not a run's folder",
        ("--checkpoint", "text.pt"): "not a checkpoint of this program",
        ("--checkpoint", "newer.pt"): "update the program",
        ("--checkpoint", "nan.pt"): "nan.pt: its weights are not all finite numbers",
        ("--checkpoint", "strange.pt"): "strange.pt is damaged, or of another version: the stored configuration",
        ("--checkpoint", "other.pt"): "not those of a mlp-32-2d",
    }
    for flags, message in cases.items():
        assert main([command, *flags]) == 1
        out, err = capsys.readouterr()
        assert out == "" and message in err and err.count("\n") == 1 and err.startswith("error: ")
    left = sorted(path.stem for path in tmp_path.iterdir())
    assert left == ["nan", "newer", "other", "strange", "text"]
