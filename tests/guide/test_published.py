"""The published checkpoints, and the names that stand for them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from intarsia import recipes
from intarsia.guide import published as index
from intarsia.guide.models import expected_size, models
from intarsia.guide.networks import data_of
from intarsia.guide.published import find_published, near_names, published


@pytest.fixture(scope="module")
def zoo(shared: Path) -> list[dict]:
    return json.loads((shared / "facts" / "zoo.json").read_text())


def test_the_file_is_current_and_written_once(zoo: list[dict], shared: Path, publishing: ModuleType) -> None:
    assert publishing.written() == publishing.render(zoo), "run `python scripts/published.py .../zoo.json`"
    before = publishing.TARGET.stat().st_mtime_ns
    publishing.main([str(shared / "facts" / "zoo.json")])
    assert publishing.TARGET.stat().st_mtime_ns == before, "what says the same is not written again"
    assert publishing.TARGET.stat().st_size < 40_000


def test_every_checkpoint_of_the_list_has_a_name(zoo: list[dict], publishing: ModuleType) -> None:
    there = {one.address: one for one in published().values()}
    assert len(there) == len(published()) == len(zoo) == 626
    for entry in zoo:
        found = there[entry["weights"].replace(publishing.MISSPELT_ADDRESS, publishing.ADDRESS)]
        assert dict(found.scores) == {name: value for name, value in entry["metrics"].items() if value is not None}
        assert find_published(found.recipe) is found
        assert find_published(entry["name"]) is not None, "the list's own word for it"


def test_every_checkpoint_is_of_a_recipe_and_its_address_ends_in_its_hash() -> None:
    assert set(published()) <= set(recipes.names())
    for recipe, one in published().items():
        assert one.recipe == recipe
        assert re.fullmatch(r"https://download\.openmmlab\.com/mmsegmentation/v0\.5/[\w./+=-]+\.pth", one.address)
        assert re.fullmatch(r"[0-9a-f]{8}", one.sha256)
        assert one.file.endswith((f"-{one.sha256}.pth", f"_{one.sha256}.pth"))
    by_model = [one for model in models() for one in model.checkpoints]
    assert sorted(one.recipe for one in by_model) == sorted(published())


def test_the_data_sets_are_those_of_the_recipes() -> None:
    words = {data_of(recipe): set() for recipe in published()}
    for recipe, one in published().items():
        words[data_of(recipe)].add(one.data)
    assert {data: len(said) for data, said in words.items() if len(said) != 1} == {}
    assert words["cityscapes"] == {"Cityscapes"}
    assert words["nyu"] == {"NYU"}


@pytest.mark.parametrize(
    "name",
    [
        "fast_scnn_8xb4-160k_cityscapes-512x1024",
        "fast_scnn_8xb4-160k_cityscapes-512x1024.py",
        "fast_scnn_8xb4-160k_cityscapes-512x1024.pth",
        "fast_scnn_lr0.12_8x4_160k_cityscapes_20210630_164853-0cec9937",
        "fast_scnn_lr0.12_8x4_160k_cityscapes_20210630_164853-0cec9937.pth",
        "https://download.openmmlab.com/mmsegmentation/v0.5/fast_scnn/fast_scnn_lr0.12_8x4_160k_cityscapes/"
        "fast_scnn_lr0.12_8x4_160k_cityscapes_20210630_164853-0cec9937.pth",
    ],
)
def test_names_of_one(name: str) -> None:
    found = find_published(name)
    assert found is not None
    assert found.recipe == "fast_scnn_8xb4-160k_cityscapes-512x1024"
    assert (found.sha256, found.score) == ("0cec9937", ("mIoU", 70.96))


def test_files_are_known_by_their_names() -> None:
    for one in published().values():
        assert find_published(one.file) is one


@pytest.mark.parametrize(
    "name", ["", "fast_scnn", "a.pth", "runs/fast_scnn_8xb4-160k_cityscapes-512x1024", "https://example.org/a.pth"]
)
def test_what_is_no_name(name: str) -> None:
    assert find_published(name) is None


def test_words_of_the_list_that_no_recipe_has(publishing: ModuleType) -> None:
    """Where a word of the list is a recipe's, too, that recipe's checkpoint is meant."""
    for word, recipe in publishing.MISSPELT.items():
        assert find_published(word) is published()[recipe]
        assert word not in recipes.names()
    for recipe in publishing.OTHERS.values():
        assert find_published(recipe) is published()[recipe]


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("fast_scnn", ["fast_scnn_8xb4-160k_cityscapes-512x1024"]),
        (
            "segformer_mit-b0",
            ["segformer_mit-b0_8xb2-160k_ade20k-512x512", "segformer_mit-b0_8xb1-160k_cityscapes-1024x1024"],
        ),
        ("fast_scn_8xb4-160k_cityscapes-512x1024", ["fast_scnn_8xb4-160k_cityscapes-512x1024"]),
        ("work/Fast_SCNN_8xb4-160k_cityscapes-512x1024.PTH", ["fast_scnn_8xb4-160k_cityscapes-512x1024"]),
        ("pspnet_r50-d8_512x1024_80k_cityscapes.py", ["pspnet_r50-d8_4xb2-80k_cityscapes-512x1024"]),  # of 0.x
        ("qqqq", []),
        ("", []),
    ],
)
def test_near_names(name: str, near: list[str]) -> None:
    found = near_names(name)
    assert found[: len(near)] == near
    assert len(found) <= 3
    assert bool(found) == bool(near)


def test_the_best_known_data_come_first() -> None:
    assert "_ade20k-" in near_names("pspnet_r50-d8")[0]
    assert near_names("pspnet_r50-d8", most=20)[-1].startswith("pspnet_r50-d8")


def test_checkpoints_are_with_the_recipe_that_their_file_names() -> None:
    """The schedule and the size of what was trained on, where the file's name has them."""
    for one in published().values():
        steps = re.findall(r"_(\d+)k_", one.file)
        assert not steps or int(steps[0]) * 1000 == recipes.published(one.recipe).steps or (
            one.recipe in recipes_that_say_another_length()
        ), (one.recipe, one.file)  # fmt: skip
        sizes = [size for size in re.findall(r"_(\d{2,4}x\d{2,4})_", one.file) if size in one.recipe or "x" in size]
        assert not sizes or any(size in one.recipe for size in sizes), (one.recipe, one.file)


def recipes_that_say_another_length() -> set[str]:
    from intarsia.recipes.published import MISNAMED

    return set(MISNAMED)


def test_two_checkpoints_never_stand_with_one_recipe(zoo: list[dict], publishing: ModuleType) -> None:
    """Nine did in the list that they are from."""
    twice = [zoo[0], {**zoo[0], "weights": zoo[1]["weights"]}]
    with pytest.raises(ValueError, match=rf"{zoo[0]['name']}: expected one checkpoint, found .* and "):
        publishing.render(twice)


def test_an_address_elsewhere_is_refused(publishing: ModuleType) -> None:
    with pytest.raises(ValueError, match="expected a checkpoint below"):
        publishing.file_of({"name": "a", "weights": "https://example.org/a.pth"})


def test_the_index_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    published()
    monkeypatch.setattr(index, "_read", None)
    assert published() is published()


def test_sizes_are_those_of_the_parameters() -> None:
    from intarsia.config.build import build_task
    from intarsia.config.language.reader import Config
    from intarsia.config.lowering.lower import lower

    one = published()["fast_scnn_8xb4-160k_cityscapes-512x1024"]
    model = build_task(lower(Config.from_values(recipes.get(one.recipe), file="test"))).model
    assert expected_size(one) == sum(4 * value.numel() for value in model.parameters())
    unknown = [one.recipe for one in published().values() if expected_size(one) is None]
    assert len(unknown) < 5
