"""`val_evaluator` and `test_evaluator`: what is counted, and what is only written."""

from __future__ import annotations

from typing import Any

import pytest

from intarsia.config.build import metric_of, of_split
from intarsia.config.checking.check import check
from intarsia.config.errors import ConfigError
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.spec import RunSpec, SubmissionSpec

IOU = {"type": "IoUMetric", "iou_metrics": ["mIoU"]}
CITYSCAPES = {"type": "CityscapesMetric", "output_dir": "out"}


def config(**values: Any) -> Config:
    model = {
        "type": "EncoderDecoder",
        "data_preprocessor": {"type": "SegDataPreProcessor", "mean": [0.0] * 3, "std": [1.0] * 3},
        "backbone": {"type": "ResNetV1c", "depth": 18},
        "decode_head": {"type": "FCNHead", "in_channels": 512, "channels": 8, "num_classes": 19},
    }
    return Config.from_values({"model": model, **values}, file="test.py")


def lowered(**values: Any) -> RunSpec:
    return lower(config(**values))


def data(name: str, **more: Any) -> dict[str, Any]:
    return {"dataset": {"type": name, "data_root": "data", "pipeline": [{"type": "LoadImageFromFile"}], **more}}


def test_cityscapes_metric_with_all_its_arguments() -> None:
    given = CITYSCAPES | {
        "ignore_index": 254, "format_only": False, "keep_results": False, "collect_device": "cpu", "prefix": "x",
        "collect_dir": None,
    }  # fmt: skip
    spec = lowered(val_evaluator=given)
    assert spec.metric is not None
    assert (spec.metric.kind, spec.metric.type, dict(spec.metric.args)) == (
        "metric", "CityscapesMetric", {"ignore_index": 254},
    )  # fmt: skip
    assert not spec.notes
    assert not check(config(val_evaluator=given))
    assert lowered(val_evaluator=[{**given, "type": "mmseg.CityscapesMetric"}]).metric is not None
    with pytest.raises(ConfigError, match="unknown key 'ann_dir'"):
        lowered(val_evaluator=CITYSCAPES | {"ann_dir": "x"})


def test_results_that_are_kept_are_a_note() -> None:
    [note] = lowered(val_evaluator=CITYSCAPES | {"keep_results": True}).notes
    assert note.startswith("val_evaluator.keep_results: evaluation counts without files")
    [note] = lowered(val_evaluator=IOU | {"output_dir": "out"}).notes
    assert "label maps are written by `intarsia predict" in note
    spec = lowered(val_evaluator={"type": "DepthMetric", "output_dir": "out", "depth_scale_factor": 1000.0})
    assert "depths are written by `intarsia predict" in spec.notes[0]
    assert spec.metric is not None
    assert spec.metric.args == {}


def test_another_metric_of_the_test_data_is_its_own() -> None:
    spec = lowered(val_evaluator=IOU, test_evaluator=IOU | {"iou_metrics": ["mDice"]})
    assert metric_of(of_split(spec, "val")).args["metrics"] == ("mIoU",)
    assert metric_of(of_split(spec, "train")).args["metrics"] == ("mIoU",)
    assert metric_of(of_split(spec, "test")).args["metrics"] == ("mDice",)
    same = lowered(val_evaluator=IOU, test_evaluator=[IOU])
    assert same.test_metric is None
    assert of_split(same, "test") is same
    alone = lowered(test_evaluator=CITYSCAPES)
    assert alone.metric is not None
    assert (alone.metric.type, alone.test_metric) == ("CityscapesMetric", None)


def test_the_metric_of_the_test_data_is_checked_like_the_other() -> None:
    [problem] = check(config(val_evaluator=IOU, test_evaluator={"type": "IouMetrik"}))
    assert problem.path == "test_evaluator.type"


@pytest.mark.parametrize(
    ("dataset", "format_"),
    [
        (data("CityscapesDataset"), "cityscapes"),
        (data("ADE20KDataset"), "ade20k"),
        (data("LoveDADataset"), "loveda"),
        (data("iSAIDDataset"), "isaid"),
        (data("ADE20KDataset", data_prefix={"img_path": ["a", "b"]}), "ade20k"),
        ({"dataset": {"type": "RepeatDataset", "times": 2, **data("LoveDADataset")}}, "loveda"),
        (data("PascalVOCDataset"), "indices"),
        (None, "indices"),
    ],
)
def test_format_only_is_what_the_server_of_the_data_wants(dataset: Any, format_: str) -> None:
    spec = lowered(
        val_evaluator=IOU, test_dataloader=dataset, test_evaluator=IOU | {"format_only": True, "output_dir": "out"}
    )
    assert spec.submission == SubmissionSpec("out", format_)
    assert spec.metric is not None
    assert spec.test_metric is None


def test_cityscapes_metric_writes_ids() -> None:
    given = {"type": "CityscapesMetric", "output_dir": "out", "format_only": True, "keep_results": True}
    spec = lowered(test_evaluator=given)
    assert spec.submission == SubmissionSpec("out", "cityscapes")
    assert spec.metric is None
    assert not spec.notes


def test_a_validation_needs_scores() -> None:
    with pytest.raises(ConfigError) as caught:
        lowered(val_evaluator=CITYSCAPES | {"format_only": True})
    [problem] = caught.value.problems
    assert problem.path == "val_evaluator.format_only"
    assert "test_evaluator" in problem.hint
    with pytest.raises(ConfigError, match="depths are written by `intarsia predict"):
        lowered(test_evaluator={"type": "DepthMetric", "format_only": True})
