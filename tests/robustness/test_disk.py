"""No room for a file: one clear line, nothing half-written, and a run that goes on when there is room."""

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


def run(cwd, *flags, largest_file=resource.RLIM_INFINITY):
    """Run the program where no file can grow beyond so many bytes, as on a disk that is nearly full."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))

    command = [sys.executable, MAIN, *flags, "--threads", "1"]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, preexec_fn=limit)


slow = pytest.mark.slow


@pytest.mark.parametrize(
    "largest_file", [40_000, *(pytest.param(size, marks=slow) for size in (200, 1_000, 150_000, 500_000))]
)
def test_a_file_that_finds_no_room_gets_one_line_and_the_run_can_go_on(tmp_path, largest_file):
    flags = [*QUICK, "--num_epochs", "3", "--checkpoint_every", "1", "--sample_every", "1", "--run_name", "full"]
    done = run(tmp_path, *flags, largest_file=largest_file)
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("error: can't ") and done.stderr.count("\n") == 1
    run_dir = tmp_path / "outputs" / "full"
    assert not [path for path in run_dir.rglob("*") if path.name.endswith(".tmp")]
    if (run_dir / "checkpoints" / "last.pt").exists():
        load_state(run_dir)
        again = run(tmp_path, "--resume", str(run_dir))
    else:
        again = run(tmp_path, *flags, "--overwrite")
    assert again.returncode == 0, again.stderr
    assert (run_dir / "results.json").exists() and load_state(run_dir)["epoch"] == 3


class Full(io.StringIO):
    def flush(self):
        raise OSError(28, "No space left on device")


def test_a_log_in_the_screen_s_place_that_finds_no_room_is_named(monkeypatch):
    monkeypatch.setattr("sys.stdout", Full())
    with pytest.raises(FileError, match="can't write to standard output: No space left"):
        Console().say("epoch 1")


class Disk:
    """A small disk of its own, in memory."""

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
    found = Disk(tmp_path / "disk")
    yield found
    subprocess.run(["umount", "--lazy", str(found.path)], check=True)


def told_in_one_line(capfd):
    err = capfd.readouterr().err
    return err.startswith("error: can't ") and err.count("\n") == 1


def scratch_files(folder):
    return list(folder.rglob(".*.tmp"))


@pytest.mark.parametrize(
    "size", [50_000, 400_000, *(pytest.param(n, marks=slow) for n in range(100_000, 1_500_000, 100_000))]
)
def test_training_on_a_disk_that_fills_up_gets_one_line_and_goes_on_when_there_is_room(disk, size, capfd):
    disk.resize(size)
    flags = ["--num_epochs", "3", "--checkpoint_every", "1", "--sample_every", "1", "--run_name", "full"]
    run_dir, code = disk.path / "outputs/full", run_main(disk.path, *flags, "--quiet")
    assert code == 1 and told_in_one_line(capfd) and not scratch_files(disk.path)
    disk.resize("64m")
    if (run_dir / "checkpoints/last.pt").exists():
        load_state(run_dir)
        assert main(["--resume", str(run_dir), "--quiet"]) == 0
    else:
        assert run_main(disk.path, *flags, "--quiet", "--overwrite") == 0
    assert (run_dir / "results.json").exists() and load_state(run_dir)["epoch"] == 3


COMMANDS = {
    "evaluate": [],
    "sample": [],
    "sample npz": ["--format", "npz"],
    "sample individual": ["--format", "individual"],
    "reconstruct": [],
    "interpolate": ["--steps", "3"],
    "traverse": ["--steps", "3"],
    "embed": ["--picture", "pca"],
    "export": [],
    "gif": [],
    "report": [],
}


@pytest.mark.parametrize("leave", [0, 4096, pytest.param(100_000, marks=slow)])
def test_commands_on_a_full_disk_get_one_line_and_leave_no_half_file(disk, finished_run, capfd, leave):
    shutil.copytree(finished_run / "outputs/whole", disk.path / "outputs/whole")
    before = {path for path in disk.path.rglob("*") if path.is_file()}
    for command, flags in COMMANDS.items():
        disk.fill(leave)
        code = main(
            [command.split()[0], "--run", str(disk.path / "outputs/whole"), "--device", "cpu", "--quiet", *flags]
        )
        assert (code == 1 and told_in_one_line(capfd)) or (code == 0 and leave), command
        assert not scratch_files(disk.path), command
        disk.free()
        left = {path for path in disk.path.rglob("*") if path.is_file()} - before
        assert all(path.stat().st_size for path in left if path.name != ".lock"), left
        before |= left


def test_a_read_only_disk_gets_one_line_and_what_writes_elsewhere_works(disk, finished_run, tmp_path, capfd):
    """Root writes everywhere but there."""
    for folder in ("outputs", "runs"):
        shutil.copytree(finished_run / folder, disk.path / folder, symlinks=True)
    disk.mount("-o", "remount,ro")
    run_dir = str(disk.path / "outputs/whole")
    assert run_main(disk.path, "--num_epochs", "1", "--quiet") == 1
    assert told_in_one_line(capfd)
    assert main(["--resume", run_dir, "--num_epochs", "5", "--quiet"]) == 1
    assert told_in_one_line(capfd)
    for command, flags in COMMANDS.items():
        given = [command.split()[0], "--run", run_dir, "--device", "cpu", "--quiet", *flags]
        assert main(given) == 1 and told_in_one_line(capfd), command
        assert main([*given, "--output", str(tmp_path / command)]) == 0, command
    disk.mount("-o", "remount,rw")


@slow
def test_an_output_folder_that_vanishes_gets_one_line(tmp_path):
    flags = [*QUICK, "--num_epochs", "3000", "--sample_every", "0", "--run_name", "gone", "--threads", "1"]
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
