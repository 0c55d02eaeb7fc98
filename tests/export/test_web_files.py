"""Where the files of a page come from, and what it is made of; no browser."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from intarsia.data.transforms.resize import RandomResize, Resize, ResizeShortestEdge, ResizeToMultiple
from intarsia.export.web import runtime_files as source
from intarsia.export.web.page import SHOWN, WORKER, steps_of
from intarsia.weights import download

FOLDER = Path(source.__file__).parent


def packed(path: Path, *, version: str = source.VERSION, without: str = "") -> Path:
    """An archive as npm's are, with a few bytes in each file."""
    about = json.dumps({"name": source.PACKAGE, "version": version}).encode()
    names = [name for backend in source.BACKENDS.values() for name in backend.values() if name != without]
    with tarfile.open(path, "w:gz") as archive:
        for name, data in [("package.json", about), *((f"dist/{name}", name.encode()) for name in names)]:
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which nobody has set up a registry."""
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY", "NPM_CONFIG_GLOBALCONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NPM_CONFIG_USERCONFIG", str(tmp_path / "user" / ".npmrc"))
    (tmp_path / "user").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_registry_is_npms(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (alone / "user" / ".npmrc").write_text("fund=false\nregistry = https://${HOST}/npm/\n")
    monkeypatch.setenv("HOST", "mirror.example")
    assert source.registry() == "https://mirror.example/npm/"
    (alone / ".npmrc").write_text("registry=https://here.example/\n")
    assert source.registry() == "https://here.example/"
    monkeypatch.setenv("npm_config_registry", "https://first.example")
    assert source.registry() == "https://first.example"
    monkeypatch.setenv("npm_config_registry", "first.example")
    with pytest.raises(ValueError, match="npm_config_registry: expected the address of an npm registry"):
        source.registry()


def test_without_network_it_says_what_to_do(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(download.OFFLINE, "1")
    monkeypatch.setenv(download.CACHE, str(alone))
    with pytest.raises(download.DownloadError, match=r"--onnxruntime-web DIR\|TGZ"):
        source.runtime_files()


def test_what_is_not_the_published_archive_is_refused(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = packed(alone / "other.tgz")
    monkeypatch.setattr(source, "fetch", lambda address, sha256: path)
    with pytest.raises(download.DownloadError, match="is damaged or another file: its hash is sha512-"):
        source.runtime_files()


def test_archives_and_folders_are_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = packed(tmp_path / "package.tgz")
    found = source.runtime_files(path)
    assert found.version == source.VERSION
    assert found.files["ort.wasm.min.js"] == b"ort.wasm.min.js"
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path, filter="data")
    for folder in (tmp_path / "package", tmp_path / "package" / "dist"):
        assert source.runtime_files(folder) == found
    assert capsys.readouterr().err == ""
    source.runtime_files(packed(tmp_path / "old.tgz", version="1.20.0"))
    assert "is onnxruntime-web 1.20.0; tested is" in capsys.readouterr().err


def test_what_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "none.tgz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is no archive of onnxruntime-web"):
        source.runtime_files(tmp_path / "none.tgz")
    with pytest.raises(ValueError, match=r"found no ort\.wasm\.min\.js"):
        source.runtime_files(packed(tmp_path / "less.tgz", without="ort.wasm.min.js"))
    with pytest.raises(ValueError, match="found no ort"):
        source.runtime_files(tmp_path)
    with pytest.raises(ValueError, match="does not exist"):
        source.runtime_files(tmp_path / "absent")


def test_pipelines_that_a_page_does_not_know_are_named() -> None:
    known = [Resize((20, 10)), ResizeShortestEdge((30, 40), 90), ResizeToMultiple(32)]
    assert [step["kind"] for step in steps_of(known)] == ["exact", "shortest", "multiple"]
    with pytest.raises(ValueError, match=r"Resize \(area\)"):
        steps_of([Resize((20, 10), interpolation="area")])
    with pytest.raises(ValueError, match=r"Resize \(bilinear of Pillow\)"):
        steps_of([Resize((20, 10), backend="pillow")])
    with pytest.raises(ValueError, match="RandomResize draws its size"):
        steps_of([RandomResize((20, 10), ratio_range=(0.5, 2))])
    with pytest.raises(ValueError, match="pipeline has function"):
        steps_of([lambda sample, rng: sample])


def test_its_own_files_are_short_and_all_used() -> None:
    scripts = {path.name for path in FOLDER.glob("*.js")}
    assert scripts == {*SHOWN, *WORKER}
    for path in [*FOLDER.glob("*.js"), FOLDER / "index.html", FOLDER / "page.css"]:
        lines = path.read_text(encoding="utf-8").splitlines()
        assert len(lines) < 400, path
        assert max(map(len, lines)) <= 120, path
