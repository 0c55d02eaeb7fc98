"""Files behind addresses: what is an address, what is listed, copied and put, and what is said when that fails."""

from __future__ import annotations

import socket
import sys
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from intarsia.io import stores
from intarsia.io.cache import CACHE, cache_root
from intarsia.io.stores import (
    fetch_file,
    is_address,
    list_files,
    name_of,
    path_of,
    public,
    put_file,
    refuse_output,
    remove_file,
)
from intarsia.io.whole_files import write_text

pytest.importorskip("fsspec")


@pytest.fixture(autouse=True)
def with_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(stores.OFFLINE, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def bucket(tmp_path: Path) -> str:
    """A folder of a store in memory that no other test has."""
    address = f"memory://{uuid.uuid4().hex}"
    for name in ("a.png", "day/b.png", "day/.hidden.png"):
        (tmp_path / "file").write_bytes(name.encode())
        put_file(tmp_path / "file", f"{address}/{name}")
    return address


class _Web(BaseHTTPRequestHandler):
    """Answers with the number in the path; /short breaks off."""

    def do_GET(self) -> None:
        what = self.path.strip("/").partition("?")[0]
        self.send_response(int(what) if what.isdecimal() else 200)
        self.send_header("Content-Length", "100" if what == "short" else "4")
        self.end_headers()
        self.wfile.write(b"data")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def web() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Web) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_what_is_an_address() -> None:
    assert all(map(is_address, ("s3://b/x", "https://h/x.jpg", "S3://b/x", "memory://x")))
    assert not any(
        map(is_address, ("a/b.jpg", "/vsis3/b/x.tif", "C:\\x.jpg", "ftp://h/x", Path("s3://b/x"), "zip://x"))
    )


def test_names() -> None:
    signed = "https://me:secret@host:8080/day/photo%201.jpg?X-Signature=abc"
    assert public(signed) == "https://host:8080/day/photo%201.jpg"
    assert name_of(signed) == "photo 1.jpg"
    assert path_of("s3://bucket/a%20b?.jpg").name == "a%20b?.jpg"  # a key has no signature
    assert [name_of(f"https://host/{path}") for path in ("", "..", "%2e%2e")] == ["host", "file", "file"]


def test_lists_copies_puts_and_removes(bucket: str, tmp_path: Path) -> None:
    found = {file.relative: (file.address, file.size) for file in list_files(f"{bucket}/")}
    assert found == {name: (f"{bucket}/{name}", len(name)) for name in ("a.png", "day/b.png", "day/.hidden.png")}
    assert [file.relative for file in list_files(f"{bucket}/a.png")] == ["a.png"]
    assert sorted(file.address for file in list_files(f"{bucket}/day/*.png"))[-1] == f"{bucket}/day/b.png"
    assert fetch_file(f"{bucket}/day/b.png", tmp_path).read_bytes() == b"day/b.png"
    remove_file(f"{bucket}/a.png")
    remove_file(f"{bucket}/a.png")
    assert "a.png" not in {file.relative for file in list_files(bucket)}
    assert list_files(f"{bucket}/nothing") == []


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("404", "no such file or folder"),
        ("403", "may not be read: forbidden"),
        ("500?key=secret", "cannot be read: the server says 500"),
        ("short", "cannot be read"),
    ],
)
def test_what_the_web_says(web: str, path: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=reason) as error:
        fetch_file(f"{web}/{path}", tmp_path)
    assert str(error.value).startswith(f"{web}/{path.partition('?')[0]}: ")
    assert "secret" not in str(error.value)


def test_the_web_is_fetched(web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fetch_file(f"{web}/photo.jpg?key=1", tmp_path).read_bytes() == b"data"
    monkeypatch.setattr(stores, "LARGEST", 3)
    with pytest.raises(ValueError, match="has more than 3 bytes"):
        fetch_file(f"{web}/photo.jpg", tmp_path)


def test_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the call, and says nothing
        port = silent.getsockname()[1]
        with pytest.raises(ValueError, match="nobody answers"):
            fetch_file(f"http://127.0.0.1:{port}/a.jpg", tmp_path)
    with pytest.raises(ValueError, match="nobody answers"):
        fetch_file(f"http://127.0.0.1:{port}/a.jpg", tmp_path)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("{bucket}/nothing.png", "no such file or folder"),
        ("{bucket}/day", "is a folder, expected a file"),
        ("s3://simplecache::memory://x", "addresses within addresses"),
        ("az://container/a.png", r"needs a library of its store: .*adlfs.*intarsia\[remote\]"),
    ],
)
def test_what_cannot_be_had(bucket: str, address: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=reason):
        fetch_file(address.format(bucket=bucket), tmp_path)


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ValueError, match=r'need fsspec: pip install "intarsia\[remote\]"'):
        fetch_file("s3://bucket/a.png", tmp_path)


def test_offline(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network is asked for what is here."""
    monkeypatch.setenv(stores.OFFLINE, "1")
    with pytest.raises(ValueError, match="INTARSIA_OFFLINE is set"):
        fetch_file("s3://bucket/a.png", tmp_path)
    assert fetch_file(f"{bucket}/a.png", tmp_path).read_bytes() == b"a.png"


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ("s3://bucket/run", "s3://bucket/run: "), (Path("s3://bucket/run"), "s3://bucket/run: "),
        ("https://user:secret@host/x?key=1", "https://host/x: "), ("file:///data/run", r"give its path: /data/run$"),
        (Path("file:///data/run"), r"give its path: /data/run$"),
    ],
)  # fmt: skip
def test_an_address_is_no_place_to_write_to(place: str | Path, shown: str) -> None:
    with pytest.raises(ValueError, match=shown):
        refuse_output(place, "--out")


def test_no_folder_is_called_after_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"s3://bucket/a\.txt: this is written to a disk of this machine"):
        write_text("s3://bucket/a.txt", "x")
    monkeypatch.setenv(CACHE, "s3://bucket/cache")
    with pytest.raises(ValueError, match="INTARSIA_CACHE s3://bucket/cache"):
        cache_root()
    assert not list(tmp_path.iterdir())
    for fine in ("C:/x", "a:b/c", "run", Path("/x/s3"), "-", ""):
        refuse_output(fine, "--out")
