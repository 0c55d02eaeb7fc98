"""Imports in configs: names of parts, functions of Python's library, and bases as MMEngine's lazy configs name them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from intarsia import recipes
from intarsia.config.errors import ConfigError
from intarsia.config.language.reader import Config, read_file


def read(folder: Path, text: str, **others: str) -> Config:
    for name, content in others.items():
        file = folder / f"{name.replace('__', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    (folder / "main").mkdir(exist_ok=True)
    (folder / "main" / "config.py").write_text(text, encoding="utf-8")
    return read_file(folder / "main" / "config.py")


@pytest.mark.parametrize(
    ("statement", "expression", "expected"),
    [
        ("from mmseg.models import EncoderDecoder", "EncoderDecoder", "EncoderDecoder"),
        ("from mmseg.models import EncoderDecoder as Net", "Net", "EncoderDecoder"),
        ("import mmseg.models", "mmseg.models.FCNHead", "FCNHead"),
        ("import torch.nn as nn", "nn.GELU", "GELU"),
        ("from torch import nn", "nn.SyncBatchNorm", "SyncBatchNorm"),
        ("from torch.optim import AdamW", "AdamW", "AdamW"),
        ("from mmengine.hooks import EMAHook", "EMAHook", "EMAHook"),
        ("from mmdet.models.losses import DiceLoss", "DiceLoss", "mmdet.DiceLoss"),
        ("from mmpretrain.models import ConvNeXt", "ConvNeXt", "mmpretrain.ConvNeXt"),
        ("from project.heads import MyHead", "MyHead", "project.heads:MyHead"),
        ("import os.path as osp", "osp.join('data', 'ade', 'train')", "data/ade/train"),
        ("import os", "os.path.splitext('a/b.png')[1]", ".png"),
        ("from os.path import basename", "basename('a/b.png')", "b.png"),
        ("from copy import deepcopy", "deepcopy([1, dict(a=(2,))])", [1, {"a": (2,)}]),
        ("import math", "math.ceil(7 / 2)", 4),
        ("import os", "os.environ.get('INTARSIA_NOT_SET', 'b')", "b"),
        ("import os", "os.getenv('INTARSIA_NOT_SET')", None),
        ("import os", "os.getcwd()", os.getcwd()),
    ],
)
def test_what_an_imported_name_stands_for(statement: str, expression: str, expected: Any, tmp_path: Path) -> None:
    config = read(tmp_path, f"{statement}\nx = dict(type={expression})\n")
    assert config.values == {"x": {"type": expected}}
    assert config.origin("x.type").line == 2


def test_a_variable_hides_an_import(tmp_path: Path) -> None:
    config = read(tmp_path, "from mmseg.models import FCNHead\nFCNHead = 'mine'\nx = FCNHead\ny = [os for os in [1]]\n")
    assert config.values == {"FCNHead": "mine", "x": "mine", "y": [1]}


def test_a_deep_copy_shares_nothing(tmp_path: Path) -> None:
    text = "import copy\na = [dict(b=1)]\nc = copy.deepcopy(a)\nc[0]['b'] = 2\n"
    assert read(tmp_path, text).values == {"a": [{"b": 1}], "c": [{"b": 2}]}


# --- Bases --------------------------------------------------------------------------------------------------------

LAZY = """from mmengine.config import read_base

with read_base():
    from .._base_.models.fcn import *
    from ..other import lr as rate

model['head'].update(classes=2)
half = size[0] // 2
"""
FILES = {
    "_base_/models/fcn.py": "from mmseg.models import FCNHead\nmodel = dict(head=dict(type=FCNHead, classes=19))\n"
    "_hidden = 1\nsize = (4, 8)\n",
    "other.py": "lr = 0.1\nunused = 3\n",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("trust", [False, True])
def test_bases_of_a_lazy_config(project: Path, trust: bool) -> None:
    config = read(project, LAZY)
    if trust:  # runs as Python without mmengine or mmseg
        config = read_file(config.file, trust=True)
    head = {"type": "FCNHead", "classes": 2}
    assert config.values == {"model": {"head": head}, "size": (4, 8), "rate": 0.1, "half": 2}
    assert [Path(file).name for file in config.files] == ["fcn.py", "other.py", "config.py"]


def test_values_of_a_lazy_config_know_their_lines(project: Path) -> None:
    config = read(project, LAZY)
    assert config.origin("model.head.type").file.endswith("fcn.py")
    assert config.origin("model.head.type").line == 2
    assert config.origin("model.head.classes").line == 7
    assert config.origin("rate").file.endswith("other.py")


def test_nothing_is_merged(project: Path) -> None:
    """A dict that is assigned again replaces the one of the base, as in Python."""
    assert read(project, LAZY + "model = dict(type='X')\n").values["model"] == {"type": "X"}


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ("from ..other import rate", "config.py:2: the base file sets no `rate`: `from ..other import rate`"),
        ("from ..nothing import *", "config.py:2: the base file `../nothing.py` does not exist"),
        ("from .config import *", "config.py:2: the files inherit in a circle"),
        ("from mmseg.configs.nothing.x import *", "config.py:2: the base `mmseg::nothing/x.py` was not found"),
        (
            "from project.x import *",
            "config.py:2: the base `project::x.py` was not found: the package 'project' is not",
        ),
    ],
)
def test_bases_that_are_not_there(project: Path, inside: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(project, f"with read_base():\n    {inside}\n")
    assert expected in str(caught.value).replace(str(project) + os.sep, "").replace("main" + os.sep, "")


# --- Bases of MMSegmentation's package ----------------------------------------------------------------------------


def test_a_base_of_the_package_is_our_recipe(tmp_path: Path) -> None:
    name = "fcn_r50-d8_4xb2-80k_cityscapes-512x1024"
    whole = read(tmp_path, f"_base_ = 'mmseg::fcn/{name}.py'\n")
    assert whole.values == recipes.get(name)
    assert whole.origin("model.type").file == f"recipe mmseg::fcn/{name}.py"


def test_pieces_make_up_the_whole(tmp_path: Path) -> None:
    """Model, data, schedule and runtime by the names of their base files give the published recipe."""
    name = "fcn_r50-d8_4xb2-80k_cityscapes-512x1024"
    pieces = read(
        tmp_path,
        "_base_ = ['mmseg::_base_/models/fcn_r50-d8.py', 'mmseg::_base_/datasets/cityscapes.py',\n"
        "          'mmseg::_base_/schedules/schedule_80k.py', 'mmseg::_base_/default_runtime.py']\n"
        "model = dict(data_preprocessor=dict(size=(512, 1024)))\n",
    )
    expected = recipes.get(name)
    assert {key: value for key, value in pieces.values.items() if key in expected} == expected


@pytest.mark.parametrize("path", ["mmseg::../secrets.py", "mmseg::/etc/passwd", "mmseg::", "os::path.py", "a b::c.py"])
def test_names_that_lead_elsewhere(path: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="was not found"):
        read(tmp_path, f"_base_ = {path!r}\n")
