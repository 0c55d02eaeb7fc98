"""Data sets that a list of their own describes: DSDL and the Medical Segmentation Decathlon."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from test_benchmarks import component, problems_of

from intarsia.config.build import build
from intarsia.data.datasets.decathlon import DecathlonDataset
from intarsia.data.datasets.dsdl import DSDLSegDataset
from intarsia.data.pipeline import Pipeline
from intarsia.data.transforms.load_volumes import LoadBiomedicalAnnotation, LoadBiomedicalImageFromFile
from intarsia.terminal import Notice

CLASSES = """$dsdl-version: "0.5.0"
Rooms:
    $def: class_domain
    classes:
        - hall[indoors]
        - garden
"""
STRUCTURE = """$dsdl-version: "0.5.0"
Media:
    $def: struct
    $fields:
        image: Image
        shape: ImageShape
Sample:
    $def: struct
    $params: ['cdom']
    $fields:
        media: Media
        map: LabelMap[dom=$cdom]
"""
TOP = """$dsdl-version: "0.5.0"
$import:
    - ../defs/classes
    - ../defs/structure
meta:
    dataset_name: "rooms"
data:
    sample-type: Sample[cdom=Rooms]
    sample-path: samples.json
"""


def image(path: Path, value: int = 0, bands: int = 3) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((6, 7, bands) if bands > 1 else (6, 7), value, np.uint8))


@pytest.fixture
def dsdl(tmp_path: Path) -> Path:
    (tmp_path / "dsdl/defs").mkdir(parents=True)
    (tmp_path / "dsdl/set").mkdir()
    (tmp_path / "dsdl/defs/classes.yaml").write_text(CLASSES)
    (tmp_path / "dsdl/defs/structure.yaml").write_text(STRUCTURE)
    (tmp_path / "dsdl/set/train.yaml").write_text(TOP)
    samples = [{"media": {"image": f"img/{name}.png", "shape": [6, 7]}, "map": f"map/{name}.png"} for name in "ba"]
    (tmp_path / "dsdl/set/samples.json").write_text(json.dumps({"samples": samples}))
    for number, name in enumerate("ab", 1):
        image(tmp_path / f"raw/img/{name}.png")
        image(tmp_path / f"raw/map/{name}.png", number, bands=1)
    return tmp_path


def rooms(root: Path, **values: Any) -> Any:
    given = {"images": "raw", "labels": "raw", "split_file": "dsdl/set/train.yaml"}
    return DSDLSegDataset(root=str(root), **{**given, **values})


def test_a_description_in_dsdl(dsdl: Path) -> None:
    dataset = rooms(dsdl)
    assert dataset.classes == ("background", "hall", "garden")
    assert [Path(image).name for image, _ in dataset.pairs] == ["b.png", "a.png"]  # the order of the description
    assert [int(dataset.load(index).label.max()) for index in range(2)] == [2, 1]
    assert rooms(dsdl, labels=None).load(0).label is None


def test_used_labels_are_a_choice(dsdl: Path) -> None:
    with pytest.warns(Notice, match="1 of its 3 classes are used"):
        dataset = rooms(dsdl, used_labels=("garden",))
    assert [int(dataset.load(index).label.max()) for index in range(2)] == [0, 255]
    with pytest.raises(ValueError, match="no class 'attic'; its classes are background, hall, garden"):
        rooms(dsdl, used_labels=("attic",))


def test_a_config_names_it(dsdl: Path) -> None:
    prefix = {"img_path": "raw", "seg_map_path": "raw"}
    found = component(
        type="DSDLSegDataset", data_root=str(dsdl), ann_file="dsdl/set/train.yaml", data_prefix=prefix,
        used_labels=["hall", "garden"],
    )  # fmt: skip
    assert found.args["used_labels"] == ("hall", "garden")


def test_the_description_of_the_original_s_own_tests(realdata: Path, tmp_path: Path) -> None:
    shutil.copytree(realdata / "mmseg_tests_data/dsdl_seg", tmp_path / "dsdl")
    for stem in ("2007_000032", "2007_000039", "2007_000063"):
        image(tmp_path / f"VOC/JPEGImages/{stem}.jpg")
        image(tmp_path / f"VOC/SegmentationClass/{stem}.png", bands=1)
    dataset = rooms(tmp_path, images="VOC", labels="VOC", split_file="dsdl/set-train/train.yaml")
    assert len(dataset) == 3
    assert dataset.classes[:3] == ("background", "aeroplane", "bicycle")
    assert len(dataset.classes) == 21


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("set/train.yaml", "- a\n", r"train\.yaml: expected a DSDL description, a mapping of names, found list"),
        ("set/train.yaml", "a: [1", r"train\.yaml: not valid YAML"),
        ("set/train.yaml", "a: !!python/object/apply:os.system ['true']", r"train\.yaml: not valid YAML"),
        ("set/train.yaml", "a: 1\n", r"expected a section `data`"),
        ("set/train.yaml", TOP.replace("structure", "struct"), r"struct\.yaml: cannot be read: No such file"),
        ("set/train.yaml", TOP.replace("Sample[", "Other["), r"the structure Other of the samples is not defined"),
        ("set/train.yaml", TOP.replace("Sample[cdom=Rooms]", "[]"), r"data\.sample-type: expected a type such as"),
        ("set/train.yaml", TOP.replace("samples.json", "no.json"), r"no\.json: cannot be read: No such file"),
        ("set/train.yaml", TOP.replace("    sample-path: samples.json\n", ""), r"expected data\.sample-path"),
        ("defs/classes.yaml", CLASSES.replace("class_domain", "struct"), r"expected one class domain.*defined: none"),
        ("defs/classes.yaml", "Rooms:\n    $def: class_domain\n", r"Rooms\.classes: expected a list of names"),
        ("defs/structure.yaml", STRUCTURE.replace("LabelMap", "InsMap"), r"sample 0: its structure has no field of ty"),
        ("set/samples.json", "{", r"samples\.json: not valid JSON"),
        ("set/samples.json", "[]", r"samples\.json: expected a list `samples` that is not empty"),
        (
            "set/samples.json",
            '[{"map": "map/a.png"}]',
            r"sample 0: expected the path of a file in media\.image, found ",
        ),
        (
            "set/samples.json",
            '[{"media": {"image": "no.png"}, "map": "no.png"}]',
            r"2 of the files listed do not exist",
        ),
    ],
)
def test_what_is_wrong_in_dsdl_is_said(dsdl: Path, file: str, text: str, message: str) -> None:
    (dsdl / "dsdl" / file).write_text(text)
    with pytest.raises(ValueError, match=message):
        rooms(dsdl)


def test_dsdl_does_not_run_away(dsdl: Path) -> None:
    bomb = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]" for n in range(12))
    (dsdl / "dsdl/defs/classes.yaml").write_text(f"{bomb}\nRooms:\n    $def: class_domain\n    classes: *a11\n")
    start = time.process_time()
    with pytest.raises(ValueError, match="expected a list of names"):
        rooms(dsdl)
    (dsdl / "dsdl/defs/classes.yaml").write_text("Rooms: {$def: class_domain, classes: [a]}\n$import: [classes]\n")
    assert rooms(dsdl).classes == ("background", "a")  # an import of itself
    (dsdl / "dsdl/defs/structure.yaml").write_text("Sample: {$def: struct, $fields: {again: Sample}}\n")
    with pytest.raises(ValueError, match="the structure Sample"):
        rooms(dsdl)
    assert time.process_time() - start < 5


# --- Decathlon ----------------------------------------------------------------------------------------------------


def decathlon(root: Path, **changes: Any) -> Path:
    content = {
        "labels": {"0": "background", "2": "core", "1": "edge"},
        "training": [{"image": f"./tr/{n}.png", "label": f"./lb/{n}.png"} for n in "ba"],
        "test": ["./ts/c.png", "ts/d.png"],
    }
    (root / "dataset.json").write_text(json.dumps({**content, **changes}))
    for name in "ab":
        image(root / f"tr/{name}.png")
        image(root / f"lb/{name}.png", 2, bands=1)
    for name in "cd":
        image(root / f"ts/{name}.png")
    return root


def test_a_decathlon_lists_its_images(tmp_path: Path) -> None:
    dataset = DecathlonDataset(root=str(decathlon(tmp_path)))
    assert dataset.classes == ("background", "edge", "core")
    assert list(dataset.pairs) == [(str(tmp_path / f"tr/{n}.png"), str(tmp_path / f"lb/{n}.png")) for n in "ba"]
    assert (dataset.load(0).label == 2).all()


def test_its_list_of_tests_has_no_labels_and_keeps_its_root(tmp_path: Path) -> None:
    decathlon(tmp_path)
    values = {"type": "DecathlonDataset", "data_root": str(tmp_path), "ann_file": "dataset.json"}
    assert component(**values, test_mode=True).args["test_mode"] is True
    assert "test_mode" not in component(**values, test_mode=False).args
    dataset = DecathlonDataset(root=str(tmp_path), test_mode=True)
    assert list(dataset.pairs) == [(str(tmp_path / f"ts/{n}.png"), None) for n in "cd"]


def test_its_classes_can_be_chosen_or_renamed(tmp_path: Path) -> None:
    decathlon(tmp_path)
    with pytest.warns(Notice, match="2 of its 3 classes"):
        chosen = DecathlonDataset(root=str(tmp_path), classes=("core", "edge"))
    assert (chosen.load(0).label == 0).all()
    renamed = DecathlonDataset(root=str(tmp_path), classes=("nothing", "rim", "inside"))
    assert (renamed.load(0).label == 2).all()
    with pytest.raises(ValueError, match="no class 'rim'"):
        DecathlonDataset(root=str(tmp_path), classes=("rim", "inside"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": {"0": "a", "2": "b"}}, "labels: expected one number for each class, counting from 0"),
        ({"labels": {}}, "expected 'labels'"),
        ({"training": []}, "expected a list 'training' that is not empty"),
        ({"training": [3]}, r"training\[0\]: expected a path, or an image and a label, found 3"),
        ({"training": ["no.png"]}, r"1 of the files listed do not exist: no\.png"),
    ],
)
def test_what_is_wrong_in_a_decathlon_is_said(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DecathlonDataset(root=str(decathlon(tmp_path, **changes)))


def test_values_by_name_are_read_too(tmp_path: Path) -> None:
    dataset = DecathlonDataset(root=str(decathlon(tmp_path, labels={"core": 1, "background": 0, "edge": 2})))
    assert dataset.classes == ("background", "core", "edge")


def test_volumes_are_read_by_the_pipeline(realdata: Path, tmp_path: Path) -> None:
    (tmp_path / "tr").mkdir()
    for name in ("biomedical.nii.gz", "biomedical_ann.nii.gz"):
        shutil.copy(realdata / "mmseg_tests_data" / name, tmp_path / "tr" / name)
    pair = {"image": "./tr/biomedical.nii.gz", "label": "./tr/biomedical_ann.nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"0": "none", "1": "organ"}, "training": [pair]}))
    load = [{"type": "LoadBiomedicalImageFromFile"}, {"type": "LoadBiomedicalAnnotation"}]
    found = component(type="DecathlonDataset", data_root=str(tmp_path), ann_file="dataset.json", pipeline=load)
    assert found.args["files_only"] is True
    dataset = build(found)
    image, label = (tmp_path / pair[key] for key in ("image", "label"))
    assert list(dataset.pairs) == [(str(image), str(label))]
    sample = Pipeline(dataset, [LoadBiomedicalImageFromFile(), LoadBiomedicalAnnotation()]).get(
        0, np.random.default_rng(0)
    )
    assert sample.label is not None
    assert sample.image.shape[:3] == sample.label.shape
    with pytest.raises(ValueError, match="labels of volumes are read as they are"):
        DecathlonDataset(root=str(tmp_path), files_only=True, classes=("organ", "none"))
    [problem] = problems_of(type="BaseCDDataset", pipeline=load)
    assert problem.message == "volumes are read, but BaseCDDataset has images"


def test_volumes_are_refused_by_name(tmp_path: Path) -> None:
    decathlon(tmp_path, training=[{"image": "v.nii.gz", "label": "w.nii.gz"}])
    for name in ("v.nii.gz", "w.nii.gz"):
        (tmp_path / name).write_bytes(b"\x1f\x8b and more")
    dataset = DecathlonDataset(root=str(tmp_path))
    with pytest.raises(ValueError, match=r"v\.nii\.gz: is a volume \(NIfTI\), expected an image"):
        dataset.load(0)
