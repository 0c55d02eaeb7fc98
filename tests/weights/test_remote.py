"""Weights in object stores: copied whole into the cache, anew where they have changed, and nothing else is asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from object_store import object_store

from intarsia.weights import remote
from intarsia.weights.remote import fetch_remote
from intarsia.workflows.locate import locate

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("INTARSIA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("INTARSIA_OFFLINE", raising=False)
    memory = fsspec.filesystem("memory")
    memory.pipe("/runs/first/weights.safetensors", b"first")
    yield memory
    memory.rm("/runs", recursive=True)


def test_a_file_and_the_folder_of_a_run(store: Any) -> None:
    for address in ("memory://runs/first", "memory://runs/first/", "memory://runs/first/weights.safetensors"):
        found = locate(address).path
        assert (found.name, found.read_bytes()) == ("weights.safetensors", b"first")


def test_what_has_changed_is_fetched_again_and_else_it_is_kept(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    address = "memory://runs/first"
    first = fetch_remote(address)
    with monkeypatch.context() as patched:
        patched.setattr(remote, "_copy", lambda *words: pytest.fail("it was there"))
        assert fetch_remote(address) == first
    store.pipe("/runs/first/weights.safetensors", b"second")
    assert fetch_remote(address).read_bytes() == b"second"


def test_a_file_address(store: Any, tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(b"here")
    assert locate(f"file://{tmp_path}/weights.safetensors").path.read_bytes() == b"here"


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("memory://runs/second", "does not exist"),
        ("memory://runs", "does not exist; expected a weights file, or a folder with weights.safetensors"),
        ("s3://simplecache::memory://runs/first", "addresses within addresses"),
    ],
)
def test_what_is_not_there(store: Any, address: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        fetch_remote(address)


def test_what_is_too_large_or_grows_meanwhile(store: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(remote, "LARGEST", 4)
        with pytest.raises(ValueError, match="5 bytes, more than 4"):
            fetch_remote("memory://runs/first")
    monkeypatch.setattr(type(store), "size", lambda self, path: 3)
    with pytest.raises(ValueError, match="has changed while it was fetched"):
        fetch_remote("memory://runs/first")
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]


def test_offline(store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTARSIA_OFFLINE", "1")
    with pytest.raises(ValueError, match="INTARSIA_OFFLINE is set"):
        fetch_remote("s3://runs/first")
    (tmp_path / "weights.safetensors").write_bytes(b"of this machine")
    for address, content in (("memory://runs/first", b"first"), (tmp_path.as_uri(), b"of this machine")):
        assert fetch_remote(address).read_bytes() == content


@pytest.mark.slow
def test_an_object_store(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with object_store(monkeypatch) as s3:
        content = np.random.default_rng(0).bytes(9_000_000)  # more than one block
        s3.mkdir("bucket1")
        s3.pipe("bucket1/runs/first/weights.safetensors", content)
        assert locate("s3://bucket1/runs/first").path.read_bytes() == content
        with pytest.raises(ValueError, match="does not exist"):
            fetch_remote("s3://bucket1/runs/second.pth")
