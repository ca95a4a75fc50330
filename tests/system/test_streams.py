import os
from pathlib import Path

import pytest

from vae.system.streams import Screen


def leave_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def close_terminal():
    master, terminal = os.openpty()
    os.close(master)
    return terminal


@pytest.mark.parametrize("go_away", [leave_pipe, close_terminal])
def test_what_is_written_to_a_screen_that_has_gone_away_goes_nowhere(go_away):
    descriptor = go_away()
    with pytest.raises(OSError):
        os.write(descriptor, b"x")
    with Screen(descriptor, "w") as screen:
        assert screen.write(b"three") == 5 and screen.write(b"four") == 4
        assert os.path.samestat(os.fstat(descriptor), Path(os.devnull).stat())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_log_without_room_in_the_screen_s_place_is_an_error():
    with Screen("/dev/full", "w") as screen, pytest.raises(OSError, match="No space left"):
        screen.write(b"x")
