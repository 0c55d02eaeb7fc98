"""Downloads: whole and checked, or not at all, against a server of this machine that is not to be trusted."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from intarsia.weights import download
from intarsia.weights.download import DownloadError, OfflineError, cache_folder, cached_file, fetch

CONTENT = bytes(range(256)) * 4000
OTHER = b"x" * len(CONTENT)
DIGITS = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """What it does is decided by the first folder of the path; `asked` is what it was asked for."""

    asked: list[tuple[str, str | None]]
    content: bytes

    def do_GET(self) -> None:
        type(self).asked.append((self.path, self.headers.get("Range")))
        getattr(self, "do_" + self.path.split("/")[1])(len(type(self).asked))

    def send(self, data: bytes, *, status: int = 200, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        self.end_headers()
        self.wfile.write(data)

    def rest(self, **headers: str) -> None:
        """What a good server sends, from where it is asked to."""
        content, wanted = type(self).content, self.headers.get("Range")
        if not wanted or self.headers.get("If-Range", headers.get("ETag")) != headers.get("ETag"):
            self.send(content, **headers)
            return
        first = int(wanted.removeprefix("bytes=").rstrip("-"))
        place = f"bytes {first}-{len(content) - 1}/{len(content)}"
        self.send(content[first:], status=206, Content_Range=place, **headers)

    def cut(self, at: int, **headers: str) -> None:
        content = type(self).content
        self.send(content[:at], length=len(content), **headers)

    def do_good(self, _: int) -> None:
        self.rest()

    def do_breaks(self, time_: int) -> None:
        self.cut(300_000, ETag='"1"') if time_ == 1 else self.rest(ETag='"1"')

    def do_changes(self, time_: int) -> None:
        """Another file under the same name, once the first half has been sent."""
        if time_ == 1:
            self.send(OTHER[:300_000], length=len(OTHER), ETag='"1"')
        else:
            self.rest(ETag='"2"')

    def do_forgets(self, time_: int) -> None:
        """The same, without a word about it."""
        if time_ == 1:
            self.send(OTHER[:300_000], length=len(OTHER))
        else:
            self.rest()

    def do_wholly(self, time_: int) -> None:
        """Knows of no pieces."""
        self.cut(300_000, ETag='"1"') if time_ == 1 else self.send(type(self).content, ETag='"1"')

    def do_elsewhere(self, time_: int) -> None:
        """Sends another piece than it was asked for."""
        if time_ == 1:
            self.cut(300_000, ETag='"1"')
        elif self.headers.get("Range"):
            self.send(CONTENT[5:], status=206, Content_Range=f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}")
        else:
            self.rest()

    def do_always_breaks(self, _: int) -> None:
        self.cut(0)

    def do_busy(self, time_: int) -> None:
        self.send(b"", status=503) if time_ < 3 else self.rest()

    def do_absent(self, _: int) -> None:
        self.send(b"", status=404)

    def do_forbidden(self, _: int) -> None:
        self.send(b"", status=403)

    def do_other(self, _: int) -> None:
        self.send(OTHER)

    def do_page(self, _: int) -> None:
        self.send(b"\n<!DOCTYPE html><title>Sign in</title>")

    def do_empty(self, _: int) -> None:
        self.send(b"")

    def do_endless(self, _: int) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(bytes(100_000))
        except OSError:
            pass

    def do_boasts(self, _: int) -> None:
        self.send(b"", length=10**17)

    def do_drips(self, _: int) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"x" * 20)
                time.sleep(0.02)
        except OSError:
            pass

    def do_leads(self, _: int) -> None:
        self.send(b"", status=302, Location="/good/net.pth")

    def do_circles(self, _: int) -> None:
        self.send(b"", status=302, Location="/circles/net.pth")

    def do_slow(self, _: int) -> None:
        time.sleep(2)
        self.rest()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv(download.CACHE, str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.delenv(download.OFFLINE)
    monkeypatch.delenv(download.MIRROR, raising=False)
    monkeypatch.setattr(download, "PAUSES", (0.0, 0.0))
    Handler.asked, Handler.content = [], CONTENT
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        found.daemon_threads = True
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{found.server_address[1]}"
        found.shutdown()
        thread.join()


def kept() -> set[str]:
    return {file.name for file in cache_folder().rglob("*") if file.is_file() and file.suffix != ".lock"}


def test_once(server: str) -> None:
    for _ in range(2):
        file = fetch(f"{server}/good/net-{DIGITS[:8]}.pth", sha256=DIGITS[:8])
        assert file.read_bytes() == CONTENT
    assert len(Handler.asked) == 1
    assert kept() == {file.name}
    assert fetch(f"{server}/good/other/net-{DIGITS[:8]}.pth") != file
    assert cached_file(f"{server}/good/net-{DIGITS[:8]}.pth") == file


@pytest.mark.parametrize("sha256", [DIGITS[:8], ""])
@pytest.mark.parametrize(
    ("path", "ranges"),
    [
        ("breaks", [None, "bytes=300000-"]),
        ("changes", [None, "bytes=300000-"]),
        ("wholly", [None, "bytes=300000-"]),
        ("elsewhere", [None, "bytes=300000-", None]),
        ("busy", [None, None, None]),
    ],
)
def test_it_goes_on(server: str, path: str, ranges: list[str | None], sha256: str) -> None:
    file = fetch(f"{server}/{path}/net.pth", sha256=sha256)
    assert file.read_bytes() == CONTENT
    assert [asked for _, asked in Handler.asked] == ranges
    assert kept() == {"net.pth"}


def test_pieces_of_two_files_are_found_by_the_hash(server: str) -> None:
    """Without a hash, what nobody has named a version of is not gone on with."""
    assert fetch(f"{server}/forgets/net.pth", sha256=DIGITS).read_bytes() == CONTENT
    assert [asked for _, asked in Handler.asked] == [None, "bytes=300000-", None]
    Handler.asked.clear()
    assert fetch(f"{server}/forgets/other.pth").read_bytes() == CONTENT
    assert [asked for _, asked in Handler.asked] == [None, None]


def test_another_day_it_goes_on_where_it_was(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"{server}/breaks/net.pth"
    with monkeypatch.context() as patch:
        patch.setattr(download, "MOST_TRIES", 1)
        with pytest.raises(DownloadError):
            fetch(address, sha256=DIGITS)
    assert kept() == {"net.pth.part", "net.pth.part.json"}
    assert not cached_file(address).exists()
    assert fetch(address, sha256=DIGITS).read_bytes() == CONTENT
    assert Handler.asked[-1][1] == "bytes=300000-"
    assert kept() == {"net.pth"}


@pytest.mark.parametrize(
    ("path", "digits", "said"),
    [
        ("other", DIGITS[:8], f"begins with {hashlib.sha256(OTHER).hexdigest()[:8]}, expected {DIGITS[:8]}"),
        ("page", DIGITS[:8], f"expected {DIGITS[:8]}; it was not kept: it is a page for a browser"),
        ("page", "", "it was not kept: it is a page for a browser"),
        ("empty", "", "is empty"),
        ("absent", "", "the server answered 404"),
        ("forbidden", "", "the server answered 403"),
        ("always_breaks", "", "broken off after 0 bytes"),
        ("boasts", "", "has 100,000,000,000,000,000 bytes, more than"),
        ("circles", "", "leads from one address to the next, 10 times"),
    ],
)
def test_nothing_is_kept_of_what_is_wrong(server: str, path: str, digits: str, said: str) -> None:
    with pytest.raises(DownloadError, match=said) as caught:
        fetch(f"{server}/{path}/net.pth", sha256=digits)
    assert f"fetch {server}/{path}/net.pth and put it at {cached_file(f'{server}/{path}/net.pth')}" in str(caught.value)
    assert kept() <= {"net.pth.part", "net.pth.part.json"}
    assert not cached_file(f"{server}/{path}/net.pth").exists()


def test_a_server_that_never_ends(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "LARGEST", 2_000_000)
    with pytest.raises(DownloadError, match="sends more than the 2,000,000 bytes that it may have"):
        fetch(f"{server}/endless/net.pth")


def test_a_server_that_drips(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "SLOW_FOR", 0.1)
    monkeypatch.setattr(download, "SLOWEST", 1_000_000)
    monkeypatch.setattr(download, "_BLOCK", 100)
    monkeypatch.setattr(download, "MOST_TRIES", 2)
    with pytest.raises(DownloadError, match="broke off 2 times"):
        fetch(f"{server}/drips/net.pth")


def test_redirects(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fetch(f"{server}/leads/net.pth").read_bytes() == CONTENT

    def unsafe(self: object, address: str, **_: object) -> object:
        following = type("Request", (), {"url": "http://elsewhere/net.pth"})
        return type("Response", (), {"next": following, "close": lambda self: None})()

    monkeypatch.setattr("requests.Session.get", unsafe)
    with pytest.raises(DownloadError, match=r"leads to 'http://elsewhere/net.pth', which is not encrypted"):
        fetch("https://host/net.pth")


def test_without_a_server(server: str) -> None:
    with pytest.raises(DownloadError, match=r"refused.* put it at"):
        fetch("http://127.0.0.1:9/net.pth")


@pytest.mark.parametrize("address", ["file:///etc/passwd", "net.pth", "", "https://", "https:///net.pth", "ftp://a/b"])
def test_what_is_no_address(server: str, address: str) -> None:
    with pytest.raises(DownloadError, match=r"expected an address such as https://host/file.pth"):
        fetch(address)


def test_digits_that_are_none(server: str) -> None:
    with pytest.raises(DownloadError, match="expected digits of a SHA-256, found 'ABC'"):
        fetch(f"{server}/good/net.pth", sha256="ABC")


@pytest.mark.parametrize(
    "name", ["../../up.pth", "%2e%2e%2fup.pth", ".hidden", "a%00b.pth", "a?b=../c", "n" * 999, "ü.pth"]
)
def test_no_address_leaves_the_cache(server: str, name: str) -> None:
    file = cached_file(f"https://host/{name}")
    assert file.parent.parent == cache_folder()
    assert len(file.name) <= 150
    assert not file.name.startswith(".")


def test_a_damaged_file_of_the_cache_is_named(server: str) -> None:
    file = fetch(f"{server}/good/net.pth", sha256=DIGITS)
    file.write_bytes(OTHER)
    with pytest.raises(DownloadError, match=r"is damaged or another file.*Remove it"):
        fetch(f"{server}/good/net.pth", sha256=DIGITS)


# --- Mirrors and no network ---------------------------------------------------------------------------------------


def folder_of(tmp_path: Path, _: str) -> str:
    file = tmp_path / "mirror" / "host" / "a" / "net.pth"
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENT)
    return str(tmp_path / "mirror")


def server_of(_: Path, server: str) -> str:
    return f"{server}/good"


def pair_of(_: Path, server: str) -> str:
    return f"https://elsewhere/=/nowhere/ https://host/={server}/good/"


def broken_first(_: Path, server: str) -> str:
    return f"{server}/absent {server}/good"


@pytest.mark.parametrize("mirror", [folder_of, server_of, pair_of, broken_first])
def test_mirrors(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mirror: Callable[[Path, str], str]
) -> None:
    monkeypatch.setenv(download.MIRROR, mirror(tmp_path, server))
    assert fetch("https://host/a/net.pth", sha256=DIGITS).read_bytes() == CONTENT
    if mirror is not folder_of:
        assert cached_file("https://host/a/net.pth").is_file()


def test_offline(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = fetch(f"{server}/good/net.pth")
    monkeypatch.setenv(download.OFFLINE, "1")
    asked = len(Handler.asked)
    assert fetch(f"{server}/good/net.pth") == here
    with pytest.raises(OfflineError, match=r"INTARSIA_OFFLINE forbids.* put it at"):
        fetch(f"{server}/good/other.pth")
    monkeypatch.setenv(download.MIRROR, folder_of(tmp_path, server))
    assert fetch("https://host/a/net.pth").read_bytes() == CONTENT
    assert len(Handler.asked) == asked


# --- Several processes --------------------------------------------------------------------------------------------


def test_one_process_fetches_for_all(server: str) -> None:
    program = (
        f"from intarsia.weights.download import fetch; print(fetch({f'{server}/slow/net.pth'!r}, sha256={DIGITS!r}))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = [process.communicate(timeout=60) for process in processes]
    assert {out.strip() for out, _ in said} == {str(cached_file(f"{server}/slow/net.pth"))}
    assert len(Handler.asked) == 1
    assert sum("another process is fetching net.pth; waiting for it" in error for _, error in said) == 2


def test_a_killed_process_leaves_nothing_in_the_way(server: str) -> None:
    address = f"{server}/slow/net.pth"
    program = f"from intarsia.weights.download import fetch; fetch({address!r})"
    process = subprocess.Popen([sys.executable, "-c", program])
    while not Handler.asked:
        assert process.poll() is None, "the process has ended before it asked"
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert fetch(address, sha256=DIGITS).read_bytes() == CONTENT
    assert os.environ[download.CACHE] in str(cached_file(address))
