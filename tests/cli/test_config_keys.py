"""A config with keys that few configs have: checked, shown, trained for a few steps, resumed and evaluated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from intarsia.cli.main import main
from intarsia.data.description.write import write_description
from intarsia.demo import write_scenes

CONFIG = """\
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(128, 96), ratio_range=(0.8, 1.5), keep_ratio=True, backend='pillow'),
    dict(type='RandomCrop', crop_size=(64, 64)),
    dict(type='PackSegInputs'),
]
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
sizes = [dict(type='Resize', scale=scale, keep_ratio=True) for scale in ((128, 64), (256, 128))]
flips = [dict(type='RandomFlip', prob=prob, direction='horizontal') for prob in (0., 1.)]
tta_model = dict(type='SegTTAModel')
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='TestTimeAug', transforms=[
        sizes, flips, [dict(type='LoadAnnotations')], [dict(type='PackSegInputs')]]),
]
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True,
        pad_val=0, seg_pad_val=255, size=(64, 64)),
    backbone=dict(type='ResNet', depth=18, base_channels=8, stem_channels=8),
    decode_head=dict(
        type='FCNHead', in_channels=64, in_index=3, channels=8, num_convs=1, num_classes=150,
        loss_decode=dict(type='CrossEntropyLoss')),
    test_cfg=dict(mode='whole'))
train_dataloader = dict(
    batch_size=2, num_workers=0, dataset=dict(type='ADE20KDataset', pipeline=train_pipeline))
val_dataloader = dict(batch_size=1, num_workers=0, dataset=dict(type='ADE20KDataset', pipeline=test_pipeline))
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01))
train_cfg = dict(
    type='IterBasedTrainLoop', max_iters=8, val_interval=4, val_begin=3, dynamic_intervals=[(6, 1), (8, 3)])
val_cfg = dict(type='ValLoop')
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1),
    checkpoint=dict(type='CheckpointHook', interval=8),
    visualization=dict(type='SegVisualizationHook', draw=True, interval=2))
"""
KEYS = {
    "train_cfg.val_begin": "3",
    "train_cfg.dynamic_intervals.0": "(6, 1)",
    "train_pipeline.2.backend": "'pillow'",
    "tta_pipeline.1.transforms.0.1.scale": "(256, 128)",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training of eight steps on scenes."""
    folder = tmp_path_factory.mktemp("keys")
    write_description(write_scenes(folder / "data", train=4, val=2), folder / "data" / "data.yaml")
    (folder / "config.py").write_text(CONFIG)
    out = folder / "run"
    words = ["train", str(folder / "config.py"), "--data", str(folder / "data" / "data.yaml"), "--out", str(out)]
    assert main([*words, "--device", "cpu"]) == 0
    return out


def test_the_config_is_fine_and_is_shown_with_its_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.py"
    file.write_text(CONFIG)
    assert main(["config", "check", str(file)]) == 0
    capsys.readouterr()
    assert main(["config", "show", str(file), "--origins"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for path, value in KEYS.items():
        assert any(line.startswith(f"{path} = {value}  # {file}:") for line in lines), path


def test_evaluations_follow_their_intervals(run: Path) -> None:
    """By MMEngine's rule: every 4, from 6 - 1 done on every 1, from 8 - 1 done on every 3, and the last."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "val/mIoU" in line] == [4, 5, 6, 8]


def test_the_images_of_every_second_batch_are_painted(run: Path) -> None:
    folders = list((run / "pictures" / "training").iterdir())
    assert len(folders) == 1  # of two batches of one image
    assert sorted(file.name for file in folders[0].iterdir()) == [f"step_{step:08d}.jpg" for step in (4, 5, 6, 8)]


def test_the_written_config_holds_them(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", str(run / "config.py"), "--json"]) == 0
    loop = json.loads(capsys.readouterr().out)["train_cfg"]
    assert loop["dynamic_intervals"] == [[6, 1], [8, 3]]
    assert loop["val_begin"] == 3


def test_the_views_of_the_config_are_evaluated(run: Path, tmp_path: Path) -> None:
    words = ["eval", str(run), "--augment", "--out", str(tmp_path), "--report", str(tmp_path), "--pictures", "0"]
    assert main([*words, "--workers", "0", "--device", "cpu"]) == 0
    assert "within 128 x 64, within 256 x 128" in (tmp_path / "report.html").read_text(encoding="utf-8")
