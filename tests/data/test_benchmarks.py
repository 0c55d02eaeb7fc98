"""The public benchmarks: against the facts of the original, and on trees of its layout."""

from __future__ import annotations

import gzip
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intarsia import catalog
from intarsia.config.build import build
from intarsia.config.errors import Problem
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower, lower_all
from intarsia.contracts import Dataset
from intarsia.data.datasets.change import LEVIR, TwoDates
from intarsia.data.datasets.family import Family
from intarsia.data.datasets.folder import FolderDataset
from intarsia.data.datasets.nyu import NYUDataset
from intarsia.data.description.model import IGNORE
from intarsia.data.labels import LabelTable
from intarsia.spec import Component
from intarsia.terminal import Notice
from intarsia.workflows.label_words import label_words

FAMILIES: dict[str, Family] = {
    name: part for name in catalog.names("dataset") if isinstance(part := catalog.resolve("dataset", name), Family)
} | {"LEVIRCDDataset": LEVIR}
LISTINGS = (
    Path(os.environ.get("INTARSIA_SHARED", Path(__file__).resolve().parents[3] / "shared"))
    / "facts/dataset_listings.json.gz"
)
LISTED: dict[str, Any] = json.loads(gzip.decompress(LISTINGS.read_bytes())) if LISTINGS.is_file() else {}
DEPTHS = {"NYUDataset"}
"""Data sets of depths, which have no classes of pixels."""

LOAD = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}]


def config(**values: Any) -> Config:
    head = {"type": "FCNHead", "in_channels": 64, "in_index": 3, "channels": 4, "num_classes": 7}
    backbone = {"type": "ResNet", "depth": 18, "base_channels": 8, "stem_channels": 8}
    content = {
        "model": {"type": "EncoderDecoder", "backbone": backbone, "decode_head": head},
        "train_dataloader": {"batch_size": 1, "dataset": {"pipeline": LOAD, **values}},
        "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": 1},
        "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1}},
    }
    return Config.from_values(content, file="benchmarks")


def problems_of(**values: Any) -> list[Problem]:
    return lower_all(config(**values)).problems


def component(**values: Any) -> Component:
    """The data set of a config."""
    spec = lower(config(**values))
    assert spec.train is not None
    return spec.train.dataset


def original_table(values: range, *, reduce: bool, mapping: dict[int, int] | None) -> list[int]:
    """What the original makes of file values of 8 bits: first the zero, then the map of the classes."""
    found = []
    for value in values:
        new = value
        if reduce:
            new = 255 if value in (0, 255) else value - 1
        found.append((mapping or {}).get(new, new))
    return found


def made(table: LabelTable, values: Sequence[int]) -> list[int]:
    pixels: list[int] = table.apply(np.array([values], np.uint8), file="values")[0].tolist()
    return pixels


# --- Facts --------------------------------------------------------------------------------------------------------


def test_every_benchmark_is_as_in_the_facts(shared: Path) -> None:
    facts = json.loads((shared / "facts" / "datasets.json").read_text())
    named = {name for name, fact in facts.items() if fact["classes"]}
    assert set(FAMILIES) == named - DEPTHS
    assert set(facts) <= set(catalog.names("dataset"))
    for name, family in FAMILIES.items():
        fact = facts[name]
        assert list(family.classes) == fact["classes"], name
        assert [list(colour) for colour in family.palette] == fact["palette"], name
        said = fact["defaults"]
        assert family.reduce_zero_label == said.get("reduce_zero_label", False), name
        if "img_suffix" in said:
            assert (family.image_suffix, family.label_suffix) == (said["img_suffix"], said["seg_map_suffix"]), name


@pytest.mark.skipif(not LISTED, reason=f"reference material not found at {LISTINGS} (set INTARSIA_SHARED)")
@pytest.mark.parametrize("name", LISTED)
def test_the_original_finds_the_same(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for split, record in LISTED[name].items():
        given_values = record["dataset"]
        for file in record["files"]:
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            Path(file).write_bytes(b"x")
        for file, text in record["lists"].items():
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            Path(file).write_text(text, encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Notice)
            dataset = build(component(**given_values))
        assert found(dataset) == [expected(sample) for sample in record["samples"]], split
        if given_values["type"] in DEPTHS:
            continue
        table = (dataset.datasets[0] if isinstance(dataset, TwoDates) else dataset).label_table
        sample, known = record["samples"][0], len(FAMILIES[given_values["type"]].classes)
        mapping = {int(old): new for old, new in sample["label_map"].items()} if sample["label_map"] else None
        reduce = sample["reduce_zero_label"]
        whole = original_table(range(256), reduce=reduce, mapping=mapping)
        values = [*range(known + reduce), 255]
        assert made(table, values) == [whole[value] for value in values], split


def found(dataset: Any) -> list[tuple[str, ...]]:
    if isinstance(dataset, NYUDataset):
        return list(dataset._files)
    if not isinstance(dataset, TwoDates):
        return list(dataset.pairs)
    first, second = dataset.datasets
    return [(first.paths(i)[0], second.paths(j)[0], first.paths(i)[1]) for i, j in enumerate(dataset._second)]


def expected(sample: dict[str, Any]) -> tuple[str, ...]:
    return tuple(
        str(Path(sample[key])) for key in ("img_path", "img_path2", "seg_map_path", "depth_map_path") if key in sample
    )


def test_the_documentation_lists_every_data_set() -> None:
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
    ours = {"DescribedDataset", "FolderDataset"}
    assert [name for name in catalog.names("dataset") if name not in ours and f"`{name}`" not in page] == []
    for name, family in FAMILIES.items():
        assert f"| `{name}` | {len(family.classes)} | `{family.root}`: " in page


# --- On files -----------------------------------------------------------------------------------------------------


def write(path: Path, value: int = 1, size: tuple[int, int] = (8, 9), bands: int = 3) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((*size, bands) if bands > 1 else size, value, np.uint8))


@pytest.fixture(params=sorted(FAMILIES))
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """A benchmark with two images of its training split."""
    family = FAMILIES[request.param]
    for stem in ("b", "a"):
        write(tmp_path / family.images / f"{stem}{family.image_suffix}")
        write(tmp_path / family.labels / f"{stem}{family.label_suffix}", bands=1)
        if request.param == "LEVIRCDDataset":
            write(tmp_path / "train/B" / f"{stem}.png", value=7)
    if family.split_file is not None:
        (tmp_path / family.split_file).parent.mkdir(parents=True)
        (tmp_path / family.split_file).write_text("b\na\n")
    return request.param, tmp_path


def test_a_benchmark_by_its_root_alone(tree: tuple[str, Path]) -> None:
    name, root = tree
    dataset = catalog.resolve("dataset", name)(root=str(root))
    assert isinstance(dataset, Dataset)
    assert [dataset.load(index).meta.name for index in range(len(dataset))] == (
        ["b", "a"] if FAMILIES[name].split_file else ["a", "b"]
    )
    sample = dataset.load(0)
    assert sample.image.shape == (8, 9, 6 if name == "LEVIRCDDataset" else 3)
    assert (sample.label == (0 if FAMILIES[name].reduce_zero_label else 1)).all()
    assert len(dataset.classes) == len(dataset.palette)


def test_what_is_missing_is_said(tree: tuple[str, Path]) -> None:
    name, root = tree
    family, make = FAMILIES[name], catalog.resolve("dataset", name)
    with pytest.raises(ValueError, match=r"nowhere: the image folder does not exist"):
        make(root=str(root), images="nowhere")
    with pytest.raises(ValueError, match=r"no images: nothing matches \*\*/\*\.tiff"):
        make(root=str(root), image_suffix=".tiff")
    (root / family.labels / f"a{family.label_suffix}").unlink()
    with pytest.raises(ValueError, match=r"1 of 2 images in .* have no label.*a" + family.label_suffix):
        make(root=str(root))
    assert make(root=str(root), labels=None).load(0).label is None


def test_a_folder_as_a_list_counts_for_nothing(tmp_path: Path) -> None:
    for stem in ("b", "a"):
        write(tmp_path / f"img/{stem}.jpg")
        write(tmp_path / f"gt/{stem}.png", bands=1)
    dataset = FolderDataset(root=str(tmp_path), images="img", labels="gt", split_file="gt", classes=("x", "y"))
    assert [dataset.name(index) for index in range(2)] == ["a", "b"]


# --- Some of the classes ------------------------------------------------------------------------------------------


@given(data=st.data(), reduce=st.booleans(), ignore=st.sampled_from([255, 254, 200]))
def test_a_choice_of_classes_is_numbered_as_by_the_original(data: st.DataObject, reduce: bool, ignore: int) -> None:
    family = FAMILIES[data.draw(st.sampled_from(sorted(FAMILIES)))]
    places = data.draw(st.lists(st.integers(0, len(family.classes) - 1), min_size=1, unique=True))
    classes = [family.classes[place] for place in places]
    whole = len(places) == len(family.classes) and places == sorted(places)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        table = family.table(classes, ignore_index=ignore, reduce_zero_label=reduce)
    assert [warning.category for warning in caught] == ([] if whole else [Notice])
    # Where the original writes 255, whatever is ignored, the ignored index stands here.
    mapping = {i: places.index(i) if i in places else ignore for i in range(len(family.classes))} | {255: ignore}
    values = range(len(family.classes) + reduce)
    assert made(table, list(values)) == original_table(values, reduce=reduce, mapping=mapping)
    assert family.colours(classes, None) == (
        family.palette if whole else [family.palette[place] for place in places]
    )  # in the order of the classes


def test_a_choice_is_told(tmp_path: Path) -> None:
    family = FAMILIES["LoveDADataset"]
    write(tmp_path / "img_dir/train/a.png")
    write(tmp_path / "ann_dir/train/a.png", value=4, bands=1)
    with pytest.warns(Notice, match=r"LoveDA: 2 of its 7 classes are used.*ignored: background, building, road, ba"):
        dataset = family(root=str(tmp_path), classes=("forest", "water"))
    assert (dataset.load(0).label == 1).all()
    assert dataset.palette == (family.palette[5], family.palette[3])
    with pytest.warns(Notice, match=r"LoveDA: its 7 classes are numbered in the order that `classes` gives them"):
        turned = family(root=str(tmp_path), classes=family.classes[::-1])
    assert (turned.load(0).label == 3).all()
    assert turned.palette == family.palette[::-1]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("water", "tram"), r"LoveDA has no class 'tram'; its classes are background, building"),
        (("water", "road", "water"), r"LoveDA: classes names 'water' twice"),
    ],
)
def test_other_classes_are_refused(tmp_path: Path, classes: Sequence[str], message: str) -> None:
    write(tmp_path / "img_dir/train/a.png")
    write(tmp_path / "ann_dir/train/a.png", bands=1)
    with pytest.raises(ValueError, match=message):
        FAMILIES["LoveDADataset"](root=str(tmp_path), classes=classes)


def test_names_of_ones_own_with_a_table_of_ones_own(tmp_path: Path) -> None:
    write(tmp_path / "img_dir/train/a.png")
    write(tmp_path / "ann_dir/train/a.png", value=3, bands=1)
    table = LabelTable({0: 255, 3: 1, 4: 0})
    dataset = FAMILIES["LoveDADataset"](root=str(tmp_path), classes=("dry", "wet"), label_table=table)
    assert (dataset.load(0).label == 1).all()
    assert len(set(dataset.palette)) == 2


def test_colours_for_the_whole_benchmark_go_with_the_classes() -> None:
    family = FAMILIES["DRIVEDataset"]
    own = [(1, 1, 1), (2, 2, 2)]
    assert family.colours(("vessel",), own) == [(2, 2, 2)]
    assert family.colours(("vessel", "background"), own) == own  # one each, as they are written
    assert FAMILIES["REFUGEDataset"].indices(("Optic Cup",)) == [1]  # the name has a space before it


# --- Real files ---------------------------------------------------------------------------------------------------

REAL = {
    "BDD100KDataset": ("pseudo_bdd100k_dataset", "images/10k/val", "labels/sem_seg/masks/val", 3),
    "LIPDataset": ("pseudo_lip_dataset", "val_images", "val_segmentations", 1),
    "LoveDADataset": ("pseudo_loveda_dataset", "img_dir", "ann_dir", 3),
    "MapillaryDataset_v1": ("pseudo_mapillary_dataset", "images", "v1.2", 1),
    "MapillaryDataset_v2": ("pseudo_mapillary_dataset", "images", "v2.0", 1),
    "PotsdamDataset": ("pseudo_potsdam_dataset", "img_dir", "ann_dir", 1),
    "REFUGEDataset": ("pseudo_refuge_dataset", "img_dir", "ann_dir", 1),
    "SynapseDataset": ("pseudo_synapse_dataset", "img_dir", "ann_dir", 2),
    "ISPRSDataset": ("pseudo_vaihingen_dataset", "img_dir", "ann_dir", 1),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files(realdata: Path, name: str) -> None:
    folder, images, labels, count = REAL[name]
    dataset = FAMILIES[name](root=str(realdata / "mmseg_tests_data" / folder), images=images, labels=labels)
    assert len(dataset) == count
    for label in labels_of(dataset):
        values = set(np.unique(label).tolist())
        assert values <= {*range(len(dataset.classes)), 255}
        assert values != {255}


def labels_of(dataset: FolderDataset) -> Iterator[Any]:
    for index in range(len(dataset)):
        sample = dataset.load(index)
        assert sample.label is not None
        assert np.array_equal(sample.label, dataset.label(index))
        yield sample.label


def test_label_values_in_words_are_those_of_the_whole_benchmark() -> None:
    classes = ["forest", "water"]
    chosen = component(type="LoveDADataset", metainfo={"classes": classes})
    words = label_words(chosen, classes, 255)
    assert {value: word for value, word in words.items() if word != IGNORE} == {"4": "water", "6": "forest"}
    assert {value for value, word in words.items() if word == IGNORE} == {"0", "1", "2", "3", "5", "7", "255"}
    two_dates = component(type="LEVIRCDDataset")
    assert label_words(two_dates, LEVIR.classes, 255) == {"0": "background", "1": "changed", "255": IGNORE}
