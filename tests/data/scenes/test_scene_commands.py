"""What commands make of scenes besides training on them, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("rasterio")
pytest.importorskip("pyogrio")

from drawn_scenes import noise, triangles, write_scene, write_shapes

from intarsia.data.description.model import DataDescription
from intarsia.data.description.splits import ShareSplit
from intarsia.data.scenes.rule import SceneSplit
from intarsia.workflows.names import typical_size, usable_data
from intarsia.workflows.trained_model import given_data


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_scene(tmp_path / "land/scenes/north.tif", noise(256, 320))
    write_shapes(tmp_path / "land/things.geojson", triangles(25, 256, 320))
    return tmp_path / "land"


def test_a_window_is_the_size_that_recipes_are_fitted_to(place: Path) -> None:
    description, _ = usable_data(place)
    assert typical_size(description) == (128, 128)
    rule = SceneSplit(("scenes",), "things.geojson", column="kind", window=512)
    small = DataDescription(
        root=place,
        classes=("background", "roof", "pool"),
        labels={0: "background", 1: "roof", 2: "pool"},
        splits={"train": rule},
    )
    assert typical_size(small) == (256, 320)


def test_all_blocks_are_evaluated_where_none_was_set_aside(place: Path) -> None:
    proposed, _ = usable_data(place)
    assert isinstance(proposed.splits["val"], ShareSplit)
    whole = given_data(place, "val")
    assert len(whole.pairs("val")) == len(proposed.pairs("train")) + len(proposed.pairs("val"))
