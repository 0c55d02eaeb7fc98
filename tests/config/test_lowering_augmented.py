"""Test-time augmentation of a config: the views that tta_pipeline names, and what it must not hold."""

from __future__ import annotations

from typing import Any

import pytest

from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower_all
from intarsia.spec import AugmentedInference, ViewSize

LOAD, LABELS, PACK = {"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}, {"type": "PackSegInputs"}
FLIPS = [{"type": "RandomFlip", "prob": chance, "direction": "horizontal"} for chance in (0.0, 1.0)]
MODEL = {
    "type": "EncoderDecoder",
    "backbone": {"type": "ResNet", "depth": 18},
    "decode_head": {"type": "FCNHead", "in_channels": 512, "channels": 4, "num_classes": 2},
}


def resize(**keys: Any) -> dict[str, Any]:
    return {"type": "Resize", **keys}


def lowered(*steps: dict[str, Any], tested: tuple[Any, ...] = ()) -> tuple[Any, list[tuple[str, str]]]:
    """What becomes of a tta_pipeline beside test data with a pipeline, and path and message of all that is wrong."""
    data = {"type": "BaseSegDataset", "data_root": "d", "metainfo": {"classes": ["a", "b"]}}
    values = {
        "model": MODEL,
        "test_dataloader": {"batch_size": 1, "dataset": {**data, "pipeline": [LOAD, *tested, LABELS, PACK]}},
        "test_evaluator": {"type": "IoUMetric"},
        "tta_model": {"type": "SegTTAModel"},
        "tta_pipeline": [LOAD, *steps],
    }
    found = lower_all(Config.from_values(values, file="test.py"))
    return found.spec and found.spec.inference.augmented, [(one.path, one.message) for one in found.problems]


def views(*lists: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "TestTimeAug", "transforms": [*lists, [LABELS], [PACK]]}


def within(width: int, height: int) -> ViewSize:
    return ViewSize((width, height), keep_ratio=True)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (
            [views([resize(scale_factor=factor, keep_ratio=True) for factor in (0.5, 1)], FLIPS)],
            AugmentedInference((0.5, 1.0), (None, "horizontal")),
        ),
        (
            [views([resize(scale=(2048, 512), keep_ratio=True), resize(scale=[1024, 256], keep_ratio=True)], FLIPS)],
            AugmentedInference((within(2048, 512), within(1024, 256)), (None, "horizontal")),
        ),
        (
            [views([resize(scale=512), resize(scale_factor=0.5), resize(scale_factor=(0.5, 2.0), keep_ratio=True)])],
            AugmentedInference(
                (ViewSize((512, 512)), ViewSize(factors=(0.5, 0.5)), ViewSize(factors=(0.5, 2.0), keep_ratio=True))
            ),
        ),
        (
            [views([resize(scale=(9, 8), scale_factor=0.5, interpolation="box", backend="pillow")])],
            AugmentedInference((ViewSize((9, 8), interpolation="box", backend="pillow"),)),
        ),
        (
            [resize(scale=(640, 480)), views([resize(scale_factor=1.5, keep_ratio=True)])],
            AugmentedInference((1.5,), first=ViewSize((640, 480))),
        ),
        (
            [views([{"type": "RandomFlip", "prob": 1.0, "direction": "diagonal"}, *FLIPS, FLIPS[1]])],
            AugmentedInference(flips=("diagonal", None, "horizontal", "horizontal")),
        ),
    ],
)
def test_views_of_a_config(steps: list[dict[str, Any]], expected: AugmentedInference) -> None:
    assert lowered(*steps) == (expected, [])


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, AugmentedInference()),
        ({"scales": [(2048, 512), (1024, 256)]}, AugmentedInference((within(2048, 512), within(1024, 256)))),
        (
            {"scales": (9, 8), "allow_flip": True, "resize_cfg": {"type": "Resize", "keep_ratio": False}},
            AugmentedInference((ViewSize((9, 8)),), (None, "horizontal")),
        ),
        (
            {"scale_factor": [0.5, 1.5], "allow_flip": True, "flip_direction": ["vertical", "diagonal"]},
            AugmentedInference((0.5, 1.5), (None, "vertical", "diagonal")),
        ),
        ({"scale_factor": 2, "flip_direction": "vertical"}, AugmentedInference((2.0,))),
    ],
)
def test_multi_scale_flip(keys: dict[str, Any], expected: AugmentedInference) -> None:
    """MMCV's other transform for views: by default one, at the image's size."""
    assert lowered({"type": "MultiScaleFlipAug", "transforms": [LABELS, PACK], **keys}) == (expected, [])


@pytest.mark.parametrize(
    ("step", "path", "said"),
    [
        (views([resize(keep_ratio=True)]), ".transforms.0.0", "'scale' or 'scale_factor' is missing"),
        (views([resize(scale=(0, 5))]), ".transforms.0.0", "expected pixels, (width, height), above 0, found (0, 5)"),
        (views([resize(scale_factor=-1)]), ".transforms.0.0", "expected a factor above 0, found -1"),
        (views([resize(scale=(5, 5), backend="PIL")]), ".transforms.0.0.backend", "Literal['cv2', 'pillow']"),
        (
            views([resize(scale=(5, 5), interpolation="hamming")]),
            ".transforms.0.0.interpolation",
            "'hamming' is an interpolation of backend='pillow' alone",
        ),
        (views([{"type": "RandomFlip", "prob": 0.5}]), ".transforms.0.0.prob", "expected 0 (as it is) or 1 (flipped)"),
        (views([resize(scale=5), FLIPS[0]]), ".transforms.0", "a list of alternatives with RandomFlip and Resize"),
        (views([resize(scale=5)], [resize(scale=6)]), ".transforms.1", "a list of alternatives with Resize"),
        (views([]), ".transforms.0", "a list of alternatives with nothing"),
        (views([{"type": "CLAHE"}]), ".transforms.0.0", "CLAHE is not in the pipeline of the test data"),
        (views([{"type": "ResizeToMultiple"}]), ".transforms.0.0", "ResizeToMultiple does not size views here"),
        (views([{"type": "Clahe"}]), ".transforms.0.0.type", "unknown transform 'Clahe'"),
        (
            {"type": "MultiScaleFlipAug", "transforms": [], "img_scale": (5, 5)},
            ".img_scale",
            "'img_scale' is not supported: of MMSegmentation 0.x; write scales",
        ),
        (
            {"type": "MultiScaleFlipAug", "transforms": [], "scales": [(5, 5), (5, 5, 5)]},
            ".scales",
            "expected pixels, (width, height), above 0, found (5, 5, 5)",
        ),
        (
            {"type": "MultiScaleFlipAug", "transforms": [], "scale_factor": [1.0, float("inf")]},
            ".scale_factor",
            "expected a factor above 0, found inf",
        ),
        (
            {"type": "MultiScaleFlipAug", "transforms": [], "scales": [(0.5, 5)]},
            ".scales",
            "expected pixels, (width, height), above 0, found (0.5, 5)",
        ),
    ],
)
def test_views_that_cannot_be(step: dict[str, Any], path: str, said: str) -> None:
    ((found, message),) = lowered(step)[1]
    assert found == f"tta_pipeline.1{path}"
    assert said in message


def test_steps_around_the_views() -> None:
    assert lowered({"type": "CLAHE"}, views(FLIPS), tested=({"type": "CLAHE"},))[1] == []
    ((path, message),) = lowered(views(FLIPS), resize(scale=5))[1]
    assert path == "tta_pipeline.2"
    assert "Resize comes after TestTimeAug" in message
    ((path, message),) = lowered(resize(scale=5), resize(scale=5), views(FLIPS))[1]
    assert path == "tta_pipeline.2"
    assert "there is a Resize before it" in message
