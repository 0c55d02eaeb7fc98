from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intarsia.config.checking.check import check
from intarsia.config.errors import ConfigError
from intarsia.config.language.reader import Config, read_file
from intarsia.config.lowering.lower import lower
from intarsia.consent import TRUST

VALID = """\
norm_cfg = dict(type='BN', requires_grad=True)
classes = ('sky', 'road', 'car')
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True,
        size=(64, 64)),
    backbone=dict(
        type='ResNetV1c',
        depth=18,
        dilations=(1, 1, 2, 4),
        strides=(1, 2, 1, 1),
        norm_cfg=norm_cfg),
    decode_head=dict(
        type='FCNHead',
        in_channels=512,
        in_index=3,
        channels=32,
        num_classes=3,
        norm_cfg=norm_cfg,
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=1.0)),
    auxiliary_head=dict(
        type='FCNHead',
        in_channels=256,
        in_index=2,
        channels=16,
        num_classes=3),
    test_cfg=dict(mode='whole'))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomCrop', crop_size=(64, 64), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs')]
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    dataset=dict(type='BaseSegDataset', data_root='data', metainfo=dict(classes=classes), pipeline=train_pipeline))
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=0.0005))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=100)
default_hooks = dict(
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=50))
"""


def found(tmp_path: Path, text: str, *, shapes: bool = False) -> list[tuple[str, int, str, str]]:
    """(path, line, message, hint) of each problem."""
    file = tmp_path / "config.py"
    file.write_text(text)
    problems = check(read_file(file), shapes=shapes)
    assert all(problem.origin is not None and Path(problem.origin.file) == file for problem in problems)
    return [(p.path, p.origin.line if p.origin else 0, p.message, p.hint) for p in problems]


def line_of(text: str, part: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if part in line)


# --- The published configs ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published(shared: Path) -> dict[str, Any]:
    with gzip.open(shared / "facts" / "mmseg_configs.json.gz", "rt") as file:
        return json.load(file)


def test_published_configs_are_without_a_problem(published: dict[str, Any]) -> None:
    problems = {name: check(Config.from_values(values, file=name)) for name, values in published.items()}
    assert {name: found for name, found in problems.items() if found} == {}
    assert len(problems) == 681


@pytest.mark.parametrize(
    "name",
    [
        "fcn/fcn_r18-d8_4xb2-80k_cityscapes-512x1024",
        "fcn/fcn_r50-d8_4xb4-20k_voc12aug-512x512",
        "segformer/segformer_mit-b0_8xb2-160k_ade20k-512x512",
        "fastscnn/fast_scnn_8xb4-160k_cityscapes-512x1024",
        "pspnet/pspnet_r50-d8_4xb4-160k_ade20k-512x512",
        "deeplabv3/deeplabv3_r101-d16-mg124_4xb2-80k_cityscapes-512x1024",
        "deeplabv3plus/deeplabv3plus_r50-d8_4xb2-80k_cityscapes-769x769",
        "swin/swin-base-patch4-window12-in22k-384x384-pre_upernet_8xb2-160k_ade20k-512x512",
        "hrnet/fcn_hr48_4xb2-160k_cityscapes-512x1024",
        "ocrnet/ocrnet_hr18s_4xb4-20k_voc12aug-512x512",
        "bisenetv1/bisenetv1_r50-d32_4xb4-160k_cityscapes-1024x1024",
        "bisenetv2/bisenetv2_fcn_4xb4-ohem-160k_cityscapes-1024x1024",
        "knet/knet-s3_r50-d8_upernet_8xb2-adamw-80k_ade20k-512x512",
        "point_rend/pointrend_r101_4xb2-80k_cityscapes-512x1024",
        "sem_fpn/fpn_r50_4xb4-160k_ade20k-512x512",
    ],
)
def test_parts_of_published_configs_fit_together(published: dict[str, Any], name: str) -> None:
    assert check(Config.from_values(published[name], file=name), shapes=True) == []


def test_first_stage_imports_no_torch(tmp_path: Path) -> None:
    file = tmp_path / "config.py"
    file.write_text(VALID)
    code = (
        "import sys; from intarsia.config.checking.check import check; "
        "from intarsia.config.language.reader import read_file; "
        f"assert check(read_file({str(file)!r})) == []; assert not {{'torch', 'cv2', 'numpy'}} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- Broken configs -----------------------------------------------------------------------------------------------

BROKEN = {
    "typo in an argument": (
        ("channels=32,", "chanels=32,"),
        [
            ("model.decode_head.chanels", "chanels", "FCNHead has no argument 'chanels'", "Did you mean 'channels'"),
            ("model.decode_head", "decode_head", "FCNHead needs 'channels', which is missing", "It expects int"),
        ],
    ),
    "setting of another head": (
        ("test_cfg=dict(mode='whole')", "test_cfg=dict(mode='whole', subdivision_steps=2)"),
        [
            (
                "model.test_cfg.subdivision_steps",
                "subdivision_steps",
                "FCNHead has no argument 'subdivision_steps'",
                "",
            )
        ],
    ),
    "typo in a renamed argument": (
        (
            "depth=18,",
            "depth=18, norm_cgf=dict(type='BN'),",
        ),
        [("model.backbone.norm_cgf", "norm_cgf", "ResNetV1c has no argument 'norm_cgf'", "Did you mean 'norm_cfg'")],
    ),
    "typo in a type": (
        ("type='ResNetV1c'", "type='ResNetV1e'"),
        [("model.backbone.type", "ResNetV1e", "unknown backbone 'ResNetV1e'", "")],
    ),
    "missing type": (
        ("        type='ResNetV1c',\n", ""),
        [("model.backbone", "backbone=dict(", "'type' is missing", "Write dict(type='Name', ...)")],
    ),
    "missing argument": (
        ("        num_classes=3,\n        norm_cfg", "        norm_cfg"),
        [("model.decode_head", "decode_head", "FCNHead needs 'num_classes', which is missing", "It expects int")],
    ),
    "missing argument of a data set": (
        ("metainfo=dict(classes=classes), ", ""),
        [
            (
                "train_dataloader.dataset",
                "dataset=dict(type",
                "BaseSegDataset needs 'metainfo.classes', which is missing",
                "It expects Sequence[str]",
            )
        ],
    ),
    "wrong type": (
        ("depth=18", "depth='18'"),
        [("model.backbone.depth", "depth=", "expected int, found '18' (str)", "")],
    ),
    "wrong type in a section": (
        ("max_iters=100", "max_iters='100'"),
        [("train_cfg.max_iters", "max_iters", "expected int, found '100' (str)", "")],
    ),
    "norm by its name only": (
        ("norm_cfg=norm_cfg,\n        loss", "norm_cfg='BN',\n        loss"),
        [
            (
                "model.decode_head.norm_cfg",
                "norm_cfg='BN'",
                "expected Norm | None, found 'BN' (str)",
                "Write dict(type='Name', ...)",
            )
        ],
    ),
    "unknown norm": (
        ("dict(type='BN', requires_grad=True)", "dict(type='GNN', requires_grad=True)"),
        [("model.backbone.norm_cfg.type", "GNN", "expected Literal['BN', 'SyncBN'", "Did you mean 'GN'")],
    ),
    "typo in a loss": (
        ("loss_weight=1.0", "loss_weigth=1.0"),
        [
            (
                "model.decode_head.loss_decode.loss_weigth",
                "loss_weigth",
                "CrossEntropyLoss has no argument 'loss_weigth'",
                "Did you mean 'loss_weight'",
            )
        ],
    ),
    "typo in a transform": (
        ("cat_max_ratio", "cat_max_ration"),
        [
            (
                "train_dataloader.dataset.pipeline.2.cat_max_ration",
                "cat_max_ration",
                "RandomCrop has no argument 'cat_max_ration'",
                "Did you mean 'cat_max_ratio'",
            )
        ],
    ),
    "typo in the optimizer": (
        ("momentum=0.9", "momentun=0.9"),
        [("optim_wrapper.optimizer.momentun", "momentun", "SGD has no argument 'momentun'", "Did you mean 'momentum'")],
    ),
    "misspelt section": (
        ("train_cfg = dict(type", "trian_cfg = dict(type"),
        [
            (
                "train_cfg",
                "trian_cfg",
                "'train_cfg' is missing: there is 'train_dataloader'",
                "Did you mean 'train_cfg' where 'trian_cfg' stands?",
            )
        ],
    ),
    "unknown hook": (
        ("default_hooks = dict(", "default_hooks = dict(\n    sync=dict(type='SyncBufferHook'),"),
        [
            (
                "default_hooks.sync",
                "SyncBufferHook",
                "unknown hook 'SyncBufferHook'",
                "Did you mean 'SyncBuffersHook'?",
            )
        ],
    ),
    "heads that disagree": (
        ("channels=16,\n        num_classes=3", "channels=16,\n        num_classes=4"),
        [
            (
                "model.auxiliary_head.num_classes",
                "num_classes=4",
                "num_classes is 4, but model.decode_head has 3",
                "All heads learn from the same labels",
            )
        ],
    ),
    "heads and data that disagree": (
        ("('sky', 'road', 'car')", "('sky', 'road')"),
        [
            (
                "model.decode_head.num_classes",
                "num_classes=3,",
                "the heads predict 3 classes, but BaseSegDataset at train_dataloader.dataset has 2",
                "Set num_classes=2 in every head",
            )
        ],
    ),
    "sliding window without its size": (
        ("mode='whole'", "mode='slide', stride=(9, 9)"),
        [
            (
                "model.test_cfg",
                "test_cfg",
                "mode 'slide' needs 'crop_size', which is missing",
                "Write crop_size=(height, width)",
            )
        ],
    ),
    "windows with gaps": (
        ("mode='whole'", "mode='slide', crop_size=(8, 8), stride=(9, 8)"),
        [("model.test_cfg.stride", "test_cfg", "a stride of (9, 8) leaves gaps between windows of (8, 8)", "Make it")],
    ),
    "mirrored windows without windows": (
        ("mode='whole'", "mode='whole', mirror=True"),
        [("model.test_cfg.mirror", "test_cfg", "mirror is of windows, and mode 'whole' has none", "Write a sliding")],
    ),
    "one logit under softmax": (
        ("num_classes=3,\n        norm_cfg", "num_classes=1,\n        norm_cfg"),
        [
            (
                "model.decode_head.num_classes",
                "num_classes=1,",
                "the heads predict 1 classes, but BaseSegDataset at train_dataloader.dataset has 3",
                "Set num_classes=3",
            ),
            (
                "model.decode_head.loss_decode",
                "loss_decode",
                "a softmax cross entropy of one logit is always 0",
                "Set use_sigmoid=True",
            ),
        ],
    ),
    "bands": (
        ("depth=18,", "depth=18, in_channels=4,"),
        [
            (
                "model.data_preprocessor.mean",
                "mean=",
                "mean has 3 entries, but the backbone takes 4 bands",
                "Set model.backbone.in_channels=3",
            )
        ],
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_config(tmp_path: Path, what: str) -> None:
    (right, wrong), expected = BROKEN[what]
    assert VALID.count(right) == 1
    text = VALID.replace(right, wrong)
    problems = found(tmp_path, text)
    lines = [line for _, line, _, _ in problems]
    assert lines == sorted(lines)
    expected = sorted(expected, key=lambda item: line_of(text, item[1]))
    assert [(path, line) for path, line, _, _ in problems] == [(p, line_of(text, where)) for p, where, _, _ in expected]
    for (_, _, message, hint), (_, _, starts, hint_starts) in zip(problems, expected, strict=True):
        assert message.startswith(starts)
        assert hint.startswith(hint_starts)


def test_valid_config_is_clean(tmp_path: Path) -> None:
    assert found(tmp_path, VALID, shapes=True) == []


def test_several_errors_at_once(tmp_path: Path) -> None:
    text = VALID
    for right, wrong in (
        ("depth=18", "depht=18"), ("in_index=2", "in_index='two'"), ("lr=0.01", "lr='small'"),
        ("prob=0.5", "probability=0.5"), ("max_iters", "max_itres"), ("interval=50", "intervall=50"),
    ):  # fmt: skip
        text = text.replace(right, wrong)
    assert {(path, line) for path, line, _, _ in found(tmp_path, text)} == {
        ("model.backbone.depht", line_of(text, "depht")),
        ("model.backbone", line_of(text, "backbone=dict")),
        ("model.auxiliary_head.in_index", line_of(text, "in_index='two'")),
        ("optim_wrapper.optimizer.lr", line_of(text, "lr='small'")),
        ("train_dataloader.dataset.pipeline.3.probability", line_of(text, "probability")),
        ("train_dataloader.dataset.pipeline.3", line_of(text, "probability")),
        ("train_cfg.max_itres", line_of(text, "max_itres")),
        ("train_cfg", line_of(text, "max_itres")),
        ("default_hooks.checkpoint.intervall", line_of(text, "intervall")),
    }


def test_one_line_that_is_used_twice_is_reported_once(tmp_path: Path) -> None:
    text = VALID.replace("dict(type='BN', requires_grad=True)", "dict(type='BN', requires_grd=True)")
    [(path, line, _, hint)] = found(tmp_path, text)
    assert (path, line) == ("model.backbone.norm_cfg.requires_grd", 1)
    assert hint == "Did you mean 'requires_grad'?"


# --- Second stage -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "wrong", "path", "message"),
    [
        (
            "in_channels=512,",
            "in_channels=2048,",
            "model.decode_head.in_channels",
            "model.decode_head.in_channels is 2048 but backbone level 3 of ResNetV1c gives 512 channels",
        ),
        (
            "in_index=2,",
            "in_index=1,",
            "model.auxiliary_head.in_channels",
            "model.auxiliary_head.in_channels is 256 but backbone level 1 of ResNetV1c gives 128 channels",
        ),
        (
            "in_index=2,",
            "in_index=4,",
            "model.auxiliary_head.in_index",
            "model.auxiliary_head.in_index is 4 but the backbone ResNetV1c gives 4 levels",
        ),
        ("depth=18,", "depth=19,", "model.backbone", "ResNetV1c cannot be built: "),
        (
            "dict(type='BN', requires_grad=True)",
            "dict(type='GN', requires_grad=True)",
            "model.backbone.norm_cfg",
            "Norm cannot be built: ",
        ),
    ],
)
def test_parts_that_do_not_fit(tmp_path: Path, right: str, wrong: str, path: str, message: str) -> None:
    text = VALID.replace(right, wrong)
    assert found(tmp_path, text) == []
    problems = found(tmp_path, text, shapes=True)
    assert problems[0][0] == path
    assert problems[0][2].startswith(message)


@pytest.mark.parametrize(
    ("key", "value", "path", "message"),
    [
        (
            "kernel_generate_head.in_channels",
            1024,
            "model.decode_head.kernel_generate_head.in_channels",
            "model.decode_head.kernel_generate_head.in_channels is 1024 but backbone level 3 of ResNetV1c gives 2048",
        ),
        (
            "kernel_generate_head.num_classes",
            19,
            "model.auxiliary_head.num_classes",
            "num_classes is 150, but model.decode_head.kernel_generate_head has 19",
        ),
        ("num_stages", 2, "model.decode_head", "IterativeDecodeHead cannot be built: IterativeDecodeHead needs one"),
        (
            "kernel_update_head.1.in_channels",
            256,
            "model.decode_head.kernel_update_head.1",
            "KernelUpdateHead cannot be built: kernels are applied to a map of in_channels=256",
        ),
        (
            "kernel_update_head.1.kernel_updator_cfg.feat_channels",
            "256",
            "model.decode_head.kernel_update_head.1.kernel_updator_cfg.feat_channels",
            "expected int, found '256' (str)",
        ),
        (
            "kernel_update_head.1.kernel_updator_cfg",
            "KernelUpdator",
            "model.decode_head.kernel_update_head.1.kernel_updator_cfg",
            "expected KernelUpdator, found 'KernelUpdator' (str)",
        ),
    ],
)
def test_heads_inside_heads(published: dict[str, Any], key: str, value: Any, path: str, message: str) -> None:
    values = {"model": deepcopy(published["knet/knet-s3_r50-d8_fcn_8xb2-adamw-80k_ade20k-512x512"]["model"])}
    *way, last = key.split(".")
    inner: Any = values["model"]["decode_head"]
    for step in way:
        inner = inner[int(step)] if step.isdigit() else inner[step]
    inner[last] = value
    first, *_ = check(Config.from_values(values, file="changed.py"), shapes=True)
    assert first.path == path
    assert first.message.startswith(message)


def test_first_stage_problems_are_not_repeated_by_the_second(tmp_path: Path) -> None:
    text = VALID.replace("depth=18", "depth='18'").replace("in_channels=256", "in_channels='256'")
    assert found(tmp_path, text, shapes=True) == found(tmp_path, text)


# --- The user's own parts -----------------------------------------------------------------------------------------

OWN = """
from intarsia.catalog import register

@register("head")
class OwnHead:
    def __init__(self, *, in_channels: int, num_classes: int, width: int = 3) -> None: ...

raise RuntimeError("checking must not import this")
"""


def test_registered_parts_are_checked_without_importing_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.joinpath("own_heads_of_test.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(TRUST, "own_heads_of_test,nothing_of_this_name")
    text = VALID.replace(
        "    auxiliary_head=dict(\n        type='FCNHead'", "    auxiliary_head=dict(\n        type='OwnHead'"
    )
    text = text.replace("        in_index=2,\n        channels=16", "        widht=16")
    [(path, *_)] = found(tmp_path, text + "custom_imports = dict(imports=['nothing_of_this_name'])\n")
    assert path == "model.auxiliary_head.type"
    [(path, _, _, hint)] = found(tmp_path, text + "custom_imports = dict(imports=['own_heads_of_test'])\n")
    assert path == "model.auxiliary_head.widht"
    assert hint == "Did you mean 'width'?"
    monkeypatch.delenv(TRUST)
    [(path, _, message, _)] = found(tmp_path, text + "custom_imports = dict(imports=['own_heads_of_test'])\n")
    assert path == "custom_imports.imports"
    assert "--trust own_heads_of_test" in message
    monkeypatch.setenv(TRUST, "own_heads_of_test")
    text = text.replace("type='OwnHead'", "type='own_heads_of_test:OwnHead'")
    [(path, *_)] = found(tmp_path, text)
    assert path == "model.auxiliary_head.widht"
    monkeypatch.delenv(TRUST)
    [(path, *_)] = found(tmp_path, text)
    assert path == "model.auxiliary_head.type"


# --- Any single change --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file = tmp_path_factory.mktemp("config") / "config.py"
    file.write_text(VALID)
    return read_file(file).values


def leaves(value: Any, keys: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict | list | tuple) and value:
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, (*keys, key))
    else:
        yield keys


def changed(tree: Any, keys: tuple[Any, ...], *, key: str | None = None, value: Any = None) -> Any:
    """A copy with the last key renamed, or its value replaced."""
    copy = deepcopy(tree)
    inner: Any = copy
    *way, last = keys
    for step in way:
        if isinstance(inner[step], tuple):
            inner[step] = list(inner[step])
        inner = inner[step]
    if key is not None:
        inner[key] = inner.pop(last)
    else:
        inner[last] = value
    return copy


SOMETHING = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.floats(allow_nan=False), st.text(max_size=5), st.just({}),
    st.just([]), st.just({"type": "Nothing"}), st.just([{"type": 3}]), st.just({"type": "FCNHead", 1: 2}),
    st.just([[1, "a"], None]),
)  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_value_makes_anything_but_a_config_error(values: dict[str, Any], data: st.DataObject) -> None:
    keys = data.draw(st.sampled_from(list(leaves(values))))
    depth = data.draw(st.integers(1, len(keys)))
    given_values = changed(values, keys[:depth], value=data.draw(SOMETHING))
    config = Config.from_values(given_values, file="changed.py")
    problems = check(config)
    assert all(str(problem) for problem in problems)
    try:
        lower(config)
    except ConfigError:
        assert problems


PARTS = ("model", "optim_wrapper", "train_dataloader")


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_misspelt_key_is_found(values: dict[str, Any], data: st.DataObject) -> None:
    keys = data.draw(st.sampled_from([k for k in leaves(values) if k[0] in PARTS and isinstance(k[-1], str)]))
    letter = data.draw(st.sampled_from("qzx"))
    at = data.draw(st.integers(0, len(keys[-1])))
    wrong = keys[-1][:at] + letter + keys[-1][at:]
    problems = check(Config.from_values(changed(values, keys, key=wrong), file="changed.py"))
    parent = ".".join(map(str, keys[:-1]))
    assert any(problem.path in (f"{parent}.{wrong}", parent) for problem in problems), problems


# --- Relations between values -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["model.decode_head.loss_decode=dict(type='CrossEntropyLoss', class_weight=[1.0, 2.0])"], "has 2 entries"),
        (["model.decode_head.ignore_index=0"], "padding writes 255 into labels, but model.decode_head ignores 0"),
        (["model.data_preprocessor.seg_pad_val=0"], "padding writes 0 into labels, but model.decode_head ignores 255"),
        (["train_dataloader.dataset.data_root='D:\\data\\new'"], "in this path became control characters"),
        (["load_from='C:\\runs\\best.pth'"], "in this path became control characters"),
    ],
)
def test_values_that_contradict_each_other(settings: list[str], expected: str, tmp_path: Path) -> None:
    file = tmp_path / "config.py"
    file.write_text(VALID)
    assert check(read_file(file)) == []
    found = check(read_file(file).override(settings))
    assert any(expected in problem.message for problem in found), found
    assert all(problem.origin is not None for problem in found)


def test_other_labels_may_be_ignored_by_all(tmp_path: Path) -> None:
    file = tmp_path / "config.py"
    file.write_text(VALID)
    heads = [f"model.{head}.ignore_index=7" for head in ("decode_head", "auxiliary_head")]
    same = [*heads, "model.data_preprocessor.seg_pad_val=7"]
    assert check(read_file(file).override(same)) == []
