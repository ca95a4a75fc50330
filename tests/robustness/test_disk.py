"""No room for a file: one clear line, nothing half-written, and a run that goes on when there is room."""

import contextlib
import io
import os
import resource
import shutil
import subprocess
import sys

import pytest
from small_runs import MAIN, QUICK, load_state, run_main

from main import main
from vae.system.console import Console
from vae.system.files import FileError
from vae.system.program import PROGRAM

COMMANDS = {
    "evaluate": ["--num_importance_samples", "0"],
    "sample": [],
    "sample npz": ["--format", "npz"],
    "sample individual": ["--format", "individual"],
    "reconstruct": [],
    "interpolate": ["--steps", "3"],
    "traverse": ["--steps", "3"],
    "embed": ["--picture", "pca"],
    "export": [],
    "export onnx": ["--format", "onnx"],
    "export safetensors": ["--format", "safetensors"],
    "gif": [],
    "report": [],
}
EACH_EPOCH = ["--num_epochs", "3", "--checkpoint_every", "1", "--sample_every", "1", "--run_name", "full", "--quiet"]


@contextlib.contextmanager
def largest_file(size):
    """No file of this process can grow beyond so many bytes, as on a disk that is nearly full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def assert_one_line(capture):
    err = capture.readouterr().err
    assert err.startswith("error: can't ") and err.count("\n") == 1, err
    return err


def scratch_files(folder):
    return list(folder.rglob(".*.tmp"))


def assert_goes_on(root, capture):
    """What failed in one line and left nothing half-written ends now that there is room."""
    run_dir = root / "outputs/full"
    err = assert_one_line(capture)
    assert not scratch_files(root)
    if (run_dir / "checkpoints/last.pt").exists():
        load_state(run_dir)
        assert f"continue with  {PROGRAM} --resume {run_dir}\n" in err
        assert main(["--resume", str(run_dir), "--quiet"]) == 0
    else:
        assert run_main(root, *EACH_EPOCH, "--overwrite") == 0
    assert (run_dir / "results.json").exists() and load_state(run_dir)["epoch"] == 3


@pytest.mark.parametrize("size", [200, 1_000, 40_000, 500_000])
def test_training_without_room_gets_one_line_and_goes_on_when_there_is_some(tmp_path, capsys, size):
    with largest_file(size):
        assert run_main(tmp_path, *EACH_EPOCH) == 1
    assert_goes_on(tmp_path, capsys)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_without_room_get_one_line_and_leave_no_half_file(finished_run, tmp_path, capsys, command):
    flags = ["--run", str(finished_run / "outputs/whole"), "--device", "cpu", "--quiet", *COMMANDS[command]]
    with largest_file(0):
        assert main([command.split()[0], *flags, "--output", str(tmp_path / "out")]) == 1
    assert_one_line(capsys)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and (path.stat().st_size or ".tmp" in path.name)]


class FullScreen(io.StringIO):
    def flush(self):
        raise OSError(28, "No space left on device")


def test_a_log_in_the_screen_s_place_that_has_no_room_is_named(monkeypatch):
    monkeypatch.setattr("sys.stdout", FullScreen())
    with pytest.raises(FileError, match="can't write to standard output: No space left"):
        Console().say("epoch 1")


class Disk:
    """A small disk of its own, in memory; root alone can mount one."""

    def __init__(self, path):
        self.path = path
        path.mkdir()
        self.mount("-t", "tmpfs", "-o", "size=16m", "tmpfs")

    def mount(self, *options):
        done = subprocess.run(["mount", *options, str(self.path)], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")

    def resize(self, size):
        self.mount("-o", f"remount,size={size}")

    def fill(self, leave):
        """Let so many bytes be free."""
        self.resize("16m")
        used = sum(path.stat().st_blocks * 512 for path in self.path.rglob("*") if path.is_file())
        self.resize(used + 200_000 + leave)  # what folders take, too
        with (self.path / "filler").open("wb") as stream:
            free = os.statvfs(self.path).f_bavail * os.statvfs(self.path).f_frsize
            stream.write(bytes(max(0, free - leave)))

    def free(self):
        (self.path / "filler").unlink()
        self.resize("64m")


@pytest.fixture
def disk(tmp_path):
    if not shutil.which("mount"):
        pytest.skip("no disk can be mounted here: there is no mount")
    disk = Disk(tmp_path / "disk")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk.path)], check=True)


@pytest.mark.slow
@pytest.mark.pictures
@pytest.mark.parametrize("size", [50_000, 400_000, 700_000, 1_000_000, 1_400_000])
def test_training_on_a_disk_that_fills_up_gets_one_line_and_goes_on_when_there_is_room(disk, size, capfd):
    disk.resize(size)
    assert run_main(disk.path, *EACH_EPOCH) == 1
    disk.resize("64m")
    assert_goes_on(disk.path, capfd)


@pytest.mark.slow
@pytest.mark.pictures
@pytest.mark.parametrize("leave", [0, 4096, 100_000])
def test_commands_on_a_full_disk_get_one_line_and_leave_no_half_file(disk, finished_run, capfd, leave):
    run_dir = shutil.copytree(finished_run / "outputs/whole", disk.path / "outputs/whole")
    before = {path for path in disk.path.rglob("*") if path.is_file()}
    for command, flags in COMMANDS.items():
        disk.fill(leave)
        code = main([command.split()[0], "--run", str(run_dir), "--device", "cpu", "--quiet", *flags])
        if code or not leave:
            assert code == 1, command
            assert_one_line(capfd)
        assert not scratch_files(disk.path), command
        disk.free()
        left = {path for path in disk.path.rglob("*") if path.is_file()} - before
        assert all(path.stat().st_size for path in left), left
        before |= left


@pytest.mark.slow
def test_a_read_only_disk_gets_one_line_and_what_writes_elsewhere_works(disk, finished_run, tmp_path, capfd):
    """Root writes everywhere but there."""
    for folder in ("outputs", "runs"):
        shutil.copytree(finished_run / folder, disk.path / folder, symlinks=True)
    disk.mount("-o", "remount,ro")
    run_dir = str(disk.path / "outputs/whole")
    assert run_main(disk.path, "--num_epochs", "1", "--quiet") == 1
    assert_one_line(capfd)
    assert main(["--resume", run_dir, "--num_epochs", "5", "--quiet"]) == 1
    assert_one_line(capfd)
    for command, flags in COMMANDS.items():
        words = [command.split()[0], "--run", run_dir, "--device", "cpu", "--quiet", *flags]
        assert main(words) == 1, command
        assert_one_line(capfd)
        assert main([*words, "--output", str(tmp_path / command)]) == 0, command
    disk.mount("-o", "remount,rw")


@pytest.mark.slow
def test_an_output_folder_that_vanishes_gets_one_line(tmp_path):
    flags = [
        *QUICK,
        "--num_epochs",
        "3000",
        "--checkpoint_every",
        "1",
        "--sample_every",
        "0",
        "--run_name",
        "gone",
        "--threads",
        "1",
    ]
    process = subprocess.Popen(
        [sys.executable, MAIN, *flags], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not process.stdout.readline().startswith("epoch "):
        pass
    (tmp_path / "outputs" / "gone").rename(tmp_path / "elsewhere")
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 1 and err.startswith("error: can't write") and err.count("\n") == 1
    assert load_state(tmp_path / "elsewhere")["epoch"] > 0
