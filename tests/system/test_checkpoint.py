import os
import pickle
from pathlib import Path

import pytest
import torch

from vae.system import checkpoint
from vae.system.checkpoint import CheckpointError
from vae.system.files import FileError, write_atomic

STATE = {name: kind() for name, kind in checkpoint.SCHEMA.items() if name != "image_shape"}
STATE |= {"model_state": {"w": torch.arange(3.0)}, "epoch": 4, "latent_dim": 2, "image_shape": [1, 28, 28]}
del STATE["format"]


def test_a_checkpoint_comes_back_and_loads_with_weights_only(tmp_path):
    path = tmp_path / "last.pt"
    checkpoint.save(path, STATE)
    for state in (checkpoint.load(path), torch.load(path, weights_only=True)):
        assert state["epoch"] == 4 and state["model_state"]["w"].tolist() == [0, 1, 2]


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_pickle_with_a_payload_is_refused_unexecuted(tmp_path):
    victim = tmp_path / "victim"
    torch.save({**STATE, "config": Payload(victim)}, tmp_path / "torch.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Payload(victim)))
    for name in ("torch.pt", "plain.pt"):
        with pytest.raises(CheckpointError, match="not a checkpoint of this program"):
            checkpoint.load(tmp_path / name)
    assert not victim.exists()


def flip_a_bit_of_a_weight(content):
    place = content.index(torch.arange(3.0).numpy().tobytes())
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize(
    "harm",
    [flip_a_bit_of_a_weight, lambda b: b[:-100], lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"x" * 999],
)
def test_a_damaged_file_gets_one_line(tmp_path, harm):
    path = tmp_path / "last.pt"
    checkpoint.save(path, STATE)
    path.write_bytes(harm(path.read_bytes()))
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [({"w": 1}, "lacks format"), ([1, 2], "lacks format"), ({**STATE, "format": 99}, "update the program")],
)
def test_another_program_s_or_a_newer_file_is_told_apart(tmp_path, content, message):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        checkpoint.load(tmp_path / "missing.pt")


def test_an_interrupted_write_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def half(stream):
        stream.write(b"ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(FileError, match=r"can't write .*: No space left"):
        write_atomic(path, half)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]

    def stopped(stream):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, stopped)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_an_archive_of_more_tensors_than_any_model_has_is_refused_unread(tmp_path, monkeypatch):
    checkpoint.save(tmp_path / "last.pt", STATE)
    monkeypatch.setattr(checkpoint, "MAX_ENTRIES", 3)
    monkeypatch.setattr(torch, "load", lambda *args, **options: pytest.fail("it is read"))
    with pytest.raises(CheckpointError, match="not a checkpoint of this program"):
        checkpoint.load(tmp_path / "last.pt")


def test_a_pipe_or_a_device_in_a_file_s_place_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.pt")
    for path in (tmp_path / "pipe.pt", Path("/dev/zero"), tmp_path):
        with pytest.raises(CheckpointError, match="it is not a file"):
            checkpoint.load(path)
