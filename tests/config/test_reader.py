"""Files, inheritance, references, formats, origins: what `read_file` makes of whole configs."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from intarsia.config.errors import ConfigError
from intarsia.config.language.reader import read_file
from intarsia.spec import Origin

REPOSITORY = Path(__file__).resolve().parents[2]
Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return write


def message(path: Path, *, trust: bool = False) -> str:
    with pytest.raises(ConfigError) as caught:
        _ = read_file(path, trust=trust).values
    return str(caught.value).replace(str(path.parent) + "/", "")


# --- A tree of files in MMSegmentation's style ----------------------------------------------------------------------

MODEL = """\
# model settings
norm_cfg = dict(type='SyncBN', requires_grad=True)
data_preprocessor = dict(type='SegDataPreProcessor', mean=[123.675, 116.28, 103.53], bgr_to_rgb=True)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=data_preprocessor,
    pretrained='open-mmlab://resnet50_v1c',
    backbone=dict(
        type='ResNetV1c',
        depth=50,
        dilations=(1, 1, 2, 4),
        norm_cfg=norm_cfg),
    decode_head=dict(
        type='FCNHead',
        num_classes=19,
        norm_cfg=dict(**norm_cfg),
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=1.0)),
    auxiliary_head=[
        dict(type='FCNHead', in_channels=1024),
        dict(type='FCNHead', in_channels=512)],
    test_cfg=dict(mode='whole'))
"""
DATA = """\
data_root = 'data/cityscapes/'
crop_size = (512, 1024)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
]
test_pipeline = [dict(type='LoadImageFromFile')]
img_ratios = [0.5, 0.75, 1.0]
tta_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='TestTimeAug', transforms=[
        [
            dict(type='Resize', scale_factor=r, keep_ratio=True)
            for r in img_ratios
        ],
        [dict(type='RandomFlip', prob=p) for p in (0., 1.)],
    ])
]
train_dataloader = dict(batch_size=2, dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(batch_size=1, dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
"""
SCHEDULE = """\
optimizer = dict(type='SGD', lr=0.01, momentum=0.9)
optim_wrapper = dict(type='OptimWrapper', optimizer=optimizer, clip_grad=None)
param_scheduler = [dict(type='PolyLR', eta_min=1e-4, end=40000, by_epoch=False)]
"""
LEAF = """\
_base_ = [
    '../_base_/models/fcn.py', '../_base_/data.py',
    '../_base_/schedule.py'
]
crop_size = (769, 769)
data_preprocessor = dict(size=crop_size)
depths = [2, 1]
backbone_norm = dict(lr_mult=1.0, decay_mult=0.0)
custom_keys = {'backbone': dict(lr_mult=0.1)}
custom_keys.update({
    f'backbone.stages.{stage_id}.blocks.{block_id}.norm': backbone_norm
    for stage_id, num_blocks in enumerate(depths)
    for block_id in range(num_blocks)
})
model = dict(
    data_preprocessor=data_preprocessor,
    backbone=dict(depth=101, dilations=(1, 1, 1, 2)),
    decode_head=dict(
        loss_decode=[dict(type='DiceLoss'), dict(type='CrossEntropyLoss', class_weight=[1.0] * 2 + [0.1])],
        kernel_update_head=[dict(num_points=int((480 // 16)**2), stage=i) for i in range(2)]),
    test_cfg=dict(_delete_=True, mode='slide', stride=(513, 513)))
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    paramwise_cfg=dict(custom_keys=custom_keys))
train_dataloader = dict(dataset=dict(dataset=dict(pipeline=_base_.train_pipeline[1:])))
scales = [int(512 * x * 0.1) for x in range(5, 8)]
"""


@pytest.fixture
def leaf(write: Write) -> Path:
    write("configs/_base_/models/fcn.py", MODEL)
    write("configs/_base_/data.py", DATA)
    write("configs/_base_/schedule.py", SCHEDULE)
    return write("configs/fcn/leaf.py", LEAF)


def test_a_file_in_the_style_of_mmsegmentation(leaf: Path) -> None:
    values = read_file(leaf).values
    norm = {"type": "SyncBN", "requires_grad": True}
    assert values["model"] == {
        "type": "EncoderDecoder",
        "data_preprocessor": {
            "type": "SegDataPreProcessor",
            "mean": [123.675, 116.28, 103.53],
            "bgr_to_rgb": True,
            "size": (769, 769),
        },
        "pretrained": "open-mmlab://resnet50_v1c",
        "backbone": {"type": "ResNetV1c", "depth": 101, "dilations": (1, 1, 1, 2), "norm_cfg": norm},
        "decode_head": {
            "type": "FCNHead",
            "num_classes": 19,
            "norm_cfg": norm,
            "loss_decode": [{"type": "DiceLoss"}, {"type": "CrossEntropyLoss", "class_weight": [1.0, 1.0, 0.1]}],
            "kernel_update_head": [{"num_points": 900, "stage": 0}, {"num_points": 900, "stage": 1}],
        },
        "auxiliary_head": [{"type": "FCNHead", "in_channels": 1024}, {"type": "FCNHead", "in_channels": 512}],
        "test_cfg": {"mode": "slide", "stride": (513, 513)},
    }
    assert values["crop_size"] == (769, 769)
    assert values["data_preprocessor"]["size"] == (769, 769)
    assert values["data_preprocessor"]["bgr_to_rgb"] is True
    assert values["optim_wrapper"] == {
        "type": "OptimWrapper",
        "paramwise_cfg": {
            "custom_keys": {
                "backbone": {"lr_mult": 0.1},
                "backbone.stages.0.blocks.0.norm": {"lr_mult": 1.0, "decay_mult": 0.0},
                "backbone.stages.0.blocks.1.norm": {"lr_mult": 1.0, "decay_mult": 0.0},
                "backbone.stages.1.blocks.0.norm": {"lr_mult": 1.0, "decay_mult": 0.0},
            }
        },
    }
    assert [step["scale_factor"] for step in values["tta_pipeline"][1]["transforms"][0]] == [0.5, 0.75, 1.0]
    assert [step["type"] for step in values["train_dataloader"]["dataset"]["dataset"]["pipeline"]] == [
        "RandomCrop",
        "RandomFlip",
    ]
    assert values["test_dataloader"] == values["val_dataloader"]
    assert values["test_dataloader"] is not values["val_dataloader"]
    assert values["scales"] == [256, 307, 358]
    assert values["depths"] == [2, 1]
    assert "_base_" not in values


@pytest.mark.parametrize(
    ("path", "file", "line"),
    [
        ("model.backbone.depth", "configs/fcn/leaf.py", 17),
        ("model.backbone.type", "configs/_base_/models/fcn.py", 9),
        ("model.backbone.norm_cfg.type", "configs/_base_/models/fcn.py", 2),
        ("model.decode_head.norm_cfg.requires_grad", "configs/_base_/models/fcn.py", 2),
        ("model.decode_head.loss_decode.1.class_weight", "configs/fcn/leaf.py", 19),
        ("model.auxiliary_head.1.in_channels", "configs/_base_/models/fcn.py", 20),
        ("model.data_preprocessor.size.0", "configs/fcn/leaf.py", 5),
        ("model.backbone.no_such_key", "configs/fcn/leaf.py", 17),
        ("train_dataloader.dataset.dataset.pipeline.1.prob", "configs/_base_/data.py", 6),
        ("tta_pipeline.1.transforms.0.2.scale_factor", "configs/_base_/data.py", 9),
        ("optim_wrapper.paramwise_cfg.custom_keys.backbone.stages.0.blocks.1.norm.lr_mult", "configs/fcn/leaf.py", 8),
        ("test_dataloader.batch_size", "configs/_base_/data.py", 21),
    ],
)
def test_every_value_knows_its_file_and_line(leaf: Path, path: str, file: str, line: int) -> None:
    assert read_file(leaf).origin(path) == Origin(str(leaf.parents[2] / file), line)


def test_a_name_that_is_not_there_has_no_origin(leaf: Path) -> None:
    config = read_file(leaf)
    assert config.origin("modell.backbone") is None
    assert config.origin("a..b") is None


def test_the_files_of_a_config_are_listed(leaf: Path) -> None:
    assert [Path(file).name for file in read_file(leaf).files] == ["fcn.py", "data.py", "schedule.py", "leaf.py"]


def test_json_holds_what_the_original_loader_gives(write: Write) -> None:
    path = write("a.py", "_hidden = 1\nx = (1, [2.5, None])\nfor i in range(3):\n    pass\ny = True\n")
    assert json.loads(read_file(path).to_json()) == {"x": [1, [2.5, None]], "i": 2, "y": True}


def test_the_trained_reference_config(shared: Path) -> None:
    path = shared / "golden" / "trained" / "fast_scnn_camvid.py"
    config = read_file(path)
    names: dict[str, Any] = {}
    exec(path.read_text(encoding="utf-8"), names)  # a file of our own reference material, which is plain Python
    assert config.values == {name: value for name, value in names.items() if not name.startswith("_")}
    assert config.origin("model.auxiliary_head.1.channels") == Origin(str(path), 25)


@pytest.mark.parametrize("file", sorted((REPOSITORY / "configs").glob("*.py")), ids=lambda path: path.stem)
def test_example_configs_read(file: Path) -> None:
    config = read_file(file)
    assert len(config.files) == 5
    assert {"model", "train_dataloader", "val_evaluator", "optim_wrapper", "train_cfg"} <= config.values.keys()
    classes = config.values["train_dataloader"]["dataset"]["metainfo"]["classes"]
    assert config.values["model"]["decode_head"]["num_classes"] == len(classes)


def test_reading_needs_no_torch() -> None:
    file = next((REPOSITORY / "configs").glob("*.py"))
    program = (
        "import sys\nfrom intarsia.config.language.reader import read_file\n"
        "import intarsia.config.dump, intarsia.config.diff\n"
        f"read_file({str(file)!r}).values\n"
        "print(sorted({'torch', 'numpy', 'cv2', 'yaml'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "[]"


# --- Bases ----------------------------------------------------------------------------------------------------------


def test_what_a_file_changes_in_its_base_takes_effect(write: Write) -> None:
    write("base.py", "items = [0, 1, 2]\npair = (0, 1)\nhooks = [dict(n=1)]\n")
    path = write(
        "leaf.py",
        """\
        _base_ = './base.py'
        _base_.items[1] = 5
        _base_.hooks[0].n = 7
        x, y = _base_.pair
        mine = _base_.hooks
        mine.append(dict(n=8))
        """,
    )
    assert read_file(path).values == {
        "items": [0, 5, 2],
        "pair": (0, 1),
        "hooks": [{"n": 7}, {"n": 8}],
        "x": 0,
        "y": 1,
        "mine": [{"n": 7}, {"n": 8}],
    }


def test_readings_do_not_influence_each_other(write: Write) -> None:
    write("base.py", "a = dict(b=[1, 2])\n")
    changes = write("changes.py", "_base_ = 'base.py'\n_base_.a.b.append(3)\n_base_.a.c = 1\n")
    keeps = write("keeps.py", "_base_ = 'base.py'\n")
    first = read_file(keeps)
    first.values["a"]["b"].append("mine")
    assert read_file(changes).values == {"a": {"b": [1, 2, 3], "c": 1}}
    assert read_file(changes).values == {"a": {"b": [1, 2, 3], "c": 1}}
    assert read_file(keeps).values == {"a": {"b": [1, 2]}}


def test_a_base_that_changes_on_disk_is_read_again(write: Write) -> None:
    write("base.py", "a = 1\n")
    leaf = write("leaf.py", "_base_ = 'base.py'\n")
    assert read_file(leaf).values == {"a": 1}
    write("base.py", "a = 2\n")
    assert read_file(leaf).values == {"a": 2}


def test_names_of_the_base_are_asked_for_by_base(write: Write) -> None:
    write("base.py", "norm = 1\n")
    path = write("leaf.py", "_base_ = 'base.py'\nx = norm\n")
    text = "leaf.py:2: the name `norm` is not defined in this file: `x = norm`. Write _base_.norm for the value"
    assert message(path).startswith(text)


def test_private_names_are_inherited_but_are_no_settings(write: Write) -> None:
    write("base.py", "_width = 3\nwidth = _width * 2\n")
    assert read_file(write("leaf.py", "_base_ = 'base.py'\nx = _base_._width\n")).values == {"width": 6, "x": 3}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {"a.py": "x = 1\n", "b.py": "\nx = 2\n", "leaf.py": "_base_ = ['a.py',\n  'b.py']\n"},
            "leaf.py:2: x: set by two base files, at a.py:1 and at b.py:2. Remove one of the bases",
        ),
        (
            {"a.py": "_base_ = 'b.py'\n", "b.py": "_base_ = './leaf.py'\n", "leaf.py": "_base_ = 'a.py'\n"},
            "b.py:1: the files inherit in a circle: leaf.py -> a.py -> b.py -> leaf.py",
        ),
        (
            {"a.py": "_base_ = ['gone/x.py']\n", "leaf.py": "_base_ = 'a.py'\n"},
            "a.py:1: the base file `gone/x.py` does not exist (looked for gone/x.py), included by a.py <- leaf.py",
        ),
        (
            {"leaf.py": "_base_ = ['mmdet::x.py']\n"},
            "leaf.py:1: the base `mmdet::x.py` was not found: the package 'mmdet' is not installed",
        ),
        ({"leaf.py": "_base_ = 3\n"}, "leaf.py:1: `_base_` is a file name or a list of file names, found 3"),
        ({"leaf.py": "if True:\n    _base_ = 'a.py'\n"}, "leaf.py:2: `_base_` cannot be set here"),
        (
            {"a.py": "x = [1]\ny = None\n", "leaf.py": "_base_ = 'a.py'\nx = dict(a=1)\ny = dict(b=1)\n"},
            "leaf.py:2: x: a dict cannot be merged into the value of a.py:1, which is a list. "
            "Write _delete_=True inside the dict to replace it\n"
            "leaf.py:3: y: a dict cannot be merged into the value of a.py:2, which is None.",
        ),
        ({"leaf.py": "x = {{_base_.y}}\n"}, "leaf.py:1: `{{_base_.y}}` needs a `_base_`, which this file does not set"),
        (
            {"a.py": "model = dict(depth=1)\n", "leaf.py": "_base_ = 'a.py'\n\nx = '{{ _base_.model.dept }}'\n"},
            "leaf.py:3: the base files set no `model.dept`: there is no `dept`: `x = '{{ _base_.model.dept }}'`. "
            "The nearest name is `depth`",
        ),
        (
            {"a.py": "x = 1\n", "leaf.py": "_base_ = 'a.py'\n_base_.x = _base_\n"},
            "leaf.py: the config is nested deeper",
        ),
        ({"leaf.py": "x = [1,\n  2\ny = 3\n"}, "leaf.py:1: not valid Python syntax ('[' was never closed): `x = [1,`"),
        (
            {"leaf.py": "x = dict(\n  a=open('f'))\n"},
            "leaf.py:2: calling `open` is not part of the configuration language",
        ),
    ],
)
def test_messages_name_file_line_and_remedy(write: Write, files: dict[str, str], expected: str) -> None:
    for name, text in files.items():
        path = write(name, text)
    assert message(path).startswith(expected)
