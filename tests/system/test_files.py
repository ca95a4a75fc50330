import errno
import os
import subprocess
import sys

import pytest
from filelock import FileLock

from vae.system.files import FileError, take_lock

# Takes the lock a hundred times, and writes a line on the way in and out.
CONTENDER = """
import sys, time
from pathlib import Path
from vae.system.files import FileError, take_lock
log, times = open(sys.argv[2], "a", buffering=1), 0
print(flush=True)
sys.stdin.readline()
while times < 100:
    try:
        with take_lock(Path(sys.argv[1])):
            log.write("in\\n")
            time.sleep(0.0001)
            log.write("out\\n")
            times += 1
    except FileError:
        pass
"""


def test_a_lock_keeps_others_out_and_leaves_no_file(tmp_path):
    for _ in range(2):
        with take_lock(tmp_path / ".lock"):
            with pytest.raises(FileError, match="is being trained by another process"), take_lock(tmp_path / ".lock"):
                pass
            assert (tmp_path / ".lock").exists()  # still that of the first
        assert not list(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt), take_lock(tmp_path / ".lock"):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_leaves_goes_with_the_next_lock_and_a_file_with_content_stays(tmp_path):
    for content in ("", "precious"):
        (tmp_path / ".lock").write_text(content)
        with take_lock(tmp_path / ".lock"):
            pass
    assert (tmp_path / ".lock").read_text() == "precious"


def test_removing_the_file_lets_no_two_processes_in_at_once(tmp_path):
    command = [sys.executable, "-c", CONTENDER, tmp_path / ".lock", tmp_path / "log"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    contenders = [subprocess.Popen(command, **pipes) for _ in range(4)]
    for contender in contenders:
        contender.stdout.readline()  # ready
    for contender in contenders:
        contender.stdin.write("\n")
        contender.stdin.flush()
    for contender in contenders:
        contender.communicate()
    assert (tmp_path / "log").read_text().split() == ["in", "out"] * 400
    assert not (tmp_path / ".lock").exists()


def test_the_file_is_removed_while_it_is_locked(tmp_path, monkeypatch):
    left = []
    release = FileLock.release
    monkeypatch.setattr(FileLock, "release", lambda lock: (left.extend(tmp_path.iterdir()), release(lock)))
    with take_lock(tmp_path / ".lock"):
        pass
    assert not left


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_locks_nothing(tmp_path, monkeypatch, number):
    def flock(*given):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    with take_lock(tmp_path / ".lock"), take_lock(tmp_path / ".lock"):
        pass
    assert not list(tmp_path.iterdir())
