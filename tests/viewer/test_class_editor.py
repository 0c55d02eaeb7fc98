"""Other names and colours in a description: wherever a class is mentioned, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from intarsia.data.description.read import read_description
from intarsia.viewer.class_editor import ClassEditor, renamed

ALL = """\
root: .
classes: [sky, road, car]
labels: {0: ignore, 1: sky, 2: road, 5: car, 6: car}
splits:
  train:
    - {images: a, labels: b}
    - images: c
      labels: {road: "c/*_r.png", car: "c/*_c.png"}
  val:
    images: d
    annotations: {format: coco, file: d.json, classes: {van: car, thing: ignore}}
  test: {share: 0.5, of: train}
"""


def stored(folder: Path, text: str = ALL) -> Path:
    file = folder / "data.yaml"
    file.write_text(text)
    return file


def test_every_mention_of_a_class_changes(tmp_path: Path) -> None:
    before = read_description(stored(tmp_path))
    colours = ((1, 1, 1), (2, 2, 2), (3, 3, 3))
    after = renamed(before, ["heaven", "car", "road"], colours)  # two of them swapped
    assert after.classes == ("heaven", "car", "road")
    assert after.palette == colours
    assert after.labels == {0: "ignore", 1: "heaven", 2: "car", 5: "road", 6: "road"}
    joined, drawn = after.splits["train"], after.splits["val"]
    masks = [(mask.class_name, mask.suffix) for part in joined.parts for mask in part.source.masks]  # type: ignore[union-attr]
    assert masks == [("car", "_r.png"), ("road", "_c.png")]
    annotations = drawn.source.annotations  # type: ignore[union-attr]
    assert dict(annotations.classes) == {
        "van": "road", "thing": "ignore", "sky": "heaven", "road": "car", "car": "road",
    }  # fmt: skip
    assert after.splits["test"] == before.splits["test"]
    assert replace(after, classes=before.classes, palette=None, labels=before.labels, splits=before.splits) == before


def test_what_is_not_changed_stays(tmp_path: Path) -> None:
    before = read_description(stored(tmp_path))
    assert renamed(before, before.classes, before.colours) == before
    assert before.palette is None


def test_the_file_is_written_and_every_older_one_kept(tmp_path: Path) -> None:
    file = stored(tmp_path, "# mine\n" + ALL)
    editor = ClassEditor(file)
    black = [[0, 0, 0]] * 3
    assert editor.save(["a", " b ", "c"], black).name == "data.yaml.bak"
    assert read_description(file).classes == ("a", "b", "c")
    assert editor.save(["d", "e", "f"], black).name == "data.yaml.bak2"
    assert (tmp_path / "data.yaml.bak").read_text() == "# mine\n" + ALL
    assert read_description(tmp_path / "data.yaml.bak2").classes == ("a", "b", "c")
    assert read_description(file) == editor.description
    assert read_description(file).root == tmp_path


def test_a_file_that_somebody_else_has_changed_is_left_alone(tmp_path: Path) -> None:
    file = stored(tmp_path)
    editor = ClassEditor(file)
    file.write_text(ALL + "# new\n")
    with pytest.raises(ValueError, match="has been changed since it was opened"):
        editor.save(["a", "b", "c"], [[0, 0, 0]] * 3)
    assert file.read_text() == ALL + "# new\n"
    assert list(tmp_path.iterdir()) == [file]


BLACK = [[0, 0, 0]] * 3


@pytest.mark.parametrize(
    ("classes", "palette", "message"),
    [
        (["a", "b"], BLACK[:2], "a name and a colour for each of 3 classes"),
        (["a", "b", "c"], BLACK[:2], "a name and a colour for each of 3 classes"),
        ("abc", BLACK, "a name and a colour for each of 3 classes"),
        (None, None, "a name and a colour for each of 3 classes"),
        (["a", "b", 3], BLACK, "printable letters"),
        (["a", "b", "c\nd: e"], BLACK, "printable letters"),
        (["a", "b", "c" * 201], BLACK, "printable letters"),
        (["a", "b", "c"], [[0, 0, 0], [0, 0, 0], [0, 0, 256]], "three numbers from 0 to 255"),
        (["a", "b", "c"], [[0, 0, 0], [0, 0, 0], [0, 0]], "three numbers from 0 to 255"),
        (["a", "b", "c"], [[0, 0, 0], [0, 0, 0], [True, 0, 0]], "three numbers from 0 to 255"),
        (["a", "b", "c"], [[0, 0, 0], [0, 0, 0], "red"], "three numbers from 0 to 255"),
        (["a", "a", "c"], BLACK, "listed twice"),
        (["a", "ignore", "c"], BLACK, "cannot be the name"),
        (["a", " ", "c"], BLACK, "cannot be the name"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    tmp_path: Path, classes: Any, palette: Any, message: str
) -> None:
    file = stored(tmp_path)
    with pytest.raises(ValueError, match=message):
        ClassEditor(file).save(classes, palette)
    assert file.read_text() == ALL
    assert list(tmp_path.iterdir()) == [file]
