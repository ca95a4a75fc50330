"""torchvision's real download against a server of our own that fails in every way servers fail."""

import contextlib
import gc
import gzip
import hashlib
import http.server
import json
import signal
import subprocess
import sys
import threading
import time

import pytest
from torchvision.datasets import MNIST

from vae.data import download as sources
from vae.data.download import FILES, UnavailableError, load_idx_set

# urllib's errors keep their sockets until they are collected, which `server` sees to while these filters hold.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
REAL_TORCHVISION = sources._fetch_torchvision
PAGE = b"<html>Please log in to the network</html>"


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.files` in the manner of `server.mood`."""

    def do_GET(self):
        mood, content = self.server.mood, self.server.files.get(self.path.rpartition("/")[2], b"")
        if mood == "redirected" and "login" not in self.path:
            self.send_response(302)
            self.send_header("Location", "/login")
            self.end_headers()
            return
        if mood == "hanging":
            self.server.released.wait(20)
            return
        body = {"redirected": PAGE, "wrong bytes": content[::-1]}.get(mood, content)
        self.send_response(503 if mood == "unavailable" else 200)
        self.send_header("Content-Length", str(10**9 if mood == "trickling" else len(body)))
        self.end_headers()
        if mood == "trickling":  # for ever, and never silent for as long as a time limit of silence
            with contextlib.suppress(OSError):
                while not self.server.released.wait(0.1):
                    self.wfile.write(b"x")
            return
        self.wfile.write(body[: len(body) // 2] if mood == "breaking off" else body)

    do_HEAD = do_GET

    def log_message(self, *args):
        pass


@pytest.fixture
def server(idx_files, monkeypatch):
    """A mirror on this machine that torchvision is told to use."""
    packed = {f"{name}.gz": gzip.compress(content) for name, content in idx_files.items()}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.mood, server.released = packed, "well", threading.Event()
    monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/mnist/"])
    digests = [(name, hashlib.md5(content).hexdigest()) for name, content in packed.items()]
    monkeypatch.setattr(MNIST, "resources", digests)
    monkeypatch.setattr(sources, "_fetch_torchvision", REAL_TORCHVISION)
    monkeypatch.setattr(sources, "NETWORK_TIMEOUT", 1)
    monkeypatch.setattr(sources, "DOWNLOAD_TIMEOUT", 5)
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()
    gc.collect()


def test_a_time_limit_leaves_no_alarm_behind(server, tmp_path):
    before = signal.getsignal(signal.SIGALRM)
    load_idx_set("mnist", tmp_path)
    assert signal.getsignal(signal.SIGALRM) is before and signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_a_download_is_verified_and_kept(server, tmp_path, capfd):
    arrays = load_idx_set("mnist", tmp_path)
    assert arrays[FILES[0]].shape == (50, 28, 28)
    assert sorted(path.name for path in (tmp_path / "MNIST/raw").iterdir()) == sorted(FILES)
    server.mood = "unavailable"
    load_idx_set("mnist", tmp_path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("mood", ["unavailable", "hanging", "trickling", "breaking off", "redirected", "wrong bytes"])
def test_a_failing_server_gets_one_line_and_leaves_nothing(server, tmp_path, mood):
    server.mood = mood
    started = time.monotonic()
    with pytest.raises(UnavailableError) as caught:
        load_idx_set("mnist", tmp_path)
    assert "\n" not in str(caught.value) and "torchvision's download" in str(caught.value)
    assert time.monotonic() - started < 15
    assert list(tmp_path.iterdir()) == []
    server.mood = "well"
    assert len(load_idx_set("mnist", tmp_path)[FILES[3]]) == 20


CHILD = """
import json, sys
from pathlib import Path
from torchvision.datasets import MNIST
from vae.data import download as sources
port, digests, sums, folder = json.loads(sys.argv[1])
MNIST.mirrors, MNIST.resources = [f"http://127.0.0.1:{port}/mnist/"], digests
sources.SHA256["mnist"] = sums
assert len(sources.load_idx_set("mnist", Path(folder))["train-images-idx3-ubyte"]) == 50
"""


@pytest.mark.slow
def test_processes_that_download_into_one_folder_at_once_do_not_harm_each_other(server, tmp_path):
    facts = json.dumps([server.server_port, MNIST.resources, sources.SHA256["mnist"], str(tmp_path)])
    command = [sys.executable, "-c", CHILD, facts]
    children = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for child in children:
        assert child.wait() == 0, child.stderr.read()
        child.stderr.close()
    assert sorted(path.name for path in (tmp_path / "MNIST/raw").iterdir()) == sorted(FILES)
