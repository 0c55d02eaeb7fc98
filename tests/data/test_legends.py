"""Which class list fits the values of the labels, and what is said of what is guessed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from painted import areas, kinds, one, pairs, picture, save, table

from intarsia.data.doctor.class_lists import ClassEntry, ClassList
from intarsia.data.doctor.examine import examine
from intarsia.data.doctor.legends import fit_legend

THREE = [areas(index) for index in range(6)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("_classes.csv", "Pixel Value, Class\n0, background\n1, leaf\n2, spot\n"),
        ("classes.csv", "class_id,class_name\n0,background\n1,leaf\n2,spot\n"),
        ("classes.txt", "background 0\nleaf 1\nspot 2\n"),
        ("classes.txt", "background\nleaf\nspot\n"),
        ("train/_classes.csv", "Pixel Value, Class\n0, background\n1, leaf\n2, spot\n"),
        ("obj_class_to_machine_color.json", '{"background": [0, 0, 0], "leaf": [1, 1, 1], "spot": [2, 2, 2]}'),
    ],
)
def test_what_is_written_is_believed(name: str, text: str, tmp_path: Path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    found = examine(pairs(tmp_path, THREE))
    assert table(found) == {0: "background", 1: "leaf", 2: "spot"}
    assert not {kind for kind in kinds(found.warnings) if "guess" in kind}


def test_names_without_a_background_count_from_one_and_that_is_a_warning(tmp_path: Path):
    (tmp_path / "classes.txt").write_text("leaf\nspot\n")
    found = examine(pairs(tmp_path, THREE))
    assert table(found) == {0: "background", 1: "leaf", 2: "spot"}
    assert "counted from 1" in one(found.warnings, "names guessed").text


def test_names_that_could_count_from_one_are_a_warning(tmp_path: Path):
    (tmp_path / "classes.txt").write_text("leaf\nspot\nstem\nroot\n")
    found = examine(pairs(tmp_path, THREE))
    assert table(found)[0] == "leaf"
    assert "3 (root) does not occur" in one(found.warnings, "names guessed").text


@pytest.mark.parametrize("high", [1, 255])
def test_one_name_is_that_of_the_foreground(high: int, tmp_path: Path):
    (tmp_path / "classes.txt").write_text("crack\n")
    assert table(examine(pairs(tmp_path, [areas(i, 2) * high for i in range(6)]))) == {0: "background", high: "crack"}


def test_0_without_a_name_is_the_background_where_it_covers_most(tmp_path: Path):
    (tmp_path / "classes.csv").write_text("id,name\n1,leaf\n2,spot\n")
    found = examine(pairs(tmp_path, THREE))
    assert table(found)[0] == "background"
    assert "write `0: ignore`" in one(found.warnings, "name guessed").advice


def test_0_without_a_name_is_ignored_where_it_covers_little(tmp_path: Path):
    labels = [label + 1 for label in THREE]
    for label in labels:
        label[0] = 0
    (tmp_path / "classes.csv").write_text("id,name\n1,ground\n2,leaf\n3,spot\n")
    found = examine(pairs(tmp_path, labels))
    assert table(found)[0] == "ignore"
    assert one(found.warnings, "name guessed")


def test_a_list_of_files_is_no_class_list(tmp_path: Path):
    (tmp_path / "labels.txt").write_text("".join(f"x{index}\n" for index in range(6)))
    found = examine(pairs(tmp_path, THREE))
    assert found.proposal().classes == ("class_0", "class_1", "class_2")
    assert "class list not used" not in kinds(found.warnings)


def test_what_cannot_be_read_is_named(tmp_path: Path):
    (tmp_path / "classes.csv").write_text("id,label\nfirst,dog\nsecond,cat\n")
    assert "classes.csv could not be read" in one(examine(pairs(tmp_path, THREE)).warnings, "class list not used").text


def test_lists_that_disagree_are_told(tmp_path: Path):
    (tmp_path / "classes.txt").write_text("background\nleaf\nspot\n")
    (tmp_path / "labels.csv").write_text("id,name\n0,background\n1,spot\n2,leaf\n")
    found = examine(pairs(tmp_path, THREE))
    assert table(found)[1] == "spot"
    assert (
        "classes.txt gives other names than the class list labels.csv"
        in one(found.warnings, "class lists disagree").text
    )


def test_red_and_blue_exchanged_are_told(tmp_path: Path):
    colours = np.array([(0, 0, 0), (0, 0, 200), (10, 120, 0)], np.uint8)
    (tmp_path / "label_colors.txt").write_text("0 0 0 background\n200 0 0 leaf\n0 120 10 spot\n")
    found = examine(pairs(tmp_path, [colours[label] for label in THREE]))
    assert table(found)[0, 0, 200] == "leaf"
    assert one(found.warnings, "colours guessed")


def test_the_folder_of_a_benchmark_says_nothing(tmp_path: Path):
    """Many tools write SegmentationClass, and many people trainannot, for classes of their own."""
    for index, label in enumerate(THREE):
        save(tmp_path / f"voc/JPEGImages/x{index}.jpg", picture(index))
        save(tmp_path / f"voc/SegmentationClass/x{index}.png", label)
        save(tmp_path / f"camvid/train/x{index}.png", picture(index, (360, 480)))
        save(tmp_path / f"camvid/trainannot/x{index}.png", areas(index, 3, (360, 480)))
    for name in ("voc", "camvid"):
        assert examine(tmp_path / name).proposal().classes == ("class_0", "class_1", "class_2")


def test_names_of_a_benchmark_by_its_files_are_a_warning(tmp_path: Path):
    for index, label in enumerate(THREE):
        save(tmp_path / f"JPEGImages/2007_{index:06}.jpg", picture(index))
        save(tmp_path / f"SegmentationClass/2007_{index:06}.png", label)
    found = examine(tmp_path)
    assert found.proposal().classes[1] == "aeroplane"
    assert "those of Pascal VOC" in one(found.warnings, "names guessed").text


def test_a_list_fits_what_it_lists():
    counts: Counter = Counter({0: 50, 1: 30, 2: 20})
    entries = tuple(ClassEntry(name, number) for number, name in enumerate("abc"))
    legend = fit_legend(ClassList("x", entries), counts)
    assert not isinstance(legend, str)
    assert legend.names == {0: "a", 1: "b", 2: "c"}
    assert "no name for 7" in str(fit_legend(ClassList("x", entries), Counter({0: 1, 7: 1})))
    assert "no colours" in str(fit_legend(ClassList("x", entries), Counter({(0, 0, 0): 1, (9, 9, 9): 1})))
