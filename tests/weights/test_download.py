"""Downloads: whole and checked, or not at all, against a server of this machine."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from intarsia.weights.download import CACHE, cache_folder, fetch

CONTENT = b"weights" * 1000
DIGITS = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        if self.path.startswith("/absent"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT) * (2 if "short" in self.path else 1)))
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")
    Handler.asked = 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{found.server_address[1]}"
        found.shutdown()
        thread.join()


def kept() -> list[Path]:
    return [file for file in cache_folder().rglob("*") if file.is_file()]


def test_once(server: str) -> None:
    for _ in range(2):
        file = fetch(f"{server}/net-{DIGITS[:8]}.pth", sha256=DIGITS[:8])
        assert file.read_bytes() == CONTENT
    assert Handler.asked == 1
    assert kept() == [file]
    assert fetch(f"{server}/other/net-{DIGITS[:8]}.pth") != file


@pytest.mark.parametrize(
    ("path", "digits", "said"),
    [
        ("net.pth", "00000000", f"its SHA-256 begins with {DIGITS[:8]}, expected 00000000"),
        ("short.pth", "", "cut short: 7,000 bytes of 14,000|IncompleteRead|no answer"),
        ("absent.pth", "", "no answer from .*404"),
    ],
)
def test_nothing_is_kept_of_what_is_wrong(server: str, path: str, digits: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        fetch(f"{server}/{path}", sha256=digits)
    assert f"put it at {cache_folder()}" in str(caught.value)
    assert kept() == []


def test_without_a_server(server: str) -> None:
    with pytest.raises(ValueError, match="no answer from http://127"):
        fetch("http://127.0.0.1:9/net.pth")
    with pytest.raises(ValueError, match="begins with https://, found 'file:///etc/passwd'"):
        fetch("file:///etc/passwd")
