"""Downloads from servers of our own that fail in every way servers fail."""

import contextlib
import gzip
import http.server
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from vae.data import download, idx
from vae.data.download import MIRRORS, UnavailableError, load_idx_set
from vae.data.idx import FILES

REAL_MIRROR = download._fetch_mirror
PAGE = b"<html>Please log in to the network</html>"


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.files` in the manner of `server.mood`; any mood serves only two files well below `/half/`."""

    def do_GET(self):
        name = self.path.rpartition("/")[2]
        mood, content = self.server.mood, self.server.files.get(name, b"")
        if self.path.startswith("/half/"):
            mood = "well" if name.startswith("train") else "unavailable"
        self.server.requests.append((mood, name))
        if mood == "redirected" and "login" not in self.path:
            self.send_response(302)
            self.send_header("Location", "/login")
            self.end_headers()
            return
        if mood == "hanging":
            self.server.released.wait(20)
            return
        body = {"redirected": PAGE, "wrong bytes": content[::-1], "endless": bytes(10**6)}.get(mood, content)
        body = gzip.compress(bytes(10**6)) if mood == "unpacking to more" else body
        self.send_response(503 if mood == "unavailable" else 200)
        if mood not in ("endless", "trickling"):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if mood == "falling silent":
            self.server.released.wait(20)
            return
        if mood == "trickling":  # never silent for as long as `NETWORK_TIMEOUT`
            with contextlib.suppress(OSError):
                for _ in range(100):
                    self.server.released.wait(0.05)
                    self.wfile.write(b"x")
            return
        with contextlib.suppress(OSError):
            self.wfile.write(body[: len(body) // 2] if mood == "breaking off" else body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(idx_files, monkeypatch):
    """A server on this machine that stands in for MNIST's mirrors."""
    packed = {f"{name}.gz": gzip.compress(content) for name, content in idx_files.items()}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.mood, server.released, server.requests = packed, "well", threading.Event(), []
    server.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setitem(MIRRORS, "mnist", (f"{server.url}/mnist/",))
    monkeypatch.setattr(download, "_fetch_mirror", REAL_MIRROR)
    monkeypatch.setattr(download, "ANSWER_TIMEOUT", 1)
    monkeypatch.setattr(download, "NETWORK_TIMEOUT", 2)
    monkeypatch.setattr(download, "DOWNLOAD_TIMEOUT", 1)
    monkeypatch.setattr(download, "MAX_BYTES", 100_000)
    monkeypatch.setattr(idx, "MAX_BYTES", 100_000)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_download_is_verified_kept_and_not_repeated(server, tmp_path, idx_files, capfd):
    arrays = load_idx_set("mnist", tmp_path)
    assert arrays[FILES[0]].numpy().tobytes() == idx_files[FILES[0]][16:]
    raw = tmp_path / "MNIST" / "raw"
    assert {path.name: path.read_bytes() for path in raw.iterdir()} == idx_files
    assert len(server.requests) == 4
    load_idx_set("mnist", tmp_path)
    assert len(server.requests) == 4 and capfd.readouterr() == ("", "")


MOODS = {
    "unavailable": "503",
    "hanging": "no answer within 1 s",
    "falling silent": "timed out",
    "trickling": "not done within 1 s",
    "endless": "more than 100,000 bytes",
    "breaking off": "not a complete gzip file",
    "redirected": "not the official file's",
    "wrong bytes": "not the official file's",
    "unpacking to more": "damaged",
}


@pytest.mark.parametrize("mood", MOODS)
def test_a_failing_server_gets_one_line_and_leaves_nothing(server, tmp_path, mood):
    server.mood = mood
    with pytest.raises(UnavailableError, match=f"; 127.0.0.1: .*{MOODS[mood]}") as caught:
        load_idx_set("mnist", tmp_path)
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []
    server.mood = "well"
    assert len(load_idx_set("mnist", tmp_path)[FILES[3]]) == 20


def test_each_mirror_is_tried_and_named(server, tmp_path, monkeypatch):
    dead, half = "http://localhost:1/", f"{server.url}/half/"
    monkeypatch.setitem(MIRRORS, "mnist", (dead, half))
    with pytest.raises(UnavailableError, match=r"localhost: \[Errno \d+\] Connection refused; 127\.0\.0\.1: .*503"):
        load_idx_set("mnist", tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setitem(MIRRORS, "mnist", (dead, half, f"{server.url}/mnist/"))
    assert len(load_idx_set("mnist", tmp_path)[FILES[3]]) == 20


def test_a_name_that_is_never_looked_up_to_the_end_is_not_waited_for(server, tmp_path, monkeypatch):
    """As where the name server doesn't answer: no time limit of a socket holds for that."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: server.released.wait(20) and [])
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1: no answer within 1 s"):
        load_idx_set("mnist", tmp_path)


def test_nothing_is_in_the_data_folder_until_a_download_is_complete(server, tmp_path, monkeypatch):
    """So a kill leaves nothing there, whenever it comes."""
    seen = []

    def download_one(url, *, deadline):
        seen.append(list(tmp_path.iterdir()))
        return real(url, deadline=deadline)

    real = download._download
    monkeypatch.setattr(download, "_download", download_one)
    load_idx_set("mnist", tmp_path)
    assert seen == [[]] * 4


def test_simultaneous_downloads_into_one_folder_do_not_harm_each_other(server, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getpid", threading.get_ident)  # threads that stand for processes
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda _: load_idx_set("mnist", tmp_path), range(3)))
    assert [len(arrays[FILES[0]]) for arrays in results] == [50] * 3
    assert sorted(path.name for path in (tmp_path / "MNIST/raw").iterdir()) == sorted(FILES)
