from __future__ import annotations

import gzip
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from intarsia.config.errors import ConfigError
from intarsia.config.language.reader import Config, read_file
from intarsia.config.lowering.lower import lower, lower_all
from intarsia.config.lowering.names import FAMILIES, argument_name, user_key
from intarsia.config.schema.vocabulary import AREAS
from intarsia.spec import (
    Component,
    DataSpec,
    Duration,
    EarlyStopSpec,
    EmaSpec,
    RareSpec,
    SafeguardSpec,
    ScheduleSpec,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def published(shared: Path) -> dict[str, Any]:
    with gzip.open(shared / "facts" / "mmseg_configs.json.gz", "rt") as file:
        return json.load(file)


def head(**more: Any) -> dict[str, Any]:
    return {"type": "FCNHead", "in_channels": 512, "channels": 64, "num_classes": 3, **more}


def dataset(**more: Any) -> dict[str, Any]:
    classes = ["a", "b", "c"]
    pipeline = [{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}, {"type": "PackSegInputs"}]
    return {"type": "BaseSegDataset", "data_root": "d", "metainfo": {"classes": classes}, "pipeline": pipeline, **more}


def model(**more: Any) -> dict[str, Any]:
    preprocessor = {"type": "SegDataPreProcessor", "mean": [1, 2, 3], "std": [4, 5, 6], "bgr_to_rgb": True}
    return {
        "type": "EncoderDecoder",
        "data_preprocessor": preprocessor,
        "backbone": {"type": "ResNetV1c", "depth": 18},
        "decode_head": head(),
        **more,
    }


def config(**sections: Any) -> Config:
    return Config.from_values({"model": model(), **sections}, file="test.py")


def training(**sections: Any) -> Config:
    values = {
        "train_dataloader": {"batch_size": 2, "num_workers": 1, "dataset": dataset()},
        "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": 100, "val_interval": 20},
        "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1}},
    }
    return config(**(values | sections))


def problems(given: Config) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        lower(given)
    return [(problem.path, problem.message) for problem in caught.value.problems]


# --- All that is published ----------------------------------------------------------------------------------------


def paths(value: Any, path: str = "") -> list[str]:
    """Every dict key below a value, as a dotted path."""
    if isinstance(value, dict):
        below = [(f"{path}.{key}" if path else str(key), item) for key, item in value.items()]
        return [name for name, _ in below] + [deep for name, item in below for deep in paths(item, name)]
    if isinstance(value, list):
        return [deep for index, item in enumerate(value) for deep in paths(item, f"{path}.{index}")]
    return []


def test_every_published_config_lowers_and_no_key_is_overlooked(published: dict[str, Any]) -> None:
    assert len(published) == 681
    for name, values in published.items():
        found = lower_all(Config.from_values(values, file=name))
        assert not found.problems, f"{name}: {found.problems}"
        assert found.spec is not None
        for path in paths(values):
            nearest = path
            while nearest and nearest not in found.seen:
                nearest = nearest.rpartition(".")[0]
            covered = nearest == path or (nearest and found.seen[nearest].whole)
            assert covered, f"{name}: nothing was said about {path}"


def test_published_misspelling_of_model_is_a_note(published: dict[str, Any]) -> None:
    with_models = [values for values in published.values() if "models" in values]
    assert len(with_models) == 1
    spec = lower(Config.from_values(with_models[0], file="bisenetv2.py"))
    assert any("'models'" in note and "'model'" in note for note in spec.notes)


def test_documented_vocabulary_is_current(published: dict[str, Any]) -> None:
    location = importlib.util.spec_from_file_location("vocabulary_script", ROOT / "scripts" / "vocabulary.py")
    assert location is not None
    assert location.loader is not None
    script = importlib.util.module_from_spec(location)
    location.loader.exec_module(script)
    written = (ROOT / "docs" / "vocabulary.md").read_text(encoding="utf-8")
    assert written == script.render(published), "run `python scripts/vocabulary.py .../mmseg_configs.json.gz`"


def test_real_config_file(shared: Path) -> None:
    file = shared / "golden" / "trained" / "fast_scnn_camvid.py"
    spec = lower(read_file(file))
    assert spec.model.type == "EncoderDecoder"
    assert [part.head for part in spec.losses] == ["decode", "aux_0", "aux_1"]
    assert {part.ignore_index for part in spec.losses} == {11}
    assert spec.losses[0].losses[0].args == {"use_sigmoid": False, "avg_non_ignore": True}
    assert spec.model.args["auxiliary_head"][1].args["channels"] == 32
    assert "loss_decode" not in spec.model.args["decode_head"].args
    assert spec.preprocess.train_size == (256, 320)
    assert spec.preprocess.eval_size_divisor == 32
    assert spec.preprocess.label_pad_value == 11
    assert spec.train is not None
    assert spec.val is not None
    assert spec.train.dataset.args["labels"] == "trainannot"
    assert spec.train.dataset.args["ignore_index"] == 11
    assert [part.type for part in spec.train.transforms] == [
        "RandomResize", "RandomCrop", "RandomFlip", "PhotoMetricDistortion"
    ]  # fmt: skip
    assert (spec.train.label_size, spec.val.label_size) == ("input", "original")
    assert spec.metric is not None
    assert spec.metric.args == {"metrics": ("mIoU", "mDice", "mFscore"), "ignore_index": 11}
    assert spec.duration == Duration(700, "steps")
    assert spec.optim is not None
    assert spec.optim.schedules == (
        ScheduleSpec("PolyLR", begin=0, end=700, args={"power": 0.9, "eta_min": 1e-4}),
    )  # fmt: skip
    assert spec.runtime.backend == "gloo"
    origin = spec.model.args["decode_head"].origin
    assert origin is not None
    assert (Path(origin.file).name, origin.line) == ("fast_scnn_camvid.py", 22)


# --- Model --------------------------------------------------------------------------------------------------------


def test_norm_activation_and_switches_get_the_constructors_names() -> None:
    backbone = {
        "type": "ResNetV1c",
        "depth": 18,
        "norm_cfg": {"type": "SyncBN", "eps": 1e-3, "requires_grad": True},
        "act_cfg": {"type": "ReLU", "inplace": True},
        "conv_cfg": None,
        "with_cp": True,
        "init_cfg": {"type": "Pretrained", "checkpoint": "file.pth", "prefix": "backbone."},
    }
    spec = lower(config(model=model(backbone=backbone)))
    args = spec.model.args["backbone"].args
    assert args["norm"].args == {"kind": "SyncBN", "eps": 1e-3, "requires_grad": True}
    assert (args["norm"].kind, args["norm"].path) == ("norm", "model.backbone.norm_cfg")
    assert args["activation"].args == {"kind": "ReLU", "inplace": True}
    assert args["checkpoint_activations"] is True
    assert {"conv", "init_cfg", "norm_cfg", "with_cp"}.isdisjoint(args)
    assert spec.pretrained == (("backbone", "file.pth#backbone."),)
    assert spec.runtime.synchronise_batch_norm
    assert any("SyncBN" in note for note in spec.notes)


def test_initialisers_are_refused() -> None:
    backbone = {"type": "ResNetV1c", "depth": 18, "init_cfg": {"type": "Kaiming", "layer": "Conv2d"}}
    [(path, message)] = problems(config(model=model(backbone=backbone)))
    assert path == "model.backbone.init_cfg"
    assert "Kaiming" in message


def test_pretrained_of_the_model_goes_to_the_backbone() -> None:
    assert lower(config(model=model(pretrained="open-mmlab://r18"))).pretrained == (("backbone", "open-mmlab://r18"),)


def test_loss_is_cross_entropy_by_default_and_lists_keep_their_order() -> None:
    dice = {"type": "DiceLoss", "loss_weight": 3.0}
    ce = {"type": "CrossEntropyLoss", "class_weight": [1.0, 2.0, 3.0], "loss_name": "loss_main"}
    auxiliary = [head(loss_decode=[ce, dice]), head(sampler={"type": "OHEMPixelSampler", "thresh": 0.7})]
    decode, first, second = lower(config(model=model(auxiliary_head=auxiliary))).losses
    assert [loss.type for loss in decode.losses] == ["CrossEntropyLoss"]
    assert [(term.name, term.weight) for term in decode.terms] == [("loss_ce", 1.0)]
    assert [(term.name, term.weight) for term in first.terms] == [("loss_main", 1.0), ("loss_dice", 3.0)]
    assert first.losses[0].args == {"class_weight": (1.0, 2.0, 3.0)}
    assert (first.head, second.head) == ("aux_0", "aux_1")
    assert second.sampler is not None
    assert second.sampler.args == {"thresh": 0.7}


def test_loss_without_loss_in_its_name_is_only_logged() -> None:
    spec = lower(config(model=model(decode_head=head(loss_decode={"type": "CrossEntropyLoss", "loss_name": "ce"}))))
    assert [term.weight for term in spec.losses[0].terms] == [0.0]
    assert any("not trained on" in note for note in spec.notes)


@pytest.mark.parametrize(
    ("classes", "logits", "seen", "threshold"),
    [
        ({"num_classes": 3}, 3, 3, None),
        ({"num_classes": 2}, 2, 2, None),
        ({"num_classes": 2, "out_channels": 1}, 1, 2, 0.3),
        ({"num_classes": 2, "out_channels": 1, "threshold": 0.5}, 1, 2, 0.5),
        ({"num_classes": 1}, 1, 1, 0.3),
        ({"num_classes": 1, "threshold": 0.6}, 1, 1, 0.6),
    ],
)
def test_binary_heads(classes: dict[str, Any], logits: int, seen: int, threshold: float | None) -> None:
    spec = lower(config(model=model(decode_head=head(**classes))))
    assert spec.model.args["decode_head"].args["num_classes"] == logits
    assert "out_channels" not in spec.model.args["decode_head"].args
    assert (spec.inference.num_classes, spec.inference.threshold) == (seen, threshold)


def test_out_channels_must_fit_the_classes() -> None:
    [(path, message)] = problems(config(model=model(decode_head=head(num_classes=5, out_channels=3))))
    assert path == "model.decode_head.out_channels"
    assert "5" in message


@pytest.mark.parametrize(("written", "meant"), [(-1, 0.0), (0, 0.0), (0.1, 0.1)])
def test_dropout(written: float, meant: float) -> None:
    spec = lower(config(model=model(decode_head=head(dropout_ratio=written))))
    assert spec.model.args["decode_head"].args["dropout_ratio"] == meant


def test_dropout_of_a_head_without_a_classifier_is_left_out() -> None:
    segmenter = head(type="SegmenterMaskTransformerHead", dropout_ratio=0.1, embed_dims=8)
    spec = lower(config(model=model(decode_head=segmenter)))
    assert "dropout_ratio" not in spec.model.args["decode_head"].args


@pytest.mark.parametrize(
    ("swap", "order"),
    [({"bgr_to_rgb": True}, "rgb"), ({"rgb_to_bgr": True}, "rgb"), ({}, "bgr"), ({"mean": [1.0], "std": [1.0]}, "rgb")],
)
def test_channel_order_is_what_the_network_sees(swap: dict[str, Any], order: str) -> None:
    preprocessor = {"type": "SegDataPreProcessor", "mean": [1, 2, 3], "std": [4, 5, 6], **swap}
    assert lower(config(model=model(data_preprocessor=preprocessor))).preprocess.channel_order == order


def test_preprocessor_of_the_top_level_is_used_where_the_model_has_none() -> None:
    without = {key: value for key, value in model().items() if key != "data_preprocessor"}
    spec = lower(config(model=without, data_preprocessor={"mean": [9.0], "std": [2.0], "size_divisor": 32}))
    assert (spec.preprocess.mean, spec.preprocess.train_size_divisor) == ((9.0,), 32)


def test_sliding_windows() -> None:
    spec = lower(config(model=model(test_cfg={"mode": "slide", "crop_size": [64, 32], "stride": 21})))
    assert (spec.inference.mode, spec.inference.crop_size, spec.inference.stride) == ("slide", (64, 32), (21, 21))


def test_heads_of_a_cascade_have_numbers() -> None:
    given = model(type="CascadeEncoderDecoder", num_stages=2, decode_head=[head(), head(align_corners=True)])
    spec = lower(config(model=given))
    assert [loss.head for loss in spec.losses] == ["decode_0", "decode_1"]
    assert [part.path for part in spec.model.args["decode_head"]] == ["model.decode_head.0", "model.decode_head.1"]
    assert "num_stages" not in spec.model.args
    assert spec.inference.align_corners


@pytest.mark.parametrize(("levels", "logits"), [(False, True), (True, False)])
def test_logits_of_a_head_that_resizes_its_levels_in_another_way(levels: bool, logits: bool) -> None:
    """What predicts and what trains resizes logits as the head says, not as it resizes its levels."""
    own = head(
        type="SegformerHead", in_channels=[8, 16], in_index=[0, 1], align_corners=levels, logits_align_corners=logits
    )
    spec = lower(config(model=model(decode_head=own)))
    assert spec.inference.align_corners == logits
    assert [one.align_corners for one in spec.losses] == [logits]
    assert spec.model.args["decode_head"].args["align_corners"] == levels


def hrnet(**stage: Any) -> dict[str, Any]:
    first = {"num_modules": 1, "num_branches": 1, "block": "BOTTLENECK", "num_blocks": [2], "num_channels": [64]}
    second = {"num_modules": 3, "num_branches": 2, "block": "BASIC", "num_blocks": [4, 4], "num_channels": [18, 36]}
    return {"type": "HRNet", "extra": {"stage1": first, "stage2": second | stage}}


def test_stages_of_hrnet_become_arguments() -> None:
    part = lower(config(model=model(backbone=hrnet()))).model.args["backbone"]
    assert part.args == {"channels": ((64,), (18, 36)), "num_blocks": ((2,), (4, 4)), "num_modules": (1, 3)}


@pytest.mark.parametrize(
    ("stage", "key", "message"),
    [
        ({"block": "BOTTLENECK"}, "stage2.block", "expected 'BASIC' in stage2, found 'BOTTLENECK'"),
        ({"num_chanels": [1]}, "stage2.num_chanels", "unknown key 'num_chanels'"),
        ({"num_modules": "3"}, "stage2.num_modules", "expected int, found '3' (str)"),
    ],
)
def test_mistakes_in_stages_of_hrnet_are_named(stage: dict[str, Any], key: str, message: str) -> None:
    [(path, found)] = problems(config(model=model(backbone=hrnet(**stage))))
    assert path == f"model.backbone.extra.{key}"
    assert message in found


def knet(**update: Any) -> dict[str, Any]:
    """A K-Net head, with something else in its only round."""
    updator = {"type": "KernelUpdator", "in_channels": 64, "norm_cfg": {"type": "LN"}}
    first = {
        "type": "mmseg.KernelUpdateHead",
        "num_classes": 3,
        "in_channels": 64,
        "conv_kernel_size": 1,
        "num_ffn_fcs": 2,
        "with_ffn": True,
        "ffn_act_cfg": {"type": "GELU"},
        "feat_transform_cfg": {"conv_cfg": {"type": "Conv2d"}, "act_cfg": None},
        "kernel_updator_cfg": updator,
    }
    inner = head(out_channels=1, num_classes=2, threshold=0.4, ignore_index=7, align_corners=True)
    return {
        "type": "IterativeDecodeHead",
        "num_stages": 1,
        "kernel_generate_head": inner,
        "kernel_update_head": [first | update],
    }


def test_rounds_of_knet() -> None:
    spec = lower(config(model=model(decode_head=knet())))
    args = spec.model.args["decode_head"].args
    assert set(args) == {"num_stages", "kernel_generate_head", "kernel_update_head"}
    assert "loss_decode" not in args["kernel_generate_head"].args
    [update] = args["kernel_update_head"]
    assert (update.kind, update.path) == ("head_part", "model.decode_head.kernel_update_head.0")
    assert set(update.args) == {"in_channels", "ffn_activation", "feat_transform", "kernel_updator"}
    assert update.args["feat_transform"] is True
    assert update.args["ffn_activation"].args == {"kind": "GELU"}
    assert (update.args["kernel_updator"].kind, update.args["kernel_updator"].args["in_channels"]) == ("head_part", 64)
    # Losses, classes and what inference needs are those of the head that generates the kernels.
    [loss] = spec.losses
    assert (loss.head, loss.ignore_index, loss.align_corners) == ("decode", 7, True)
    assert [term.name for term in loss.terms] == ["loss_ce"]
    assert (spec.inference.num_classes, spec.inference.threshold, spec.inference.align_corners) == (2, 0.4, True)


def test_rounds_of_knet_may_read_the_map_as_it_is() -> None:
    spec = lower(config(model=model(decode_head=knet(feat_transform_cfg=None))))
    assert spec.model.args["decode_head"].args["kernel_update_head"][0].args["feat_transform"] is False


@pytest.mark.parametrize(
    ("update", "key", "message"),
    [
        ({"conv_kernel_size": 3}, "conv_kernel_size", "'conv_kernel_size' is not supported: kernels have one pixel"),
        ({"num_ffn_fcs": 3}, "num_ffn_fcs", "'num_ffn_fcs' is not supported: the perceptron has two layers"),
        ({"with_ffn": False}, "with_ffn", "'with_ffn' is not supported: the perceptron is part of every round"),
        ({"feat_transform_cfg": 3}, "feat_transform_cfg", "expected dict | None, found 3 (int)"),
        ({"feat_transform_cfg": {}}, "feat_transform_cfg", "'act_cfg' is missing"),
        (
            {"feat_transform_cfg": {"act_cfg": {"type": "ReLU"}}},
            "feat_transform_cfg.act_cfg",
            "expected None, found {'type': 'ReLU'} (dict)",
        ),
        (
            {"feat_transform_cfg": {"act_cfg": None, "norm_cfg": {"type": "BN"}}},
            "feat_transform_cfg.norm_cfg",
            "'norm_cfg' is not supported: no norm follows",
        ),
        ({"feat_transform_cfg": {"act_cfg": None, "pading": 1}}, "feat_transform_cfg.pading", "unknown key 'pading'"),
    ],
)
def test_rounds_of_knet_that_are_not_supported(update: dict[str, Any], key: str, message: str) -> None:
    [(path, found)] = problems(config(model=model(decode_head=knet(**update))))
    assert path == f"model.decode_head.kernel_update_head.0.{key}"
    assert found.startswith(message)


def test_backbone_inside_a_backbone() -> None:
    inner = {"type": "ResNet", "depth": 18, "init_cfg": {"type": "Pretrained", "checkpoint": "r18.pth"}}
    spec = lower(config(model=model(backbone={"type": "BiSeNetV1", "backbone_cfg": inner, "align_corners": False})))
    args = spec.model.args["backbone"].args
    assert list(args) == ["backbone"]
    assert (args["backbone"].kind, args["backbone"].type) == ("backbone", "ResNet")
    assert spec.pretrained == (("backbone.context_path.backbone", "r18.pth"),)


def test_point_refinement_stays_with_the_last_head() -> None:
    given = model(
        type="CascadeEncoderDecoder",
        decode_head=[head(), head(type="PointHead")],
        train_cfg={"num_points": 2048},
        test_cfg={"mode": "whole", "subdivision_steps": 2},
    )
    first, last = lower(config(model=given)).model.args["decode_head"]
    assert not {"num_points", "subdivision_steps"} & set(first.args)
    assert (last.args["num_points"], last.args["subdivision_steps"]) == (2048, 2)


# --- Data ---------------------------------------------------------------------------------------------------------


def stream(**more: Any) -> Any:
    spec = lower(training(train_dataloader={"batch_size": 2, "num_workers": 1, "dataset": dataset(**more)}))
    assert spec.train is not None
    return spec.train


def test_dataset_arguments_get_our_names() -> None:
    args = stream(
        data_prefix={"img_path": "i", "seg_map_path": "l"},
        img_suffix=".tif",
        seg_map_suffix="_mask.png",
        ann_file="train.txt",
        metainfo={"classes": ["a", "b", "c"], "palette": [[0, 0, 0], [1, 1, 1], [2, 2, 2]]},
        reduce_zero_label=True,
        serialize_data=False,
    ).dataset.args
    assert args == {
        "root": "d",
        "images": "i",
        "labels": "l",
        "image_suffix": ".tif",
        "label_suffix": "_mask.png",
        "split_file": "train.txt",
        "classes": ("a", "b", "c"),
        "palette": ((0, 0, 0), (1, 1, 1), (2, 2, 2)),
        "reduce_zero_label": True,
    }


def test_lists_of_splits_are_concatenated() -> None:
    prefix = {"img_path": "JPEGImages", "seg_map_path": ["SegmentationClass", "SegmentationClassAug"]}
    found = stream(type="PascalVOCDataset", ann_file=["train.txt", "aug.txt"], data_prefix=prefix).dataset
    assert found.type == "ConcatDataset"
    assert [(part.args["split_file"], part.args["labels"]) for part in found.args["datasets"]] == [
        ("train.txt", "SegmentationClass"),
        ("aug.txt", "SegmentationClassAug"),
    ]


def test_repeated_and_concatenated_data_sets() -> None:
    parts = [dataset(data_root="x"), dataset(data_root="y")]
    nested = {"type": "RepeatDataset", "times": 5, "dataset": {"type": "ConcatDataset", "datasets": parts}}
    spec = lower(training(train_dataloader={"batch_size": 1, "dataset": nested}))
    assert spec.train is not None
    assert spec.train.dataset.args["times"] == 5
    roots = [part.args["root"] for part in spec.train.dataset.args["dataset"].args["datasets"]]
    assert roots == ["x", "y"]


def test_wrappers_that_mix_and_balance() -> None:
    flip, crop = {"type": "RandomFlip", "prob": 0.5}, {"type": "RandomCrop", "crop_size": [8, 8]}
    inner = dataset(pipeline=[{"type": "LoadImageFromFile"}, {"type": "LoadAnnotations"}, crop])
    balanced = {"type": "ClassBalancedDataset", "oversample_thr": 0.1, "dataset": inner}
    mixed = {"type": "MultiImageMixDataset", "dataset": balanced, "pipeline": [flip], "skip_type_keys": None}
    spec = lower(training(train_dataloader={"batch_size": 1, "dataset": mixed}))
    assert spec.train is not None
    assert [transform.type for transform in spec.train.transforms] == ["RandomCrop", "RandomFlip"]
    assert spec.train.label_size == "input"
    outer = spec.train.dataset
    assert (outer.type, outer.args["dataset"].type) == ("MultiImageMixDataset", "ClassBalancedDataset")
    assert outer.args["dataset"].args["oversample_thr"] == 0.1
    skipping = {**mixed, "pipeline": [flip, crop], "skip_type_keys": ["mmcv.RandomFlip"]}
    spec = lower(training(train_dataloader={"batch_size": 1, "dataset": skipping}))
    assert spec.train is not None
    assert [transform.type for transform in spec.train.transforms] == ["RandomCrop", "RandomCrop"]


def test_weights_of_the_whole_model() -> None:
    def started(init: Any, **sections: Any) -> Config:
        return config(**{"model": {**model(), "init_cfg": init}, **sections})

    init = {"type": "Pretrained", "checkpoint": "whole.pth", "map_location": "cpu"}
    assert lower(started(init)).load_from == "whole.pth"
    assert lower(started(init)).pretrained == lower(started(None)).pretrained
    assert lower(started(init, load_from="other.pth")).load_from == "other.pth"
    assert problems(started({**init, "prefix": "student."}))[0][0] == "model.init_cfg.prefix"
    assert problems(started({"type": "Normal", "std": 0.01}))[0][0] == "model.init_cfg"
    assert problems(started({"type": "Pretrained"})) == [("model.init_cfg", "'checkpoint' is missing")]


def test_images_chosen_by_their_place_in_the_list() -> None:
    assert stream(indices=5, filter_cfg={"filter_empty_gt": True}).dataset.args["indices"] == 5
    assert stream(indices=[3, 1]).dataset.args["indices"] == (3, 1)
    assert "indices" not in stream(indices=None).dataset.args


CROP, FLIP = {"type": "RandomCrop", "crop_size": [8, 8]}, {"type": "RandomFlip", "prob": 0.5}


def loading(*steps: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return dataset(pipeline=[{"type": "LoadAnnotations"}, *steps], **changes)


def concatenated(*parts: dict[str, Any]) -> DataSpec:
    nested = {"type": "ConcatDataset", "datasets": list(parts)}
    spec = lower(training(train_dataloader={"batch_size": 1, "dataset": nested}))
    assert spec.train is not None
    return spec.train


def test_concatenated_data_sets_with_pipelines_of_their_own() -> None:
    resize = {"type": "Resize", "scale": [16, 16]}
    train = concatenated(loading(CROP, FLIP), loading(resize, CROP, FLIP), loading(CROP, FLIP, data_root="y"))
    assert train.dataset.args["members"] == (0, 1, 0)
    assert [step.type for step in train.transforms] == ["ByDataset", "RandomCrop", "RandomFlip"]
    assert [[step.type for step in own] for own in train.transforms[0].args["pipelines"]] == [[], ["Resize"]]
    assert [step.type for step in train.steps] == ["Resize", "RandomCrop", "RandomFlip"]
    assert [step.type for step in train.first_steps] == ["RandomCrop", "RandomFlip"]
    same = concatenated(loading(CROP), loading(CROP))
    assert "members" not in same.dataset.args
    assert [step.type for step in same.transforms] == ["RandomCrop"]


def test_parts_that_have_parts_with_pipelines_of_their_own() -> None:
    inner = {"type": "ConcatDataset", "datasets": [loading(CROP), loading(CROP, FLIP)]}
    train = concatenated(loading(FLIP), {"type": "RepeatDataset", "times": 2, "dataset": inner}, loading(CROP))
    assert train.dataset.args["members"] == (0, None, 1)
    assert train.dataset.args["datasets"][1].args["dataset"].args["members"] == (1, 2)
    pipelines = train.transforms[0].args["pipelines"]
    assert [[step.type for step in own] for own in pipelines] == [
        ["RandomFlip"],
        ["RandomCrop"],
        ["RandomCrop", "RandomFlip"],
    ]
    assert len(train.transforms) == 1


def test_concatenated_data_sets_load_their_labels_alike() -> None:
    late = dataset(pipeline=[{"type": "Resize", "scale": [8, 8]}, {"type": "LoadAnnotations"}])
    nested = {"type": "ConcatDataset", "datasets": [loading(CROP), late]}
    found = problems(training(train_dataloader={"batch_size": 1, "dataset": nested}))
    assert [path for path, _ in found] == ["train_dataloader.dataset.datasets.1.pipeline"]


def test_bands_and_missing_labels_are_the_data_sets() -> None:
    pipeline = [{"type": "LoadImageFromFile", "color_type": "unchanged"}, {"type": "PackSegInputs"}]
    args = stream(pipeline=pipeline).dataset.args
    assert args["bands"] == "raw"
    assert args["labels"] is None
    described = {"type": "DescribedDataset", "file": "data.yaml", "split": "test", "pipeline": pipeline}
    spec = lower(training(train_dataloader={"batch_size": 1, "dataset": described}))
    assert spec.train is not None
    assert spec.train.dataset.args == {"bands": "raw", "file": "data.yaml", "split": "test"}


def test_labels_loaded_after_resizing_keep_their_size() -> None:
    resize = {"type": "Resize", "scale": [8, 8]}
    load = {"type": "LoadAnnotations"}
    assert stream(pipeline=[load, resize]).label_size == "input"
    assert stream(pipeline=[resize, load]).label_size == "original"
    flip = {"type": "RandomFlip", "prob": 0.5}
    mixed = {"batch_size": 1, "dataset": dataset(pipeline=[resize, load, flip])}
    assert [path for path, _ in problems(training(train_dataloader=mixed))] == ["train_dataloader.dataset.pipeline.2"]


@pytest.mark.parametrize(
    ("name", "own", "said", "agrees"),
    [
        ("ADE20KDataset", {}, True, True),
        ("ADE20KDataset", {}, False, False),
        ("ADE20KDataset", {"reduce_zero_label": False}, True, False),
        ("CityscapesDataset", {}, True, False),
        ("DSDLSegDataset", {"ann_file": "train.yaml"}, True, False),
        ("iSAIDDataset", {}, False, True),
        ("BaseSegDataset", {"reduce_zero_label": True}, True, True),
        ("my.module:Data", {}, True, True),
    ],
)
def test_reduce_zero_label_is_said_the_same_twice(name: str, own: dict[str, Any], said: bool, agrees: bool) -> None:
    pipeline = [{"type": "LoadAnnotations", "reduce_zero_label": said}]
    given = training(train_dataloader={"batch_size": 1, "dataset": dataset(type=name, pipeline=pipeline, **own)})
    found = lower_all(given).problems
    assert [problem.path for problem in found] == (
        [] if agrees else ["train_dataloader.dataset.pipeline.0.reduce_zero_label"]
    )


def test_label_table_of_pairs_or_mapping() -> None:
    table = stream(label_table={"values": [[0, 0], [255, 1]], "outside": "ignore"}).dataset.args["label_table"]
    assert (table.kind, table.args) == ("label_table", {"values": {0: 0, 255: 1}, "outside": "ignore"})
    table = stream(label_table={"colours": [[[128, 0, 0], 1]], "values": {"7": 2}}).dataset.args["label_table"]
    assert table.args == {"colours": {(128, 0, 0): 1}, "values": {7: 2}}


# --- Training -----------------------------------------------------------------------------------------------------


def test_half_precision_clipping_and_accumulation() -> None:
    wrapper = {
        "type": "AmpOptimWrapper",
        "optimizer": {"type": "AdamW", "lr": 1e-4, "betas": [0.9, 0.999]},
        "clip_grad": {"max_norm": 0.01, "norm_type": 2},
        "accumulative_counts": 2,
        "paramwise_cfg": {"custom_keys": {"head": {"lr_mult": 10.0}}},
        "constructor": "mmengine.DefaultOptimWrapperConstructor",
    }
    optim = lower(training(optim_wrapper=wrapper)).optim
    assert optim is not None
    assert optim.optimizer.args == {"lr": 1e-4, "betas": (0.9, 0.999)}
    assert (optim.precision, optim.loss_scale, optim.accumulate) == ("16-mixed", "dynamic", 2)
    assert optim.clip == {"max_norm": 0.01, "norm_type": 2}
    assert optim.paramwise == {"custom_keys": {"head": {"lr_mult": 10.0}}}
    assert optim.constructor == "DefaultOptimWrapperConstructor"
    optim = lower(training(optim_wrapper=wrapper | {"dtype": "bfloat16"})).optim
    assert optim is not None
    assert (optim.precision, optim.loss_scale) == ("bf16-mixed", None)


def test_schedules_of_rate_and_momentum() -> None:
    given = [
        {"type": "LinearLR", "start_factor": 0.1, "by_epoch": False, "end": 10},
        {"type": "MultiStepLR", "milestones": [50, 70], "by_epoch": False, "begin": 10, "end": 500},
        {"type": "CosineAnnealingMomentum", "T_max": 90, "eta_min": 0.8},
    ]
    spec = lower(training(param_scheduler=given))
    assert spec.optim is not None
    linear, steps, momentum = spec.optim.schedules
    assert linear == ScheduleSpec("LinearLR", 0, 10, args={"start_factor": 0.1})
    assert steps.args == {"milestones": (50, 70)}
    assert (momentum.type, momentum.parameter, momentum.by_epoch) == ("CosineAnnealingLR", "momentum", True)
    assert any("param_scheduler.1 ends at 500" in note for note in spec.notes)
    assert any("param_scheduler.2 counts epochs" in note for note in spec.notes)


def test_epochs() -> None:
    spec = lower(training(train_cfg={"type": "EpochBasedTrainLoop", "max_epochs": 12}, **validation()))
    assert (spec.duration, spec.evaluate_every) == (Duration(12, "epochs"), Duration(1, "epochs"))


def validation() -> dict[str, Any]:
    return {
        "val_dataloader": {"batch_size": 1, "num_workers": 0, "dataset": dataset()},
        "val_evaluator": {"type": "IoUMetric", "iou_metrics": ["mDice"], "nan_to_num": -1},
        "val_cfg": {"type": "ValLoop"},
    }


def test_hooks() -> None:
    hooks = {
        "timer": {"type": "IterTimerHook"},
        "logger": {"type": "LoggerHook", "interval": 7},
        "checkpoint": {
            "type": "CheckpointHook",
            "interval": 5,
            "by_epoch": False,
            "save_best": "auto",
            "max_keep_ckpts": 3,
        },
        "visualization": None,
    }  # fmt: skip
    spec = lower(training(default_hooks=hooks, **validation()))
    assert spec.log_every == 7
    assert spec.checkpoint is not None
    assert spec.checkpoint.every == Duration(5, "steps")
    assert (spec.checkpoint.keep, spec.checkpoint.best_metric, spec.checkpoint.best_mode) == (3, "mDice", "max")
    assert spec.metric is not None
    assert spec.metric.args == {"metrics": ("mDice",), "nan_to_num": -1}


def test_samples_are_drawn_for_rare_classes() -> None:
    def loader(**sampler: Any) -> dict[str, Any]:
        return {"batch_size": 2, "dataset": dataset(), "sampler": {"type": "InfiniteSampler", **sampler}}

    def drawn(**sampler: Any) -> RareSpec | None:
        spec = lower(training(train_dataloader=loader(**sampler)))
        assert spec.train is not None
        return spec.train.rare

    assert drawn(shuffle=True) is drawn(rare=None) is drawn(rare=[]) is None
    assert drawn(rare=[1, 2]) == RareSpec((1, 2), every=4)
    assert drawn(rare=[2], every=5) == RareSpec((2,), every=5)
    for sampler, path, said in (
        ({"rare": [1, 2], "every": 2}, "every", "expected more than the 2 classes of rare, found 2"),
        ({"rare": [1, 1]}, "rare", "each once, found [1, 1]"),
        ({"rare": [-1]}, "rare", "expected indices of classes"),
        ({"rare": 1}, "rare", "found 1 (int)"),
    ):
        [(at, message)] = problems(training(train_dataloader=loader(**sampler)))
        assert at == f"train_dataloader.sampler.{path}"
        assert said in message
    [(at, message)] = problems(training(**{**validation(), "val_dataloader": loader(rare=[1])}))
    assert (at, message) == ("val_dataloader.sampler.rare", "an evaluation sees every image once")


@pytest.mark.parametrize(
    ("saving", "expected"),
    [
        ({"save_best": "loss"}, ("loss", "min")),
        ({"save_best": "val/mIoU"}, ("mIoU", "max")),
        ({"save_best": "mIoU", "rule": "less"}, ("mIoU", "min")),
    ],
)
def test_the_best_by_any_metric_in_either_direction(saving: dict[str, str], expected: tuple[str, str]) -> None:
    hook = {"type": "CheckpointHook", "interval": 5, "by_epoch": False, **saving}
    early = {"type": "EarlyStoppingHook", "min_delta": 0.5}
    spec = lower(training(default_hooks={"checkpoint": hook}, custom_hooks=[early], **validation()))
    assert spec.checkpoint is not None
    assert (spec.checkpoint.best_metric, spec.checkpoint.best_mode) == expected
    assert spec.early_stop is not None
    assert spec.early_stop.min_delta == (0.5 if expected[0] == "loss" else 0.005)  # of scores it is in percent


@pytest.mark.parametrize(
    ("hook", "reason"),
    [
        ({"type": "ChekpointHook"}, "unknown hook 'ChekpointHook'"),
        ({"type": "MyHook"}, "unknown hook 'MyHook'"),
        ({}, "'type' is missing"),
    ],
)
def test_hooks_that_are_refused_by_name(hook: dict[str, Any], reason: str) -> None:
    [(path, message)] = problems(training(custom_hooks=[hook]))
    assert path == "custom_hooks.0"
    assert reason in message


def test_pictures_are_drawn_where_the_hook_draws() -> None:
    def drawn(**keys: Any) -> Any:
        return training(default_hooks={"visualization": {"type": "SegVisualizationHook", **keys}})

    assert lower(drawn(interval=5)).safeguards.draw_every is None
    assert lower(drawn(draw=True)).safeguards.draw_every == 50
    assert lower(drawn(draw=True, interval=5)).safeguards.draw_every == 5
    assert problems(drawn(interval=0)) == [("default_hooks.visualization.interval", "expected 1 or more, found 0")]
    assert lower(drawn(draw=True, show=True)).safeguards.draw_every == 50


def test_averages_of_weights_are_those_of_mmengine() -> None:
    epochs = {"train_cfg": {"type": "EpochBasedTrainLoop", "max_epochs": 5, "val_interval": 1}}
    hook = {"type": "EMAHook", "ema_type": "mmengine.StochasticWeightAverage", "begin_epoch": 3, "interval": 2}
    assert lower(training(custom_hooks=[hook], **epochs)).ema == EmaSpec(kind="mean", begin_epoch=3, interval=2)
    hook = {"type": "EMAHook", "ema_type": "MomentumAnnealingEMA", "gamma": 50, "update_buffers": True, "device": "cpu"}
    assert lower(training(custom_hooks=[hook])).ema == EmaSpec(kind="annealing", gamma=50, average_buffers=True)


def test_hooks_that_set_something() -> None:
    assert not lower(training()).runtime.average_statistics
    hooks = [
        {"type": "SyncBuffersHook", "priority": "NORMAL"},
        {"type": "EMAHook", "momentum": 0.001, "begin_iter": 100},
        {"type": "EarlyStoppingHook", "patience": 4, "min_delta": 0.5, "stopping_threshold": 80},
        {"type": "mypackage.hooks:Diary", "file": "diary.txt"},
    ]
    spec = lower(training(custom_hooks=hooks, **validation()))
    assert spec.ema == EmaSpec(momentum=0.001, begin=100)
    assert spec.early_stop == EarlyStopSpec(patience=4, min_delta=0.005, threshold=0.8)  # MMEngine's are in percent
    assert spec.runtime.average_statistics
    (diary,) = spec.observers
    assert (diary.kind, diary.type, diary.args) == ("observer", "mypackage.hooks:Diary", {"file": "diary.txt"})


@pytest.mark.parametrize(
    ("hook", "path", "reason"),
    [
        ({"type": "EMAHook", "momentum": 1.5}, "custom_hooks.0.momentum", "between 0 and 1"),
        (
            {"type": "EMAHook", "ema_type": "Average"},
            "custom_hooks.0.ema_type",
            "unknown average 'Average'",
        ),
        ({"type": "EMAHook", "begin_epoch": 2}, "custom_hooks.0.begin_epoch", "train_cfg counts steps, not epochs"),
        ({"type": "EMAHook", "begin_epoch": 2, "begin_iter": 1}, "custom_hooks.0.begin_epoch", "says another begin"),
        ({"type": "EMAHook", "interval": 0}, "custom_hooks.0.interval", "expected 1 or more, found 0"),
        ({"type": "EMAHook", "gamma": 0}, "custom_hooks.0.gamma", "expected 1 or more, found 0"),
        ({"type": "EarlyStoppingHook", "patience": 0}, "custom_hooks.0.patience", "1 or more"),
        ({"type": "EarlyStoppingHook", "monitor": "mIoU"}, "custom_hooks.0.monitor", "does not give it"),
    ],
)
def test_hooks_with_values_that_cannot_be(hook: dict[str, Any], path: str, reason: str) -> None:
    saving = {"checkpoint": {"type": "CheckpointHook", "interval": 10, "by_epoch": False, "save_best": "mIoU"}}
    [(found, message)] = problems(training(custom_hooks=[hook], default_hooks=saving, **validation()))
    assert found == path
    assert reason in message


@pytest.mark.parametrize(
    ("hook", "expected"),
    [
        ({"monitor": "mDice"}, ("mDice", "max", 0.001)),
        ({"monitor": "val/aAcc", "min_delta": 0.5}, ("aAcc", "max", 0.005)),
        ({"monitor": "loss"}, ("loss", "min", 0.1)),
        ({"monitor": "mDice", "rule": "less"}, ("mDice", "min", 0.001)),
        ({}, (None, "max", 0.001)),
    ],
)
def test_early_stopping_needs_no_best_weights(hook: dict[str, Any], expected: tuple[Any, ...]) -> None:
    """The checkpoint hooks of published configs have no save_best, and stopping watches what it is told to."""
    early = {"type": "EarlyStoppingHook", "patience": 1, **hook}
    spec = lower(training(custom_hooks=[early], **validation()))
    assert spec.early_stop is not None
    assert (spec.early_stop.metric, spec.early_stop.mode, spec.early_stop.min_delta) == expected


def test_early_stopping_needs_an_evaluation() -> None:
    [(path, message)] = problems(training(custom_hooks=[{"type": "EarlyStoppingHook"}]))
    assert path == "custom_hooks.0"
    assert "nothing is evaluated" in message


def test_what_a_long_run_is_given() -> None:
    own = {"freeze": "backbone", "fit_images": 8, "pictures": 3, "hang_after": 60, "keep_every": 5000}
    spec = lower(training(intarsia=own, compile=True))
    assert spec.safeguards == SafeguardSpec(("backbone",), Duration(5000, "steps"), 8, 3, 60.0)
    assert spec.runtime.compile
    [(path, message)] = problems(training(intarsia={"freese": "backbone"}))
    assert path == "intarsia.freese"
    assert "unknown key 'freese'" in message


def test_logging_services_become_observers() -> None:
    backends = [{"type": "LocalVisBackend"}, {"type": "TensorboardVisBackend"},
                {"type": "WandbVisBackend", "init_kwargs": {"project": "streets"}}]  # fmt: skip
    spec = lower(training(visualizer={"type": "SegLocalVisualizer", "vis_backends": backends}))
    assert [(o.type, dict(o.args)) for o in spec.observers] == [("TensorBoard", {}), ("WandB", {"project": "streets"})]


def test_options_of_logging_services_hold_up_no_run() -> None:
    own = {
        "type": "WandbVisBackend",
        "define_metric_cfg": {"mIoU": "max"},
        "init_kwargs": {"project": "a", "notes": "b"},
    }
    others = [{"type": name} for name in ("MLflowVisBackend", "ClearMLVisBackend", "MyOwnBackend")]
    spec = lower(training(visualizer={"type": "SegLocalVisualizer", "vis_backends": [own, *others]}))
    assert [(o.type, dict(o.args)) for o in spec.observers] == [("WandB", {"project": "a"})]
    said = "\n".join(spec.notes)
    assert "not read: define_metric_cfg, notes" in said
    assert all(name in said for name in ("MLflowVisBackend", "ClearMLVisBackend", "MyOwnBackend"))


def test_environment_and_seed() -> None:
    environment = {
        "cudnn_benchmark": False,
        "mp_cfg": {"mp_start_method": "fork", "opencv_num_threads": 0},
        "dist_cfg": {"backend": "nccl"},
    }
    spec = lower(training(env_cfg=environment, randomness={"seed": 7, "deterministic": True, "diff_rank_seed": True}))
    assert (spec.seed, spec.runtime.deterministic) == (7, True)
    assert (spec.runtime.cudnn_benchmark, spec.runtime.backend) == (False, None)


def test_imports_of_openmmlab_are_not_needed() -> None:
    spec = lower(config(custom_imports={"imports": ["mmpretrain.models", "mine.heads"], "allow_failed_imports": False}))
    assert spec.imports == ("mine.heads",)


# --- The top level ------------------------------------------------------------------------------------------------


def test_a_model_alone_is_a_run_without_training() -> None:
    spec = lower(config())
    assert (spec.train, spec.optim, spec.duration, spec.metric) == (None, None, None, None)


def test_variables_are_left_alone_and_misspelt_keys_are_noted() -> None:
    spec = lower(config(crop_size=[1, 2], norm_cfg={"type": "BN"}, my_own_number=3, load_form="x"))
    assert len(spec.notes) == 1
    assert "'load_form'" in spec.notes[0]
    assert "'load_from'" in spec.notes[0]


def test_misspelt_section_that_training_needs() -> None:
    given = training()
    values = dict(given.values)
    values["trian_cfg"] = values.pop("train_cfg")
    with pytest.raises(ConfigError) as caught:
        lower(Config.from_values(values, file="test.py"))
    [problem] = caught.value.problems
    assert problem.path == "train_cfg"
    assert problem.hint == "Did you mean 'train_cfg' where 'trian_cfg' stands?"


@pytest.mark.parametrize("old", ["lr_config", "data", "runner", "optimizer_config"])
def test_configs_of_the_old_generation_are_recognised(old: str) -> None:
    [(path, message)] = problems(config(**{old: {"type": "x"}}))
    assert path == old
    assert "0.x" in message


@pytest.mark.parametrize(
    ("section", "value", "path"),
    [
        ("resume", "yes", "resume"),
        ("env_cfg", {"cudnn_benchmrk": True}, "env_cfg.cudnn_benchmrk"),
        ("randomness", {"seed": "zero"}, "randomness.seed"),
        ("val_evaluator", {"type": "IoUMetric", "format_only": True}, "val_evaluator.format_only"),
        ("load_from", 3, "load_from"),
    ],
)
def test_refused_with_a_reason(section: str, value: Any, path: str) -> None:
    assert [found for found, _ in problems(config(**{section: value}))] == [path]


def test_all_problems_are_reported_at_once() -> None:
    given = training(
        train_cfg={"type": "IterBasedTrainLoop", "max_iter": 100},
        optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.1}, "clip_grd": None},
        param_scheduler=[{"type": "PolyRL", "by_epoch": False}, {"type": "PolyLR", "pwer": 0.9}],
    )
    assert {path for path, _ in problems(given)} == {
        "train_cfg", "train_cfg.max_iter", "optim_wrapper.clip_grd", "param_scheduler.0.type", "param_scheduler.1.pwer",
    }  # fmt: skip


def test_every_lowered_key_of_the_vocabulary_says_what_it_sets() -> None:
    assert all(fate.text for area in AREAS.values() for fate in area.values())


def test_source_is_the_config_and_components_know_their_place() -> None:
    given = training()
    spec = lower(given)
    assert spec.source == given.values
    assert isinstance(spec.model.args["decode_head"], Component)
    assert spec.model.args["decode_head"].path == "model.decode_head"


def test_table_of_benchmarks_agrees_with_the_facts(shared: Path) -> None:
    facts = json.loads((shared / "facts" / "datasets.json").read_text())
    classes = {name: fact["classes"] for name, fact in facts.items() if fact["classes"] and name != "NYUDataset"}
    assert {name: count for name, (count, _) in FAMILIES.items()} == {name: len(c) for name, c in classes.items()}
    for name, (_, reduced) in FAMILIES.items():
        assert facts[name]["defaults"].get("reduce_zero_label", False) == reduced, name


@pytest.mark.parametrize(
    ("kind", "key", "argument"),
    [
        ("head", "norm_cfg", "norm"),
        ("head", "ffn_act_cfg", "ffn_activation"),
        ("backbone", "with_cp", "checkpoint_activations"),
        ("dataset", "data_prefix.img_path", "images"),
        ("dataset", "data_root", "root"),
        ("norm", "type", "kind"),
        ("metric", "iou_metrics", "metrics"),
        ("head", "channels", "channels"),
    ],
)
def test_keys_and_arguments_translate_both_ways(kind: str, key: str, argument: str) -> None:
    assert argument_name(kind, key) == argument
    assert user_key(kind, argument) == key


@pytest.mark.parametrize(
    ("kind", "losses", "others", "expected"),
    [("DAHead", 1, {}, [("pam_cam.loss_ce", "", ""), ("pam_cam.acc_seg", "", ""), ("pam.loss_ce", "pam", ""),
                        ("pam.acc_seg", "pam", ""), ("cam.loss_ce", "cam", ""), ("cam.acc_seg", "cam", "")]),
     ("DDRHead", 2, {}, [("loss_context", "", ""), ("loss_spatial", "spatial", ""), ("acc_seg", "", "")]),
     ("EncHead", 1, {"loss_se_decode": {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 0.2}},
      [("loss_ce", "", ""), ("acc_seg", "", ""), ("loss_se", "se", "ClassesPresent")]),
     ("EncHead", 1, {"use_se_loss": False}, [("loss_ce", "", ""), ("acc_seg", "", "")]),
     ("PIDHead", 4, {}, [("loss_sem_p", "p", ""), ("loss_sem_i", "", ""), ("loss_bd", "d", "EdgeMap"),
                         ("loss_sem_bd", "", "LabelsAtEdges"), ("acc_seg", "", "")]),
     ("STDCHead", 1, {"boundary_threshold": 0.1}, [("loss_ce", "", "DetailMap"), ("acc_seg", "", "DetailMap")])],
)  # fmt: skip
def test_heads_with_several_outputs_say_what_each_loss_is_for(
    kind: str, losses: int, others: dict[str, Any], expected: list[tuple[str, str, str]]
) -> None:
    written = [{"type": "CrossEntropyLoss", "loss_weight": 0.5} for _ in range(losses)]
    spec = lower(config(model=model(decode_head=head(type=kind, loss_decode=written, **others))))
    [decode, *_] = spec.losses
    assert [(term.name, term.output, term.target.type if term.target else "") for term in decode.terms] == expected
    assert not decode.accuracy
    weights = {term.weight for term in decode.terms if term.loss is not None}
    assert weights == ({0.5, 0.2} if "loss_se_decode" in others else {0.5})


@pytest.mark.parametrize(("kind", "count"), [("DDRHead", 2), ("PIDHead", 4)])
def test_another_number_of_losses_than_of_outputs_is_refused(kind: str, count: int) -> None:
    [(path, message)] = problems(config(model=model(decode_head=head(type=kind))))
    assert path == "model.decode_head.loss_decode"
    assert message == f"{kind} has {count} losses, one for each of its outputs; found 1"
