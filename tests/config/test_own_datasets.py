"""Data set classes of a copy of MMSegmentation, read as data."""

from __future__ import annotations

from pathlib import Path

import pytest

from intarsia.config.language.reader import read_file
from intarsia.config.lowering.lower import Lowered, lower_all
from intarsia.spec import RunSpec

CONFIG = """
pipeline = [dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"), dict(type="PackSegInputs")]
model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(type="SegDataPreProcessor", mean=[0.0] * 3, std=[1.0] * 3),
    backbone=dict(type="MixVisionTransformer"),
    decode_head=dict(type="SegformerHead", in_channels=[32, 64, 160, 256], in_index=[0, 1, 2, 3], channels=256,
                     num_classes=2, dropout_ratio=0.1, norm_cfg=dict(type="BN"), align_corners=False),
)
val_dataloader = dict(batch_size=1, num_workers=0, dataset=dict(type="MelonDataset", data_root="d", pipeline=pipeline))
val_evaluator = dict(type="IoUMetric")
val_cfg = dict(type="ValLoop")
"""
CLASS = """
from mmseg.registry import DATASETS
from .basesegdataset import BaseSegDataset
raise SystemExit("this file must not be run")

@DATASETS.register_module()
class MelonDataset(BaseSegDataset):
    METAINFO = dict(classes=("rind", "flesh"), palette=[[1, 2, 3], [4, 5, 6]])

    def __init__(self, img_suffix=".tif", seg_map_suffix="_mask.png", **kwargs):
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, reduce_zero_label=True, **kwargs)
"""


def lowered(folder: Path, text: str = CONFIG, **files: str) -> Lowered:
    for name, content in files.items():
        file = folder / f"{name.replace('__', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    (folder / "configs" / "melon").mkdir(parents=True, exist_ok=True)
    (folder / "configs" / "melon" / "config.py").write_text(text, encoding="utf-8")
    return lower_all(read_file(folder / "configs" / "melon" / "config.py"))


def spec_of(found: Lowered) -> RunSpec:
    assert found.spec is not None
    assert not found.problems, found.problems
    return found.spec


@pytest.mark.parametrize(
    ("file", "imports"),
    [("mmseg__datasets__melon", None), ("mmseg__datasets__melon", "mmseg.datasets.melon"), ("own__melon", "own.melon")],
)
def test_a_class_in_the_project_is_read(file: str, imports: str | None, tmp_path: Path) -> None:
    text = CONFIG if imports is None else f"{CONFIG}\ncustom_imports = dict(imports=[{imports!r}])\n"
    found = lowered(tmp_path, text, **{file: CLASS})
    spec = spec_of(found)
    assert spec.val is not None
    dataset = spec.val.dataset
    assert dataset.type == "BaseSegDataset"
    assert dataset.args == {
        "root": "d", "image_suffix": ".tif", "label_suffix": "_mask.png", "reduce_zero_label": True,
        "classes": ("rind", "flesh"), "palette": ((1, 2, 3), (4, 5, 6)),
    }  # fmt: skip
    assert spec.imports == ()
    assert any("was read as data" in note for note in found.notes)


def test_the_config_has_the_last_word(tmp_path: Path) -> None:
    text = CONFIG.replace('data_root="d"', 'data_root="d", img_suffix=".jpg", metainfo=dict(classes=("a", "b"))')
    spec = spec_of(lowered(tmp_path, text, mmseg__datasets__melon=CLASS))
    assert spec.val is not None
    assert spec.val.dataset.args["image_suffix"] == ".jpg"
    assert spec.val.dataset.args["classes"] == ("a", "b")


def test_names_and_colours_of_before_version_1(tmp_path: Path) -> None:
    old = 'class MelonDataset(CustomDataset):\n    CLASSES = ("x", "y")\n    PALETTE = [[0, 0, 0], [9, 9, 9]]\n'
    spec = spec_of(lowered(tmp_path, mmseg__datasets__melon=old))
    assert spec.val is not None
    assert spec.val.dataset.args["classes"] == ("x", "y")


def test_classes_in_the_config_need_no_class(tmp_path: Path) -> None:
    found = lowered(tmp_path, CONFIG.replace('data_root="d"', 'metainfo=dict(classes=("a", "b"))'))
    spec = spec_of(found)
    assert spec.val is not None
    assert spec.val.dataset.type == "BaseSegDataset"
    assert any("with the classes of its metainfo" in note for note in found.notes)


def test_a_class_that_reads_files_in_its_own_way_is_refused(tmp_path: Path) -> None:
    own = CLASS + "\n    def load_data_list(self):\n        return []\n"
    problems = lowered(tmp_path, mmseg__datasets__melon=own).problems
    assert len(problems) == 1
    assert "it has methods, load_data_list" in problems[0].message


@pytest.mark.parametrize(
    "text", ["class MelonDataset: pass", "class MelonDataset(", "x = 'class MelonDataset'", "\x00"]
)
def test_files_that_say_nothing(text: str, tmp_path: Path) -> None:
    found = lowered(tmp_path, mmseg__datasets__melon=text)
    assert found.spec is not None
    assert found.spec.val is not None
    assert found.spec.val.dataset.type == "MelonDataset"  # which `check` does not know
