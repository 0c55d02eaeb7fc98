"""From what somebody has written to weights on this machine."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from intarsia import recipes
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.guide.published import published
from intarsia.weights import download
from intarsia.weights.download import DownloadError, OfflineError
from intarsia.weights.file import WeightsMeta
from intarsia.workflows import locate as module
from intarsia.workflows.completed_meta import completed, meta_of
from intarsia.workflows.locate import UnknownWeightsError, known, locate

NAME = "fast_scnn_8xb4-160k_cityscapes-512x1024"
CONTENT = b"a file"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, an empty cache, no network; and a folder as a mirror, with a file for NAME and its hash."""
    one = published()[NAME]
    place = tmp_path / "mirror" / one.address.partition("://")[2]
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT)
    monkeypatch.setitem(published(), NAME, replace(one, sha256=hashlib.sha256(CONTENT).hexdigest()[:8]))
    monkeypatch.setenv(download.CACHE, str(tmp_path / "cache"))
    monkeypatch.setenv(download.MIRROR, str(tmp_path / "mirror"))
    monkeypatch.setenv(download.OFFLINE, "1")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def test_what_is_there_stays_what_it_is(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "a.pth").write_bytes(b"")
    for given in ("a.pth", here / "a.pth", str(here)):
        assert locate(given) == module.Located(Path(given))
        assert known(given)
    monkeypatch.setenv("HOME", str(here))
    assert locate("~/a.pth").path == here / "a.pth"
    (here / NAME).mkdir()
    assert locate(NAME) == module.Located(Path(NAME)), "a file or folder goes before a published name"


def test_a_published_name_is_a_file_and_a_recipe(here: Path) -> None:
    one = published()[NAME]
    for name in (NAME, Path(NAME), one.file, one.address, f"{NAME}.pth"):
        found = locate(name)
        assert found.path.read_bytes() == CONTENT
        assert found.checkpoint is one
        assert known(name)
    other = published()["cgnet_fcn_4xb4-60k_cityscapes-680x680"]
    with pytest.raises(OfflineError, match=f"fetch {other.address} and put it at "):
        locate(other.recipe)
    assert known(other.recipe), "which fetches nothing"


def test_a_file_of_another_hash_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(published(), NAME, replace(published()[NAME], sha256="00000000"))
    with pytest.raises(DownloadError, match=f"another file: .* begins with {hashlib.sha256(CONTENT).hexdigest()[:8]}"):
        locate(NAME)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fast_scnn", f"; did you mean {NAME}\\?$"),
        (f"weights/{published()[NAME].file}", f"; the checkpoint of this name is fetched if you write {NAME}$"),
        ("weights.safetensors", r"published checkpoint \(intarsia models list\)$"),
        ("ftp://owner/name", r"published checkpoint \(intarsia models list\)"),
    ],
)
def test_unknown_words(here: Path, name: str, said: str) -> None:
    with pytest.raises(UnknownWeightsError, match=said) as caught:
        locate(name)
    assert str(caught.value).startswith(f"{name} does not exist (in {here}); expected a weights file, the folder of a ")
    assert not known(name)


def test_weights_of_the_web_are_not_fetched_and_that_is_said(here: Path) -> None:
    with pytest.raises(
        UnknownWeightsError, match="weights of others are not fetched from the web: download it"
    ) as said:
        locate("https://host/run/weights.safetensors?signature=secret")
    assert "secret" not in str(said.value)


def test_a_prefix_is_handed_on_whole(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fetched(text: str) -> Path:
        asked.append(text)
        return here / "found"

    monkeypatch.setattr(module, "BY_PREFIX", {"xy://": fetched})
    assert known("xy://owner/name")
    assert locate("xy://owner/name") == module.Located(here / "found")
    assert asked == ["xy://owner/name"]


def test_every_published_name_is_located_by_its_address_and_hash(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All 626: what is fetched is the address that ends in the digits that are expected."""
    asked: dict[str, str] = {}

    def fetch(address: str, *, sha256: str = "") -> Path:
        asked[address] = sha256
        return here / "found"

    monkeypatch.undo()
    monkeypatch.setattr(module, "fetch", fetch)
    names = list(published())
    assert [locate(name).checkpoint.recipe for name in names] == names  # type: ignore[union-attr]
    assert len(asked) == 626
    assert all(address.endswith(f"{digits}.pth") and len(digits) == 8 for address, digits in asked.items())


def test_classes_and_colours_of_every_published_checkpoint() -> None:
    """As many as its network has outputs, else they would be numbered; of depth, the kinds of rooms that it is told."""
    seen = {}
    for one in published().values():
        meta = meta_of(one)
        assert len(set(meta.classes)) == len(meta.classes)
        assert not any(name.startswith("class ") for name in meta.classes), one.recipe
        assert len(meta.palette) == (0 if one.data == "NYU" else len(meta.classes)), one.recipe
        first = next(iter(one.scores.items()))
        assert meta.scores[first[0]] == pytest.approx(first[1] if first[0] == "RMSE" else first[1] / 100)
        seen[one.data] = meta
    assert seen["Cityscapes"].classes[:2] == ("road", "sidewalk")
    assert seen["Cityscapes"].palette[0] == (128, 64, 128)
    assert seen["ADE20K"].labels["0"] == "ignore"
    assert seen["ADE20K"].labels["1"] == seen["ADE20K"].classes[0] == "wall"
    assert seen["Mapillary Vistas v1.2"].classes[0] == "Bird"
    assert len(seen["Mapillary Vistas v1.2"].classes) == 65
    assert (seen["NYU"].classes[1], len(seen["NYU"].classes)) == ("bathroom", 27)


def test_what_weights_say_themselves_stays() -> None:
    spec = lower(Config.from_values(recipes.get(NAME), file="test"))
    names = tuple(f"{number}" for number in range(19))
    meta = completed(WeightsMeta(classes=names, labels={"7": "3"}, step=5), spec)
    assert (meta.classes, meta.palette, dict(meta.labels), meta.step) == (names, (), {"7": "3"}, 5)
    assert meta.config == spec.source
    other = replace(spec, inference=replace(spec.inference, num_classes=3))
    assert completed(WeightsMeta(), other).classes == ("class 0", "class 1", "class 2"), "of 19, for 3 outputs"
    bare = replace(spec, train=None, val=None, test=None)
    assert completed(WeightsMeta(), bare).classes[-1] == "class 18"
