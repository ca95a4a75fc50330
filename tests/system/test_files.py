import errno
import os

import pytest

from vae.system.files import FileError, take_lock


def test_a_locked_file_keeps_its_content_and_its_lock_ends_with_the_block(tmp_path):
    path = tmp_path / ".lock"
    path.write_text("content")
    for _ in range(2):
        with take_lock(path), pytest.raises(FileError, match="is being trained by another process"):
            take_lock(path)
    assert path.read_text() == "content"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_locks_nothing(tmp_path, monkeypatch, number):
    def flock(*given):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    with take_lock(tmp_path / ".lock"), take_lock(tmp_path / ".lock"):
        pass
