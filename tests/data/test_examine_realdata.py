"""The data doctor on real data sets. Figures are counted again here, the slow and obvious way, with Pillow alone."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from intarsia.data.description.model import DataDescription, LabelValue
from intarsia.data.description.read import read_description
from intarsia.data.description.splits import ShareSplit
from intarsia.data.description.write import write_description
from intarsia.data.doctor.examine import examine
from intarsia.data.doctor.findings import Findings


def counted(files: list[Path]) -> Counter[LabelValue]:
    total: Counter[LabelValue] = Counter()
    for path in files:
        with Image.open(path) as image:
            array = np.asarray(image)
        if array.ndim == 3:
            codes, counts = np.unique(array.astype(np.int64) @ [65536, 256, 1], return_counts=True)
            keys: list[LabelValue] = [(int(code) >> 16, int(code) >> 8 & 255, int(code) & 255) for code in codes]
        else:
            values, counts = np.unique(array.astype(np.int64), return_counts=True)
            keys = [int(value) for value in values]
        total.update(dict(zip(keys, (int(count) for count in counts), strict=True)))
    return total


def pixels(found: Findings) -> Counter[LabelValue]:
    return Counter({row.value: sum(row.pixels.values()) for row in found.values})


def check(found: Findings, label_files: list[Path], tmp_path: Path) -> DataDescription:
    """What must hold for every data set; gives the proposal back."""
    assert pixels(found) == counted(label_files)
    for split in found.splits:
        assert sum(row.shares[split.name] for row in found.values) == pytest.approx(1.0)
    assert found.ok, [finding.text for finding in found.problems]
    proposal = found.proposal()
    write_description(proposal, tmp_path / "data.yaml")
    assert read_description(tmp_path / "data.yaml") == proposal
    for split in proposal.splits:
        for index in range(len(proposal.dataset(split))):
            label = proposal.dataset(split).load(index).label
            assert label is not None
            assert label.max() <= 255
            break
    return proposal


def test_camvid(realdata: Path, tmp_path: Path):
    root = realdata / "camvid"
    before = time.process_time()
    found = examine(root)
    assert time.process_time() - before < 3.0  # seconds of processor time; the wall clock has other tenants
    proposal = check(found, sorted(root.glob("*annot/*.png")), tmp_path)
    assert [(split.name, split.pairs) for split in found.splits] == [("train", 62), ("val", 21)]
    assert proposal.classes == (
        "Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist",
    )  # fmt: skip
    assert proposal.labels == {**dict(enumerate(proposal.classes)), 11: "ignore"}
    assert proposal.colours[3] == (128, 64, 128)
    train = counted(sorted((root / "trainannot").iterdir()))
    assert next(split.valid for split in found.splits) == pytest.approx(1 - train[11] / sum(train.values()))
    assert found.skipped == {".md": 1}
    count, sums, squares = 0, np.zeros(3), np.zeros(3)
    for path in sorted((root / "train").iterdir()):
        label = np.asarray(Image.open(root / "trainannot" / path.name))
        valid = np.asarray(Image.open(path))[label != 11].astype(np.float64)
        count, sums, squares = count + len(valid), sums + valid.sum(0), squares + (valid**2).sum(0)
    np.testing.assert_allclose(found.mean, sums / count, rtol=1e-5)
    np.testing.assert_allclose(found.std, np.sqrt(squares / count - (sums / count) ** 2), rtol=1e-5)


def test_camvid_without_its_palette_is_known_by_its_file_names(realdata: Path, tmp_path: Path):
    for name in ("train", "trainannot", "val", "valannot"):
        (tmp_path / name).symlink_to(realdata / "camvid" / name)
    found = examine(tmp_path, limit=8)
    assert found.proposal().labels[11] == "ignore"  # type: ignore[index]
    assert [finding.kind for finding in found.warnings if "CamVid" in finding.text] == ["names guessed"]


def test_an_unknown_eleven_stays_a_class_and_is_mentioned(realdata: Path, tmp_path: Path):
    for folder, source in (("images", "val"), ("labels", "valannot")):
        (tmp_path / folder).mkdir()
        for number, file in enumerate(sorted((realdata / "camvid" / source).iterdir())):
            (tmp_path / folder / f"street{number:03}.png").symlink_to(file)
    found = examine(tmp_path, limit=8)
    assert found.proposal().num_classes == 12
    assert any("0 or the last one" in note for note in found.notes)


def test_nuclei(realdata: Path, tmp_path: Path):
    root = realdata / "dsb2018_nuclei"
    found = examine(root)
    proposal = check(found, sorted((root / "masks").iterdir()), tmp_path)
    assert proposal.labels == {0: "background", 1: "foreground"}
    assert isinstance(proposal.splits["val"], ShareSplit)
    assert sum(split.pairs for split in found.splits) == 67
    assert 9 <= len(proposal.pairs("val")) <= 18
    assert found.images is not None
    assert found.images.modes == {"RGBA": 67}
    sizes = Counter(Image.open(path).size[::-1] for path in (root / "images").iterdir())
    assert dict(found.images.sizes) == sizes
    assert [(entry.labels, entry.role, entry.pairs) for entry in found.alternatives] == [("instances", "instance", 67)]
    assert (proposal.bands, proposal.channels) == ("rgb", 3)
    assert proposal.dataset("train").load(0).image.shape[2] == 3


def test_nuclei_instances_are_told_from_classes(realdata: Path):
    found = examine(realdata / "dsb2018_nuclei", labels="instances")
    finding = next(finding for finding in found.warnings if finding.kind == "instance numbers")
    assert "masks" in finding.advice


def test_cracks(realdata: Path, tmp_path: Path):
    root = realdata / "crackforest"
    found = examine(root)
    proposal = check(found, sorted((root / "masks").iterdir()), tmp_path)
    assert proposal.labels == {0: "background", 1: "foreground", 255: "ignore"}
    assert any(note.startswith("255 is ignored") for note in found.notes)
    assert sum(split.pairs for split in found.splits) == 40
    assert found.skipped == {".mat": 40, ".md": 1}


def test_membranes(realdata: Path, tmp_path: Path):
    root = realdata / "isbi2012_membrane"
    found = examine(root)
    proposal = check(found, sorted((root / "train/label").iterdir()), tmp_path)
    assert proposal.labels == {0: "background", 255: "foreground"}
    assert any("255 is the second class, not ignore" in note for note in found.notes)
    assert found.images is not None
    assert found.images.modes == {"L": 15}
    assert proposal.mean is not None
    assert proposal.mean[0] == proposal.mean[1] == proposal.mean[2]


def test_crops_and_weeds(realdata: Path, tmp_path: Path):
    root = realdata / "cwfid"
    found = examine(root)
    proposal = check(found, sorted((root / "annotations").glob("*.png")), tmp_path)
    assert proposal.labels == {(0, 0, 0): "background", (0, 255, 0): "green", (255, 0, 0): "red"}
    assert proposal.palette == ((0, 0, 0), (0, 255, 0), (255, 0, 0))
    assert found.labels is not None
    assert found.labels.kind == "colours"
    assert [entry.labels for entry in found.alternatives] == ["masks/*_mask"]
    masks = examine(root, labels="masks").proposal()
    assert masks.labels == {0: "background", 1: "foreground"}


def test_coco_stuff(realdata: Path, tmp_path: Path):
    root = realdata / "coco_stuff_samples"
    found = examine(root)
    proposal = check(found, sorted(root.glob("*_label/*.png")), tmp_path)
    assert proposal.labels is not None
    assert proposal.labels[255] == "ignore"
    assert proposal.num_classes == len(counted(sorted(root.glob("*_label/*.png")))) - 1
    assert [(split.name, split.pairs) for split in found.splits] == [("train", 13), ("val", 8)]
    assert any(finding.kind == "class absent from val" for finding in found.warnings)


def test_ade20k(realdata: Path, tmp_path: Path):
    root = realdata / "ade20k_samples"
    found = examine(root)
    proposal = check(found, sorted((root / "annotations").iterdir()), tmp_path)
    assert proposal.num_classes == 150
    assert proposal.labels is not None
    assert (proposal.labels[0], proposal.labels[1], proposal.labels[150]) == ("ignore", "wall", "flag")
    assert any("the class list object" in note for note in found.notes)
    assert [entry.role for entry in found.alternatives] == ["prediction"]


def test_labelme_in_the_layout_of_pascal_voc(realdata: Path, tmp_path: Path):
    root = realdata / "labelme_voc_samples/semantic_segmentation/data_dataset_voc"
    proposal = check(examine(root), sorted((root / "SegmentationClass").glob("*.png")), tmp_path)
    assert proposal.classes[0] == "background"
    assert proposal.num_classes == 21
    assert proposal.labels is not None
    assert proposal.labels[255] == "ignore"


@pytest.mark.parametrize(
    ("folder", "train", "val", "labels"),
    [
        ("pseudo_loveda_dataset", 2, 1, "ann_dir"),
        ("pseudo_bdd100k_dataset", 3, 3, "labels/sem_seg/masks/train"),
        ("pseudo_lip_dataset", 1, 1, "train_segmentations"),
        ("pseudo_dataset", 4, 1, "gts"),
        ("pseudo_cityscapes_dataset", 1, 0, "gtFine/val/frankfurt"),
    ],
)
def test_benchmark_trees(folder: str, train: int, val: int, labels: str, realdata: Path):
    found = examine(realdata / "mmseg_tests_data" / folder)
    assert {split.name: split.pairs for split in found.splits} == {"train": train, **({"val": val} if val else {})}
    rule = found.proposal().splits["train"]
    assert rule.source.labels == labels  # type: ignore[union-attr]


def test_cityscapes_is_known_by_its_file_names(realdata: Path):
    proposal = examine(realdata / "mmseg_tests_data/pseudo_cityscapes_dataset").proposal()
    assert proposal.classes[:3] == ("road", "sidewalk", "building")
    assert proposal.colours[0] == (128, 64, 128)


def test_a_folder_of_many_data_sets_does_not_break_it(realdata: Path):
    found = examine(realdata / "mmseg_tests_data")
    assert found.alternatives
