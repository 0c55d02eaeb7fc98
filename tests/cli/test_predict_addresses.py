"""``intarsia predict`` with addresses: images and scenes of stores and of the web, results into a store."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from object_store import object_store

import intarsia
from intarsia.cli.main import main
from intarsia.inference.outputs.remote_folder import RemoteFolder
from intarsia.io import stores
from intarsia.io.stores import fetch_file, list_files, put_file

fsspec = pytest.importorskip("fsspec")

KINDS = "label,overlay,rle"


@pytest.fixture(autouse=True)
def with_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(stores.OFFLINE, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def store() -> str:
    return f"memory://{uuid.uuid4().hex}"


def fill(folder: Path, address: str) -> str:
    for file in folder.rglob("*"):
        if file.is_file():
            put_file(file, f"{address}/{file.relative_to(folder).as_posix()}")
    return address


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stored(address: str, folder: Path) -> dict[str, bytes]:
    """What lies below an address."""
    folder.mkdir(exist_ok=True)
    return {file.relative: fetch_file(file.address, folder).read_bytes() for file in list_files(address)}


def predict(*words: str | Path) -> int:
    return main(["predict", *map(str, words), "--device", "cpu"])


def test_a_folder_into_a_folder(
    weights: Path, photos: Path, store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same files with the same content as on this machine; a broken image is named; parts, and going on."""
    here, there, scratch = tmp_path / "here", f"{store}/out/", tmp_path / "scratch"
    assert predict(weights, photos, "-o", here, "--save", KINDS) == 0
    (photos / "broken.png").write_bytes((photos / "a_1.png").read_bytes()[:300])
    fill(photos, f"{store}/photos")
    assert predict(weights, f"{store}/photos", "-o", there, "--save", KINDS, "--part", "1/2") == 1
    first = stored(there, scratch)
    assert predict(weights, f"{store}/photos/", "-o", there, "--save", KINDS, "--part", "2/2") == 0
    assert f"failed: {store}/photos/broken.png: the file is cut off after 300 bytes" in capsys.readouterr().err
    (photos / "broken.png").unlink()
    missing = f"{store}/out/b/c.png"
    stores.remove_file(missing)
    assert predict(weights, f"{store}/photos/", "-o", there, "--save", KINDS, "--skip-existing") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "1 of 5 images (3 were done before)" in said
    assert f"annotations of 4 images: {store}/out/annotations.json" in said
    assert 0 < len(first) < len(contents(here))
    assert stored(there, scratch) == contents(here)


def test_results_are_never_taken_for_images(weights: Path, photos: Path, store: str, tmp_path: Path) -> None:
    """Among the images and below them; and they are not mixed with those of another model."""
    address = fill(photos, f"{store}/photos")
    assert predict(weights, address, "-o", address + "/out", "--save", "color,overlay,probs") == 0
    before = stored(address, tmp_path / "scratch")
    assert predict(weights, address, "-o", address + "/out", "--save", "color,overlay,probs") == 0
    assert stored(address, tmp_path / "scratch") == before
    assert len(before) == 4 + 4 * 3 + 1


def test_another_models_results(
    weights: Path, photos: Path, store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "intarsia.json").write_text(
        json.dumps({"made_by": "intarsia predict", "model": {"weights": "other"}, "options": {}})
    )
    put_file(tmp_path / "intarsia.json", f"{store}/out/intarsia.json")
    assert predict(weights, photos, "-o", f"{store}/out", "--save", "label") == 2
    assert f"{store}/out holds results of another model" in " ".join(capsys.readouterr().err.split())


def test_an_image_is_not_overwritten(
    weights: Path, photos: Path, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(weights, fill(photos, store), "-o", store, "--save", "label") == 2
    assert "would be overwritten, and it is one of the images" in " ".join(capsys.readouterr().err.split())


def test_what_cannot_be_put_is_named(
    weights: Path,
    photos: Path,
    store: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The others are done, nothing of the one is there, and nothing stays on this machine."""
    send, opened, made = RemoteFolder.send, stores.opened, set[Path]()

    def noted(self: RemoteFolder, file: Path, *, keep: bool = False) -> None:
        made.add(self.folder)
        send(self, file, keep=keep)

    def closed(address: str) -> tuple[object, str]:
        if address.endswith("a_2.png"):
            raise PermissionError
        return opened(address)

    monkeypatch.setattr(stores, "opened", closed)
    monkeypatch.setattr(RemoteFolder, "send", noted)
    assert predict(weights, photos, "-o", store, "--save", "label") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert f"a_2.png: label {store}/a_2.png: may not be written: forbidden" in said
    assert set(stored(store, tmp_path / "scratch")) == {"a_1.png", "a_10.png", "b/c.png", "intarsia.json"}
    assert made
    assert not any(folder.exists() for folder in made)


@pytest.mark.slow
def test_two_processes(weights: Path, photos: Path, tmp_path: Path, web: str) -> None:
    """Each fetches for itself."""
    inputs = [f"file://{photos}", f"{web}/photos/a_1.png"]
    options: list[tuple[str, list[str]]] = [("one", []), ("two", ["--devices", "cpu:2"])]
    for out, devices in options:
        assert predict(weights, *inputs, "-o", tmp_path / out, "--save", "label", *devices) == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert len(contents(tmp_path / "one")) == 6


# --- The web ------------------------------------------------------------------------------------------------------


class _Web(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Web, directory=str(tmp_path))) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.05))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_images_of_the_web(
    weights: Path, photos: Path, tmp_path: Path, web: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One into a file, many from a list; what is missing is named, and no signature is shown."""
    assert predict(weights, photos / "a_1.png", "-o", tmp_path / "here.png") == 0
    assert predict(weights, f"{web}/photos/a_1.png?key=secret", "-o", tmp_path / "there.png") == 0
    assert (tmp_path / "there.png").read_bytes() == (tmp_path / "here.png").read_bytes()
    (photos / "with blank.png").write_bytes((photos / "a_1.png").read_bytes())
    names = ["photos/a_1.png?key=secret", "photos/with%20blank.png", "photos/none.png?key=secret"]
    (tmp_path / "list.txt").write_text("".join(f"{web}/{name}\n" for name in names))
    assert predict(weights, f"@{tmp_path}/list.txt", "-o", tmp_path / "out", "--save", "label") == 1
    said = capsys.readouterr().err
    assert f"failed: {web}/photos/none.png: no such file or folder" in said
    assert "secret" not in said
    assert set(contents(tmp_path / "out")) == {"a_1.png", "with blank.png", "intarsia.json"}


def test_in_python(weights: Path, photos: Path, store: str, web: str) -> None:
    model = intarsia.load(weights, device="cpu")
    wanted = model.predict(photos / "a_2.png")
    found = model.predict(f"{web}/photos/a_2.png")
    assert found.name == "a_2"
    assert np.array_equal(found.label, wanted.label)
    address = fill(photos, store)
    assert [each.name for each in model.predict(address)] == ["a_1", "a_2", "a_10", "b/c"]
    assert [each.name for each in model.predict(f"{address}/a_1*.png")] == ["a_1", "a_10"]
    many = model.predict([f"{address}/a_2.png", f"{web}/none.png"])
    assert np.array_equal(next(many).label, wanted.label)
    assert list(many) == []
    assert many.failures == [(f"{web}/none.png", "no such file or folder")]
    with pytest.raises(ValueError, match=r"none\.png: no such file or folder"):
        model.predict(f"{web}/none.png")


# --- An object store ----------------------------------------------------------------------------------------------


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a bucket of a stand-in for S3."""
    with object_store(monkeypatch) as store:
        bucket = f"photos{uuid.uuid4().hex}"  # the stand-in forgets nothing while this process lives
        store.mkdir(bucket)
        yield f"s3://{bucket}"


@pytest.mark.slow
def test_photos_and_scenes_of_an_object_store(
    weights: Path, photos: Path, tmp_path: Path, s3: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is made of them is put beside them, going on, too; scenes are read by GDAL; two processes write at once."""
    rasterio = pytest.importorskip("rasterio")
    fields = np.random.default_rng(0).integers(1, 256, (3, 96, 128), dtype=np.uint8)
    scene = photos / "b/scene.tif"
    where = {"crs": "EPSG:32633", "transform": rasterio.transform.from_origin(400000, 5500000, 0.5, 0.5)}
    with rasterio.open(scene, "w", driver="GTiff", count=3, height=96, width=128, dtype="uint8", **where) as file:
        file.write(fields)
    here = tmp_path / "here"
    assert predict(weights, photos, "-o", here, "--save", "label") == 0
    address = fill(photos, f"{s3}/in put")
    words = ["-o", f"{address}/labels", "--save", "label", "--skip-existing"]
    assert predict(weights, address, *words, "--part", "1/2") == 0
    assert predict(weights, address, *words, "--devices", "cpu:2") == 0
    assert "failed" not in capsys.readouterr().err
    found = stored(f"{address}/labels", tmp_path / "scratch")
    assert found == contents(here)
    assert predict(weights, address, *words) == 0
    said = capsys.readouterr().err
    assert "all 4 images were done before" in said
    assert "all 1 rasters were done before" in said
    assert predict(weights, f"{address}/b/scene.tif", "-o", tmp_path / "scene.tif", "--save", "label") == 0
    assert (tmp_path / "scene.tif").read_bytes() == found["b/scene.tif"]
    assert predict(weights, f"{s3}2/in", "-o", tmp_path / "none") == 2
    assert f"{s3}2/in: no such file" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_large_files_are_put_in_one(s3: str, tmp_path: Path) -> None:
    """An object of several parts is there whole, or not at all."""
    file = tmp_path / "large.npy"
    file.write_bytes(bytes(60_000_000))
    put_file(file, f"{s3}/large.npy")
    assert [(each.relative, each.size) for each in list_files(s3)] == [("large.npy", 60_000_000)]


@pytest.mark.slow
def test_a_store_that_is_not_there(
    weights: Path, photos: Path, s3: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # before a file system was made here
    assert predict(weights, photos, "-o", f"{s3}/out") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"{s3}/out: cannot be read: nobody answers there (AWS_ENDPOINT_URL is http://127.0.0.1:9)" in said


# --- What is refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["ftq://host/a.png", "-o", "out"], "ftq:// is not known here"),
        (["{store}/none/", "-o", "out"], "no such file, and no folder with files in it"),
        (["https://host/photos/", "-o", "out"], "the web has no folders that could be listed"),
        (["{photos}", "-o", "https://host/out"], "nothing can be written to the web"),
        (["{photos}", "-o", "file:///tmp/out"], "a folder of this machine is given as its path: /tmp/out"),
        (["{photos}", "-o", "foo://x/out"], "foo:// is not known here"),
        (["{photos}", "-o", "out", "--areas", "s3://x/areas.csv"], "the table is written to this machine"),
        (["{store}/film.mp4", "-o", "out"], "videos are read from this machine"),
        (["{store}/volume.nii.gz", "-o", "out"], "volumes are read from this machine"),
        (["{store}/pages.tif", "-o", "out", "--pages", "all"], "pages are counted in files of this machine"),
    ],
)
def test_what_is_refused(
    words: list[str],
    reason: str,
    weights: Path,
    photos: Path,
    store: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [word.format(store=store, photos=photos) for word in words]
    assert predict(weights, *given) == 2
    assert any(each in " ".join(capsys.readouterr().err.split()) for each in reason.split("|"))
    assert not (tmp_path / "out").exists()


def test_a_run_that_goes_on_is_on_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--resume", "s3://bucket/runs/first"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "--resume s3://bucket/runs/first: this is written to a disk of this machine" in said


def test_redirections_without_an_end() -> None:
    """What they led to may have a signature, which is not shown."""

    class TooManyRedirects(Exception):  # noqa: N818 (a name of aiohttp)
        status = 0

    with (
        pytest.raises(ValueError, match=r"^https://host/a\.png: cannot be read: TooManyRedirects$"),
        stores.store_errors("https://host/a.png?key=secret"),
    ):
        raise TooManyRedirects("https://other/a.png?key=secret")


def test_nobody_who_asks(
    weights: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class NoCredentialsError(Exception):
        """As botocore's, which is found by its name."""

    def fails(address: str) -> object:
        raise NoCredentialsError("Unable to locate credentials")

    monkeypatch.setattr(stores, "opened", fails)
    assert predict(weights, "s3://bucket/photos/", "-o", "out") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "s3://bucket/photos/: may not be read" in said
    assert "AWS_PROFILE, or FSSPEC_S3_ANON=true" in said


def test_data_are_on_this_machine(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of evaluation and training, whoever is asked; with the way out."""
    description = tmp_path / "data.yaml"
    description.write_text("root: s3://bucket/data\nclasses: [a, b]\nsplits: {val: {images: a, labels: b}}\n")
    for words, address in (
        (["eval", str(weights), "--data", "s3://bucket/data"], "s3://bucket/data"),
        (["eval", str(weights), "--data", str(description)], "data.yaml:1: root: s3://bucket/data"),
        (["train", "fast_scnn", "--data", "s3://b/data.yaml", "--out", str(tmp_path / "run")], "s3://b/data.yaml"),
        (["data", "check", "https://host/data"], "https://host/data"),
    ):
        assert main(words) == 2
        said = " ".join(capsys.readouterr().err.split())
        assert f"{address}: data for training and evaluation are read from this machine" in said
        assert "aws s3 sync s3://BUCKET/FOLDER FOLDER" in said or "https" in address
