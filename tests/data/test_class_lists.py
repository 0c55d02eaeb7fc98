"""Class lists of all tools: what is read, what is named, and that nothing crashes on anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intarsia.data.doctor.class_lists import ClassEntry, class_list_files, is_told_by_name, read_class_list
from intarsia.data.doctor.class_names import cleaned, colour_of
from intarsia.data.doctor.class_trees import NoClassListError

RED, GREEN = (255, 0, 0), (0, 255, 0)

NUMBERED = [
    ("_classes.csv", "Pixel Value, Class\n1, leaf\n2, spot\n"),
    ("classes.csv", "class_id,class_name\n1,leaf\n2,spot\n"),
    ("classes.csv", "label,value\nleaf,1\nspot,2\n"),
    ("classes.csv", "ID;Name;Group\n1;leaf;plant\n2;spot;plant\n"),
    ("classes.csv", "1,leaf\n2,spot\n"),
    ("classes.tsv", "Idx\tRatio\tName\n1\t0.1\tleaf, foliage\n2\t0.2\tspot\n"),
    ("classes.csv", "Klasse,Wert\nleaf,1\nspot,2\n"),
    ("classes.txt", "leaf 1\nspot 2\n"),
    ("classes.txt", "1 leaf\n2 spot\n"),
    ("classes.txt", "1: leaf\n2: spot\n"),
    ("classes.txt", "leaf: 1\nspot: 2\n"),
    ("classes.txt", "leaf=1\nspot=2\n"),
    ("classes.txt", "leaf;1\nspot;2\n"),
    ("classes.txt", "1. leaf\n2. spot\n"),
    ("classes.json", '{"1": "leaf", "2": "spot"}'),
    ("classes.json", '{"leaf": 1, "spot": 2}'),
    ("classes.json", '[{"id": 1, "name": "leaf"}, {"id": 2, "name": "spot"}]'),
    ("classes.json", '{"categories": [{"id": 1, "name": "leaf"}, {"id": 2, "name": "spot"}], "images": []}'),
    ("dataset.json", '{"channel_names": {"0": "CT"}, "labels": {"leaf": 1, "spot": 2}}'),
    ("config.json", '{"id2label": {"1": "leaf", "2": "spot"}}'),
    ("data.yaml", "names:\n  1: leaf\n  2: spot\n"),
    ("label_map.pbtxt", "item {\n  id: 1\n  name: 'leaf'\n}\nitem { name: \"spot\" id: 2 }\n"),
]
COLOURED = [
    ("class_dict.csv", "name,r,g,b\nleaf,255,0,0\nspot,0,255,0\n"),
    ("classes.csv", "Red,Green,Blue,Class\n255,0,0,leaf\n0,255,0,spot\n"),
    ("class_mapping.csv", "class_name,class_color\nleaf,255 0 0\nspot,0 255 0\n"),
    ("classes.csv", "name;colour\nleaf;#ff0000\nspot;#00ff00\n"),
    ("classes.csv", 'name,rgb\nleaf,"(255, 0, 0)"\nspot,"(0, 255, 0)"\n'),
    ("label_colors.txt", "255 0 0\tleaf\n0 255 0\tspot\n"),
    ("label_colors.txt", "# r g b name\n255 0 0 leaf\n0 255 0 spot\n"),
    ("colormap.txt", "leaf 255 0 0\nspot 0 255 0\n"),
    ("colormap.txt", "leaf: (255, 0, 0)\nspot: (0, 255, 0)\n"),
    ("colormap.txt", "[255,0,0] leaf\n[0,255,0] spot\n"),
    ("colors.txt", "#ff0000 leaf\n#00ff00 spot\n"),
    ("colors.txt", "leaf #ff0000\nspot #00ff00\n"),
    ("labelmap.txt", "# label:color_rgb:parts:actions\nleaf:255,0,0::\nspot:0,255,0::\n"),
    ("palette.gpl", "GIMP Palette\nName: mine\nColumns: 2\n#\n255   0   0\tleaf\n  0 255   0\tspot\n"),
    ("classes.json", '{"leaf": [255, 0, 0], "spot": [0, 255, 0]}'),
    ("classes.json", '{"#ff0000": "leaf", "#00ff00": "spot"}'),
    ("classes.json", '{"leaf": {"color": "#ff0000"}, "spot": {"color": [0, 255, 0]}}'),
    ("meta.json", '{"classes": [{"title": "leaf", "color": "#FF0000"}, {"title": "spot", "color": "#00FF00"}]}'),
]
BARE = [
    ("classes.txt", "leaf\nspot\n"),
    ("classes.names", "leaf\nspot\n"),
    ("classes.csv", "name\nleaf\nspot\n"),
    ("labels.txt", "__ignore__\nleaf\nspot\n"),
    ("classes.txt", "'leaf'\n'spot'\n"),
    ("classes.txt", "leaf, spot\n"),
    ("classes.json", '["leaf", "spot"]'),
    ("data.yaml", "train: images/train\nnc: 2\nnames: [leaf, spot]\n"),
]


def read(folder: Path, name: str, text: str | bytes, stems: frozenset[str] = frozenset()) -> tuple[ClassEntry, ...]:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_class_list(folder, name, stems).entries


@pytest.mark.parametrize(("name", "text"), NUMBERED)
def test_names_with_numbers(name: str, text: str, tmp_path: Path):
    assert read(tmp_path, name, text) == (ClassEntry("leaf", 1), ClassEntry("spot", 2))


@pytest.mark.parametrize(("name", "text"), COLOURED)
def test_names_with_colours(name: str, text: str, tmp_path: Path):
    assert read(tmp_path, name, text) == (ClassEntry("leaf", None, RED), ClassEntry("spot", None, GREEN))


@pytest.mark.parametrize(("name", "text"), BARE)
def test_names_alone(name: str, text: str, tmp_path: Path):
    assert read(tmp_path, name, text) == (ClassEntry("leaf"), ClassEntry("spot"))


def test_label_descriptions_of_itk_snap(tmp_path: Path):
    text = """################
# ITK-SnAP Label Description File
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
    0     0    0    0        0  0  0    "Clear Label"
    1   255    0    0        1  1  1    "left lung"
    2     0  255    0     0.5  1  0    "spot 2"
"""
    wanted = (ClassEntry("background", 0, (0, 0, 0)), ClassEntry("left lung", 1, RED), ClassEntry("spot 2", 2, GREEN))
    assert read(tmp_path, "labels.txt", text) == wanted
    assert read(tmp_path, "snap.label", text) == wanted


@pytest.mark.parametrize(
    "text",
    ["1 leaf 255 0 0\n2 spot 0 255 0\n", "leaf 1 255 0 0\nspot 2 0 255 0\n", "1\tleaf\t#ff0000\n2\tspot\t#00ff00\n"],
)
def test_numbers_and_colours(text: str, tmp_path: Path):
    assert read(tmp_path, "labels.txt", text) == (ClassEntry("leaf", 1, RED), ClassEntry("spot", 2, GREEN))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_any_encoding(encoding: str, tmp_path: Path):
    entries = read(tmp_path, "classes.csv", "id,name\r\n0,Straße\r\n1,Müll\r\n".encode(encoding))
    assert entries == (ClassEntry("Straße", 0), ClassEntry("Müll", 1))


def test_words_for_nothing_and_for_the_background(tmp_path: Path):
    entries = read(tmp_path, "classes.txt", "_background_\nVoid\nno data\nleaf\n")
    assert [entry.name for entry in entries] == ["background", "ignore", "ignore", "leaf"]


def test_names_that_end_in_numbers_stay_names(tmp_path: Path):
    assert [e.name for e in read(tmp_path, "classes.txt", "crop 1\ncrop 2\n")] == ["crop 1", "crop 2"]
    assert [e.name for e in read(tmp_path, "classes.txt", "traffic light\nway 2\n")] == ["traffic light", "way 2"]


def test_synonyms_are_shortened_unless_that_makes_two_classes_one(tmp_path: Path):
    entries = read(tmp_path, "classes.csv", "Idx,Name\n1,screen;door\n2,screen;silver\n3,wall;plane\n")
    assert [entry.name for entry in entries] == ["screen door", "screen silver", "wall"]


def test_two_values_of_one_name_are_one_class(tmp_path: Path):
    entries = read(tmp_path, "classes.csv", "id,name\n1,car\n2,car\n3,road\n")
    assert entries == (ClassEntry("car", 1), ClassEntry("car", 2), ClassEntry("road", 3))


@pytest.mark.parametrize(
    ("text", "is_other", "why"),
    [
        ("a.png\nb.png\n", True, "lists files"),
        ("images/a.png masks/a.png\nimages/b.png masks/b.png\n", True, "lists files"),
        ("C:\\data\\a.jpg\r\nC:\\data\\b.jpg\r\n", True, "lists files"),
        ("one\ntwo\n", True, "lists files"),
        ("", False, "empty"),
        ("leaf\nleaf\n", False, "a name twice"),
        ("1 leaf\n1 spot\n", False, "number 1 stands for 'leaf' and 'spot'"),
        ("leaf 255 0 0\nspot 255 0 0\n", False, "stands for 'leaf' and 'spot'"),
        ("0 0.5 0.5 0.1 0.1\n", False, "neither names"),
        ("This folder holds what was collected in the summer of 2019 by the second group in the north.\n", False, "60"),
    ],
)
def test_what_is_no_class_list_is_told(text: str, is_other: bool, why: str, tmp_path: Path):
    with pytest.raises(NoClassListError, match=why) as error:
        read(tmp_path, "labels.txt", text, frozenset({"one", "two"}))
    assert error.value.is_other is is_other


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("train_labels.csv", "id,label\nimg1,dog\nimg2,cat\n"),
        ("classes.json", "{"),
        ("classes.json", "[" * 100_000),
        ("classes.json", '{"a": [1, 2]}'),
        ("data.yaml", "a: &a [x, x]\nnames: [*a, *a]\n"),
        ("data.yaml", "names: !!python/object/apply:os.system ['true']\n"),
        ("classes.yaml", "a: b: c\n"),
        ("label_map.pbtxt", "nothing\n"),
        ("labels.txt", b"\x00\x01\x02\x03"),
    ],
)
def test_foreign_and_hostile_files_are_refused(name: str, text: str | bytes, tmp_path: Path):
    with pytest.raises(NoClassListError):
        read(tmp_path, name, text)


def test_where_class_lists_are_looked_for(tmp_path: Path):
    names = (
        *("classes.txt", "train/_classes.csv", "label_class_dict.csv", "obj_class_to_machine_color.json"),
        *("objectInfo150.txt", "data.yaml", "idToLabel.json", "classNames.txt", "export/meta.json"),
        *("class_dict_seg.csv", "labels.label"),
        *("readme.txt", "train.txt", "a/b/c/d/classes.txt", "notes.md", "class.png"),
    )
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    assert set(class_list_files(tmp_path, names)) == set(names[:11])
    assert is_told_by_name("classes.txt")
    assert not is_told_by_name("meta.json")
    assert not is_told_by_name("train_labels.csv")


WORDS = st.text("abcdefgh XYZäß_-", min_size=1, max_size=12).filter(lambda t: t == t.strip() == cleaned(t))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(WORDS, min_size=2, max_size=12, unique=True), st.integers(0, 40), st.sampled_from("\t,;"))
def test_any_table_is_read_back(tmp_path: Path, names: list[str], first: int, mark: str):
    wanted = tuple(ClassEntry(name, first + index) for index, name in enumerate(names))
    rows = [f"{entry.number}{mark}{entry.name}" for entry in wanted]
    for text in ("\n".join(rows), "\n".join([f"id{mark}name", *rows]), json.dumps({e.name: e.number for e in wanted})):
        name = "classes.json" if text.startswith("{") else "classes.csv"
        assert read(tmp_path, name, text) == wanted


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.text("abcdefgh", min_size=2, max_size=8), st.tuples(*[st.integers(0, 255)] * 3), min_size=2),
    st.sampled_from(
        ["{0} {1} {2} {n}", "{n} {0} {1} {2}", "{n}:{0},{1},{2}::", "({0}, {1}, {2}): {n}", "{n}\t{0}\t{1}\t{2}"]
    ),
)
def test_any_colour_list_is_read_back(tmp_path: Path, colours: dict[str, tuple[int, int, int]], form: str):
    colours = {name: colour for name, colour in colours.items() if cleaned(name) == name}
    if len(set(colours.values())) < len(colours) or len(colours) < 2:
        return
    text = "\n".join(form.format(*colour, n=name) for name, colour in colours.items())
    assert read(tmp_path, "colors.txt", text) == tuple(ClassEntry(n, None, c) for n, c in colours.items())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["classes.txt", "classes.csv", "classes.json", "data.yaml", "label_map.pbtxt"]),
    st.one_of(st.binary(max_size=200), st.text(max_size=200), st.text("0123456789,;:\t\n {}[]\"'#abc", max_size=200)),
)
def test_nothing_crashes_the_reader(tmp_path: Path, name: str, content: bytes | str):
    try:
        entries = read(tmp_path, name, content if isinstance(content, bytes) else content.encode("utf-8", "replace"))
    except NoClassListError:
        return
    assert entries
    assert all(entry.name.strip() and len(entry.name) <= 60 for entry in entries)


@pytest.mark.parametrize(
    ("text", "colour"),
    [
        ("#c08000", (192, 128, 0)), ("C0FFEE", (192, 255, 238)), ("192 128 0", (192, 128, 0)),
        ("(192, 128, 0)", (192, 128, 0)), ("rgb(192,128,0)", (192, 128, 0)), ("192,128,0,255", (192, 128, 0)),
        ("300 0 0", None), ("1 2", None), ("red", None), ("123456", None), ("", None),
    ],
)  # fmt: skip
def test_colours(text: str, colour: tuple[int, int, int] | None):
    assert colour_of(text) == colour
