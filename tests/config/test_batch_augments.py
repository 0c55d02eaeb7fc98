"""`batch_augments`, which MMSegmentation takes and cannot run: what of it becomes a transform, or padding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_lowering import config, dataset, model, training

from intarsia.config.build import build
from intarsia.config.lowering.lower import lower, lower_all
from intarsia.contracts import Sample

PREPROCESSOR = {"type": "SegDataPreProcessor", "mean": [1, 2, 3], "std": [4, 5, 6], "bgr_to_rgb": True}
CUT_MIX = {"type": "CutMix", "alpha": 0.5}


def written(augments: Any, **more: Any) -> Any:
    return training(model=model(data_preprocessor={**PREPROCESSOR, **more, "batch_augments": augments}))


@pytest.mark.parametrize(
    ("augments", "expected"),
    [
        ([CUT_MIX], {"prob": 1.0, "alpha": 0.5}),
        ({"type": "mmpretrain.CutMix", "cutmix_minmax": None, "correct_lam": True}, {"prob": 1.0, "alpha": 1.0}),
        (
            {"type": "CutMix", "alpha": 1.0, "cutmix_minmax": [0.2, 0.8]},
            {"prob": 1.0, "alpha": 1.0, "sides": (0.2, 0.8)},
        ),
        ({"augments": CUT_MIX, "probs": 0.25}, {"prob": 0.25, "alpha": 0.5}),
        ({"augments": [CUT_MIX], "probs": [0.25]}, {"prob": 0.25, "alpha": 0.5}),
        ({"augments": [CUT_MIX]}, {"prob": 1.0, "alpha": 0.5}),
    ],
)
def test_cut_mix_is_the_last_transform_of_training_samples(augments: Any, expected: dict[str, float]) -> None:
    values = written(augments).values
    crop = {"type": "RandomCrop", "crop_size": (8, 8)}
    loaded, label, pack = dataset()["pipeline"]
    values["train_dataloader"]["dataset"]["pipeline"] = [loaded, label, crop, pack]
    found = lower_all(training(**values))
    assert found.problems == ()
    assert found.spec is not None
    assert found.spec.train is not None
    assert [step.type for step in found.spec.train.transforms] == ["RandomCrop", "CutMix"]
    last = found.spec.train.transforms[-1]
    assert last.args == expected
    other = Sample(np.ones((8, 8, 3), np.uint8), np.ones((8, 8), np.uint8))
    sample = Sample(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8))
    mixed = [build(last)(sample, np.random.default_rng(seed), [other]).label.mean() for seed in range(40)]
    assert 0 < np.mean(mixed) < 1
    untouched = np.mean(np.array(mixed) == 0)
    assert (untouched > 0.5) == (expected["prob"] < 1)


def test_without_training_data_nothing_is_mixed() -> None:
    spec = lower(config(model=model(data_preprocessor={**PREPROCESSOR, "batch_augments": [CUT_MIX]})))
    assert spec.train is None
    assert lower(written(None)).train.transforms == lower(training()).train.transforms == ()  # type: ignore[union-attr]


@pytest.mark.parametrize("more", [{}, {"size": (64, 96)}, {"pad_val": 7, "seg_pad_val": 255}])
def test_padding_of_a_batch_is_its_size(more: dict[str, Any]) -> None:
    masks = {"pad_seg": True, "seg_pad_value": 255, "pad_mask": True, "mask_pad_value": 0}
    entry = {"type": "mmdet.BatchFixedSizePad", "size": (64, 96), "img_pad_value": more.get("pad_val", 0), **masks}
    spec = lower(written([entry], **more))
    assert spec.preprocess.train_size == (64, 96)
    assert spec.preprocess.eval_size is None


@pytest.mark.parametrize(
    ("augments", "path", "said"),
    [
        ([{"type": "Mixup", "alpha": 0.8}], ".0", "'Mixup' is not supported: a pixel has one class"),
        ([{"type": "ResizeMix"}], ".0", "CutMix takes it as it is"),
        ({"type": "mmdet.BatchSyncRandomResize"}, "", "RandomResize before RandomCrop"),
        ([CUT_MIX, {"type": "BatchResize"}], ".1", "'BatchResize' is not supported"),
        ([{"type": "CutMx"}], ".0.type", "unknown 'CutMx'"),
        ([{"alpha": 1.0}], ".0.type", "unknown None"),
        ({"augments": [{"alpha": 1.0}]}, ".augments.0.type", "unknown None"),
        ({"augments": [CUT_MIX, CUT_MIX], "probs": [0.5, 0.5]}, ".augments", "found 2"),
        ({"augments": [CUT_MIX], "probs": [1.5]}, ".augments", "expected one augmentation with its chance"),
        ([{**CUT_MIX, "alpha": 0.0}], ".0.alpha", "expected a number above 0, found 0.0"),
        ([{**CUT_MIX, "cutmix_minmax": [0.8, 0.2]}], ".0.cutmix_minmax", "the smaller first, found [0.8, 0.2]"),
        ([{**CUT_MIX, "cutmix_minmax": [0.2]}], ".0.cutmix_minmax", "expected tuple[float, float]"),
        ([{**CUT_MIX, "beta": 1}], ".0.beta", "unknown key 'beta'"),
        ([{"type": "BatchFixedSizePad", "size": (8, 9), "img_pad_value": 1}], ".0.img_pad_value", "1 is not data_pre"),
        ([{"type": "BatchFixedSizePad", "size": (8, 9)}], ".0.size", "size_divisor says another size"),
        ([3], "", "expected dict | list[dict] | None, found [3] (list)"),
        (3, "", "expected dict | list[dict] | None, found 3 (int)"),
    ],
)
def test_what_has_no_meaning_is_said(augments: Any, path: str, said: str) -> None:
    more = {"size_divisor": 32} if said.startswith("size_divisor") else {}
    [problem] = lower_all(written(augments, **more)).problems
    assert problem.path == f"model.data_preprocessor.batch_augments{path}"
    assert said in str(problem)
