"""A config of MMSegmentation with a head that classifies masks: trained, evaluated and used by the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from intarsia.cli.main import main
from intarsia.data.description.write import write_description
from intarsia.demo import CLASSES, write_scenes

CONFIG = """\
positions = dict(num_feats=8, normalize=True)
attention = dict(embed_dims=16, num_heads=2, attn_drop=0.0, proj_drop=0.0, batch_first=True)
perceptron = dict(embed_dims=16, feedforward_channels=16, num_fcs=2, ffn_drop=0.0, act_cfg=dict(type='ReLU'))
deformable = dict(embed_dims=16, num_heads=2, num_levels=3, num_points=2, dropout=0.0)
pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
train_pipeline = [*pipeline[:2], dict(type='RandomCrop', crop_size=(64, 64)), pipeline[2]]
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True,
        pad_val=0, seg_pad_val=255, size=(64, 64), test_cfg=dict(size_divisor=32)),
    backbone=dict(type='ResNet', depth=18, base_channels=8, stem_channels=8),
    decode_head=dict(
        type='Mask2FormerHead', in_channels=[8, 16, 32, 64], num_classes=150, feat_channels=16, out_channels=16,
        num_queries=8, positional_encoding=positions,
        pixel_decoder=dict(
            type='mmdet.MSDeformAttnPixelDecoder', norm_cfg=dict(type='GN', num_groups=4),
            positional_encoding=positions,
            encoder=dict(num_layers=1, layer_cfg=dict(self_attn_cfg=deformable, ffn_cfg=perceptron))),
        transformer_decoder=dict(
            num_layers=1, layer_cfg=dict(self_attn_cfg=attention, cross_attn_cfg=attention, ffn_cfg=perceptron)),
        loss_cls=dict(type='mmdet.CrossEntropyLoss', loss_weight=2.0, class_weight=[1.0] * 150 + [0.1]),
        loss_mask=dict(type='mmdet.CrossEntropyLoss', use_sigmoid=True, loss_weight=5.0),
        loss_dice=dict(type='mmdet.DiceLoss', naive_dice=True, eps=1.0, loss_weight=5.0),
        train_cfg=dict(num_points=64)))
train_dataloader = dict(
    batch_size=2, num_workers=0, dataset=dict(type='ADE20KDataset', pipeline=train_pipeline))
val_dataloader = dict(batch_size=1, num_workers=0, dataset=dict(type='ADE20KDataset', pipeline=pipeline))
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3), clip_grad=dict(max_norm=0.01))
param_scheduler = [dict(type='PolyLR', power=0.9, begin=0, end=3, by_epoch=False)]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=3, val_interval=3)
default_hooks = dict(logger=dict(type='LoggerHook', interval=1), checkpoint=dict(type='CheckpointHook', interval=3))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training of three steps on scenes, whose classes are others than the config's 150."""
    folder = tmp_path_factory.mktemp("masks")
    write_description(write_scenes(folder / "data", train=4, val=2), folder / "data" / "data.yaml")
    (folder / "config.py").write_text(CONFIG)
    out = folder / "run"
    words = ["train", str(folder / "config.py"), "--data", str(folder / "data" / "data.yaml"), "--out", str(out)]
    assert main([*words, "--device", "cpu"]) == 0
    return out


def test_terms_of_every_layer_are_logged(run: Path) -> None:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    assert len(steps) == 3
    for line in steps:
        names = [f"decode.{layer}loss_{kind}" for layer in ("", "d0.") for kind in ("cls", "mask", "dice")]
        assert line["loss"] == pytest.approx(sum(line[name] for name in names), rel=1e-4)
    assert any(line.get("val/loss", 0) > 0 for line in lines)


def test_eval_repeats_the_scores_of_the_training(run: Path, tmp_path: Path) -> None:
    assert main(["eval", str(run), "--out", str(tmp_path), "--pictures", "0", "--device", "cpu"]) == 0
    found, expected = (json.loads((folder / "eval.json").read_text()) for folder in (tmp_path, run))
    assert list(found["classes"]) == list(CLASSES)
    assert found["mIoU"] == expected["mIoU"]


def test_predict_gives_labels_of_the_classes(run: Path, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "photo.png")
    out = tmp_path / "out"
    assert main(["predict", str(run), str(tmp_path / "photo.png"), "-o", str(out), "--device", "cpu"]) == 0
    label = np.asarray(Image.open(out / "photo.png"))
    assert label.shape == (50, 70)
    assert label.max() < len(CLASSES)
