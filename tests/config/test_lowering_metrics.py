"""`val_evaluator` and `test_evaluator`: what is counted, and what is only written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from intarsia.config.build import build_metric, metric_of, of_split
from intarsia.config.checking.check import check
from intarsia.config.errors import ConfigError
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.metrics.cityscapes import LABELS, CityscapesMetric
from intarsia.metrics.several import Evaluator
from intarsia.spec import RunSpec, SubmissionSpec
from intarsia.workflows.confusion import check_confusion
from intarsia.workflows.evaluation_report import gallery_for
from intarsia.workflows.scores import chosen_scores

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


# --- Several metrics ----------------------------------------------------------------------------------------------


def problems(**values: Any) -> list[tuple[str, str, str]]:
    return [(problem.path, problem.message, problem.hint) for problem in check(config(**values))]


@pytest.mark.parametrize("wrap", [False, True])
def test_several_metrics_of_one_pass(wrap: bool) -> None:
    pair = [IOU, {"type": "CityscapesMetric", "ignore_index": 254}]
    given = {"type": "Evaluator", "metrics": pair} if wrap else pair
    assert not check(config(val_evaluator=given))
    spec = lowered(val_evaluator=given, test_evaluator=pair)
    assert spec.metric is not None
    assert [part.type for part in spec.metric.args["metrics"]] == ["IoUMetric", "CityscapesMetric"]
    assert "prefixes" not in spec.metric.args
    assert spec.test_metric is None
    metric = build_metric(spec, tuple(LABELS))
    assert isinstance(metric, Evaluator)
    assert [type(part).__name__ for part in metric.metrics] == ["IoUMetric", "CityscapesMetric"]
    assert metric.metrics[1].ignore_index == 254  # type: ignore[attr-defined]


def test_what_looks_for_a_confusion_matrix_finds_it_among_several() -> None:
    spec = lowered(val_evaluator=[IOU | {"ignore_index": 254}, {"type": "CityscapesMetric"}])
    metric = build_metric(spec, tuple(LABELS))
    check_confusion([Path("matrix.png")], metric)
    gallery = gallery_for(spec, tuple(LABELS), 2)
    assert isinstance(gallery.metric, Evaluator)
    assert gallery.details.ignore_index == 254
    chosen = chosen_scores(metric_of(spec), metrics="mDice", groups=None)
    assert (chosen.type, dict(chosen.args)) == ("IoUMetric", {"metrics": ("mDice",), "ignore_index": 254})
    with pytest.raises(ValueError, match="Evaluator counts no confusion matrix"):
        check_confusion([Path("matrix.png")], Evaluator([CityscapesMetric()]))


def test_equal_names_take_a_prefix() -> None:
    ((path, message, hint),) = problems(val_evaluator=[IOU, IOU | {"iou_metrics": ["mDice"]}])
    assert path == "val_evaluator.1"
    assert message == "IoUMetric at val_evaluator.0 and IoUMetric both give aAcc, mAcc"
    assert hint.startswith("Give one of them prefix='...'")
    spec = lowered(val_evaluator=[IOU, IOU | {"prefix": "strict", "ignore_index": 254}])
    assert spec.metric is not None
    assert spec.metric.args["prefixes"] == (None, "strict")


def test_keys_that_wait_for_a_score_find_it() -> None:
    pair = [IOU, {"type": "CityscapesMetric", "prefix": "cityscapes"}]

    def best(name: str) -> dict[str, Any]:
        hook = {"type": "CheckpointHook", "interval": 10, "save_best": name}
        return {"val_evaluator": pair, "default_hooks": {"checkpoint": hook}}

    for name in ("mIoU", "cityscapes/averageScoreCategories", "auto"):
        spec = lowered(**best(name))
        assert spec.checkpoint is not None
        assert spec.checkpoint.best_metric == ("mIoU" if name == "auto" else name)
    ((path, message, hint),) = problems(**best("averageScoreClasses"))
    assert path == "default_hooks.checkpoint.save_best"
    assert "'averageScoreClasses' is watched, but the evaluation does not give it" in message
    assert "cityscapes/averageScoreClasses" in hint
    watch = {"type": "EarlyStoppingHook", "monitor": "cityscapes/mIoU", "min_delta": 1.0}
    spec = lowered(val_evaluator=pair, custom_hooks=[watch], val_dataloader=data("CityscapesDataset"))
    assert spec.early_stop is not None
    assert (spec.early_stop.metric, spec.early_stop.min_delta) == ("cityscapes/mIoU", 0.01)


def test_depths_and_classes_are_not_compared_in_one_pass() -> None:
    ((path, message, _),) = problems(val_evaluator=[IOU, {"type": "DepthMetric"}])
    assert path == "val_evaluator.1"
    assert message == "DepthMetric compares depths, IoUMetric classes"
    near = {"type": "DepthMetric", "prefix": "near", "max_depth_eval": 10.0}
    assert not check(config(val_evaluator=[near, {"type": "DepthMetric"}]))


def test_what_gives_no_scores_is_left_out_of_several() -> None:
    spec = lowered(val_evaluator=[IOU, {"type": "DumpResults", "out_file_path": "a.pkl"}])
    assert spec.metric is not None
    assert spec.metric.type == "IoUMetric"
    assert "val_evaluator.1: predictions are written by `intarsia predict" in spec.notes[0]
    spec = lowered(val_evaluator=IOU, test_evaluator=[IOU, CITYSCAPES | {"format_only": True}])
    assert (spec.submission, spec.test_metric) == (None, None)
    assert "nothing is written beside scores" in spec.notes[0]
    assert problems(val_evaluator=[])[0][:2] == ("val_evaluator", "expected a metric, found none")


def test_a_metric_of_ones_own_has_its_prefix_taken_away() -> None:
    spec = lowered(val_evaluator=[IOU, {"type": "my.metrics:Own", "prefix": "own", "size": 3}])
    assert spec.metric is not None
    assert dict(spec.metric.args["metrics"][1].args) == {"size": 3}
    assert spec.metric.args["prefixes"] == (None, "own")


def test_an_evaluator_is_none_of_several_metrics() -> None:
    found = problems(val_evaluator=[IOU, {"type": "Evaluator", "metrics": [IOU]}])
    assert found[0][:2] == ("val_evaluator.1", "an Evaluator holds metrics and is none of several")
