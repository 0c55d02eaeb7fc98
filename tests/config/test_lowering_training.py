"""Optimizer wrapper, parameter groups, schedules and the total batch: what becomes of them, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest

from intarsia.config.checking.check import check
from intarsia.config.language.reader import Config
from intarsia.config.lowering.fields import Context
from intarsia.config.lowering.lower import lower_all
from intarsia.config.lowering.metrics import lower_metrics
from intarsia.config.lowering.runtime import published_batch
from intarsia.config.lowering.training import Length, lower_optim, lower_train_cfg
from intarsia.config.schema.training import PARAMWISE, SCHEDULES
from intarsia.engine.optim.param_groups import FLAGS, MULTIPLES, OPTIONS, Parameter, by_depth, by_forced_rules, by_rules
from intarsia.engine.optim.plateau import PLATEAU
from intarsia.engine.optim.schedule_curves import CURVES
from intarsia.spec import Duration, OptimSpec, ScheduleSpec

SGD = {"type": "SGD", "lr": 0.1}
STEPS = Duration(1000, "steps")


def lowered(schedules: Any = None, **wrapper: Any) -> tuple[OptimSpec, Context]:
    values = {"optimizer": SGD, **wrapper}
    context = Context(Config.from_values({"optim_wrapper": values, "param_scheduler": schedules}, file="test.py"))
    return lower_optim(context, values, schedules, STEPS, None), context


def fine(schedules: Any = None, **wrapper: Any) -> OptimSpec:
    spec, context = lowered(schedules, **wrapper)
    assert context.problems == []
    return spec


def wrong(schedules: Any = None, **wrapper: Any) -> list[tuple[str, str]]:
    """Path and message, with the advice, of everything that is found."""
    _, context = lowered(schedules, **wrapper)
    return [(problem.path, f"{problem.message}. {problem.hint}") for problem in context.problems]


def test_wrappers_that_are_refused_say_what_to_use() -> None:
    for name, said in (
        ("OptimWrapperDict", "custom_keys"),
        ("OptimWraper", "Did you mean 'OptimWrapper'"),
    ):
        ((path, message),) = wrong(type=name)
        assert path == "optim_wrapper.type"
        assert said in message
    assert fine(use_fsdp=True) == fine()
    assert [path for path, _ in wrong(loss_scale=512.0)] == ["optim_wrapper.loss_scale"]


# --- Clipping, loss scale, accumulation ---------------------------------------------------------------------------


def test_clipping_by_norm_and_by_value() -> None:
    assert fine(clip_grad={"max_norm": 1, "norm_type": "inf"}).clip == {"max_norm": 1, "norm_type": math.inf}
    assert fine(clip_grad={"type": "norm", "max_norm": 35, "error_if_nonfinite": True}).clip == {"max_norm": 35}
    assert fine(clip_grad={"type": "value", "clip_value": 0.5}).clip == {"clip_value": 0.5}
    assert fine(clip_grad=None).clip is None
    for clip, path, said in (
        ({"norm_type": 2}, "optim_wrapper.clip_grad", "'max_norm' is missing"),
        ({"type": "value"}, "optim_wrapper.clip_grad", "'clip_value' is missing"),
        ({"type": "value", "clip_value": 1, "max_norm": 1}, "optim_wrapper.clip_grad.max_norm", "Write type='norm'"),
        ({"max_norm": 1, "clip_value": 1}, "optim_wrapper.clip_grad.clip_value", "Write type='value'"),
        ({"max_norm": 1, "type": "median"}, "optim_wrapper.clip_grad.type", "expected Literal['norm', 'value']"),
        ({"max_nrom": 1}, "optim_wrapper.clip_grad.max_nrom", "Did you mean 'max_norm'"),
    ):
        found = dict(wrong(clip_grad=clip))
        assert said in found[path], found


def test_loss_scales() -> None:
    half = {"type": "AmpOptimWrapper"}
    assert fine(**half).loss_scale == "dynamic"
    assert fine(**half, loss_scale=512.0).loss_scale == 512.0
    growing = {"init_scale": 2.0**10, "growth_interval": 100, "enabled": True}
    assert fine(**half, loss_scale=growing).loss_scale == {"init_scale": 1024.0, "growth_interval": 100}
    assert fine(**half, loss_scale={"init_scale": 1024.0, "enabled": False}).loss_scale == 1.0
    assert fine(**half, dtype="bfloat16", loss_scale="dynamic").loss_scale is None
    assert [path for path, _ in wrong(**half, loss_scale={"growth_factor": 1.0, "init_scal": 2.0})] == [
        "optim_wrapper.loss_scale.init_scal",
        "optim_wrapper.loss_scale.growth_factor",
    ]


def test_accumulated_batches_are_what_the_config_counts() -> None:
    spec, context = lowered(accumulative_counts=4)
    assert (spec.accumulate, spec.iterations_per_step) == (4, 4)
    assert context.notes == [
        "accumulative_counts=4: the config counts batches, so its 1,000 iterations are 250 optimizer steps"
    ]
    assert [path for path, _ in wrong(accumulative_counts=0)] == ["optim_wrapper.accumulative_counts"]


# --- Parameter groups ---------------------------------------------------------------------------------------------


def test_rules_are_kept_but_for_those_without_effect() -> None:
    rules = {
        "norm_decay_mult": 0.0,
        "bypass_duplicate": True,
        "custom_keys": {"theta": {"wd_mult": 0.0}, "head": {"lr_mult": 10.0, "betas": [0.9, 0.99]}},
    }
    assert fine(paramwise_cfg=rules).paramwise == {
        "norm_decay_mult": 0.0,
        "custom_keys": {"theta": {}, "head": {"lr_mult": 10.0, "betas": (0.9, 0.99)}},
    }
    assert fine(paramwise_cfg=None).paramwise == {}


@pytest.mark.parametrize(
    ("constructor", "rules", "path", "said"),
    [
        ("", {"norm_decay": 0.0}, "norm_decay", "Did you mean 'norm_decay_mult'"),
        ("", {"norm_decay_mult": "0"}, "norm_decay_mult", "expected float | None"),
        ("", {"force_default_settings": True}, "force_default_settings", "unknown key"),
        ("", {"custom_keys": {"head": {"lr_mul": 1}}}, "custom_keys.head.lr_mul", "Did you mean 'lr_mult'"),
        ("", {"custom_keys": {"head": 0.1}}, "custom_keys.head", "expected dict(lr_mult=..., decay_mult=...)"),
        ("", {"custom_keys": {"head": {"requires_grad": False}}}, "custom_keys.head.requires_grad", "intarsia.freeze"),
        ("LayerDecayOptimizerConstructor", {"num_layers": 12}, "", "'decay_rate' is missing"),
        ("LayerDecayOptimizerConstructor", {"decay_rate": 0.9, "num_layer": 1}, "num_layer", "'num_layers'"),
        ("LearningRateDecayOptimizerConstructor", {"decay_rate": 0.9}, "", "'num_layers' is missing"),
    ],
)
def test_rules_that_no_one_reads(constructor: str, rules: dict[str, Any], path: str, said: str) -> None:
    found = dict(wrong(paramwise_cfg=rules, **({"constructor": constructor} if constructor else {})))
    assert said in found[f"optim_wrapper.paramwise_cfg{'.' if path else ''}{path}"]


def test_constructors() -> None:
    forced = fine(constructor="ForceDefaultOptimWrapperConstructor", paramwise_cfg={"force_default_settings": True})
    assert forced.paramwise == {"force_default_settings": True}
    own = fine(constructor="my.rules:by_mood", paramwise_cfg={"mood": "good"})
    assert (own.constructor, own.paramwise) == ("my.rules:by_mood", {"mood": "good"})
    ((path, message),) = wrong(constructor="DefaultOptimWraperConstructor")
    assert path == "optim_wrapper.constructor"
    assert "Did you mean 'DefaultOptimWrapperConstructor'" in message


def test_the_vocabulary_knows_the_rules_of_the_engine() -> None:
    """Whatever one of them lets pass, the other understands."""
    constructors = {"paramwise_cfg": by_rules, "paramwise_cfg (forced)": by_forced_rules}
    known = {"custom_keys", *MULTIPLES, *FLAGS}
    areas = {area: _keys(area) for area in set(PARAMWISE.values())}
    assert areas["paramwise_cfg"] == known
    assert areas["paramwise_cfg (forced)"] == known | {"force_default_settings"}
    assert _keys("paramwise_cfg.custom_keys") == {"lr_mult", "decay_mult", *OPTIONS} | {"wd_mult", "requires_grad"}
    parameter = [Parameter("backbone.layers.0.weight", (3, 3))]
    for area, constructor in constructors.items():
        constructor(parameter, dict.fromkeys(areas[area], None), 1.0, 0.1)
    by_depth(parameter, {"num_layers": 1, "decay_rate": 1, "layer_decay_rate": 1, "decay_type": "layer_wise"}, 1, None)
    assert areas["paramwise_cfg (layer decay)"] == {
        "num_layers", "decay_rate", "layer_decay_rate", "decay_type", "flat_decay_mult",
    }  # fmt: skip


def _keys(area: str) -> set[str]:
    from intarsia.config.schema.vocabulary import AREAS

    return set(AREAS[area])


# --- Optimizers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [
        ({"type": "AdamW", "lr": 0.1, "weight_decy": 0.1}, "Did you mean 'weight_decay'"),
        ({"type": "NAdam", "lr": 0.1, "momentum_decoy": 0.1}, "Did you mean 'momentum_decay'"),
        ({"type": "RMSprop", "lr": "0.1"}, "expected float"),
        ({"type": "Rprop"}, "Rprop needs 'lr'"),
        ({"type": "LBFGS", "lr": 1.0}, "evaluates the loss several times"),
        ({"type": "AdamW8bit", "lr": 1.0}, "did you mean 'AdamW'"),
    ],
)
def test_optimizers_are_checked_before_anything_is_built(optimizer: dict[str, Any], said: str) -> None:
    values = {"model": {"type": "EncoderDecoder"}, "optim_wrapper": {"optimizer": optimizer}}
    found = [p for p in check(Config.from_values(values, file="test.py")) if p.path.startswith("optim_wrapper.opt")]
    assert len(found) == 1
    assert said in f"{found[0].message}. {found[0].hint}"


# --- Schedules ----------------------------------------------------------------------------------------------------


def test_every_schedule_has_a_curve() -> None:
    for name in SCHEDULES:
        needed = {"milestones": [1], "step_size": 2, "gamma": 0.5, "periods": [3], "eta_max": 1.0}
        args = {key: value for key, value in needed.items() if key in SCHEDULES[name]}
        args |= {"param_name": "momentum"} if "param_name" in SCHEDULES[name] else {}
        (schedule,) = lowered([{"type": name, "by_epoch": False, **args}])[0].schedules
        assert schedule.type in (*CURVES, PLATEAU)
        assert schedule.parameter == ("momentum" if name.endswith(("Momentum", "ParamScheduler")) else "lr")


def test_epochs_turned_into_steps() -> None:
    given = {"type": "MultiStepMomentum", "milestones": [3, 5], "end": 9, "convert_to_iter_based": True}
    assert fine(given).schedules == (
        ScheduleSpec("MultiStepLR", 0, 9, True, True, "momentum", {"milestones": (3, 5)}),
    )  # fmt: skip
    ((path, message),) = wrong({"type": "PolyLR", "by_epoch": False, "convert_to_iter_based": True})
    assert path == "param_scheduler.convert_to_iter_based"
    assert "steps already" in message


def test_a_schedule_of_a_part_of_the_network() -> None:
    given = {"type": "WarmupPolyLR", "by_epoch": False, "end": 9, "delay": 2, "warm_up": 3, "part": "backbone"}
    assert fine(given).schedules == (
        ScheduleSpec("WarmupPolyLR", 0, 9, args={"delay": 2, "warm_up": 3}, part="backbone"),
    )  # fmt: skip
    ((path, message),) = wrong({**given, "part": ["backbone"]})
    assert path == "param_scheduler.part"
    assert "expected str" in message


def test_schedules_that_are_refused() -> None:
    for name, said in (
        ("PolyMomentom", "Did you mean 'PolyMomentum'"),
        ("OneCycleMomentun", "Did you mean 'OneCycleMomentum'"),
    ):
        assert said in dict(wrong([{"type": name}]))["param_scheduler.0.type"]
    assert "'gamma' is missing" in dict(wrong([{"type": "ExponentialMomentum"}]))["param_scheduler.0"]
    assert "'eta_max'" not in str(wrong([{"type": "OneCycleMomentum"}]))


# --- The batch that a learning rate is meant for ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "total"),
    [
        ("configs/fcn/fcn_r50-d8_4xb2-80k_cityscapes-512x1024.py", 8),
        ("recipe segformer_mit-b2_8xb1-160k_ade20k-512x512", 8),
        ("unet_1xb16.py", 16),
        ("poolformer/fpn_poolformer_s36_8x4_512x512_40k_ade20k", None),
        ("/runs/a_4xb2-40k/config.py", None),
        ("my_config.py", None),
    ],
)
def test_published_names_say_their_batch(file: str, total: int | None) -> None:
    assert published_batch(file) == total


def test_a_written_batch_is_more_than_a_name() -> None:
    def written_for(**values: Any) -> int | None:
        config = Config.from_values({"model": {"type": "EncoderDecoder"}, **values}, file="x_4xb2-80k.py")
        spec = lower_all(config).spec
        assert spec is not None
        return spec.written_for

    assert written_for() == 8
    assert written_for(auto_scale_lr={"enable": False, "base_batch_size": 12}) == 12


def test_total_batch() -> None:
    def total(value: Any) -> tuple[int | None, list[str]]:
        values = {"model": {"type": "EncoderDecoder"}, "intarsia": {"total_batch": value}}
        found = lower_all(Config.from_values(values, file="x.py"))
        assert found.spec is not None
        return found.spec.safeguards.total_batch, [p.path for p in found.problems if p.path.startswith("intarsia")]

    assert total(16) == (16, [])
    assert total(0)[1] == total("16")[1] == ["intarsia.total_batch"]


# --- Evaluation ---------------------------------------------------------------------------------------------------


def test_scores_and_groups_of_the_metric() -> None:
    values = {"type": "IoUMetric", "iou_metrics": ["mBoundaryIoU", "ECE"], "groups": {"flat": ["road", "pavement"]}}
    context = Context(Config.from_values({"val_evaluator": values}, file="test.py"))
    found = lower_metrics(context, {"val_evaluator": values}, None).val
    assert found.args == {"metrics": ("mBoundaryIoU", "ECE"), "groups": {"flat": ("road", "pavement")}}
    assert context.problems == []
    values = {"type": "IoUMetric", "iou_metrics": ["mBoundary"], "groups": {"flat": "road"}}
    lower_metrics(context, {"val_evaluator": values}, None)
    assert [problem.path for problem in context.problems] == ["val_evaluator.iou_metrics", "val_evaluator.groups"]


# --- When evaluations are due -------------------------------------------------------------------------------------


def length(**values: Any) -> tuple[Length, list[tuple[str, str]]]:
    context = Context(Config.from_values({"train_cfg": values}, file="test.py"))
    return lower_train_cfg(context, values), [(problem.path, problem.message) for problem in context.problems]


def test_intervals_of_evaluation_that_change() -> None:
    changes = [(30, 5), [60, 2]]
    steps, problems = length(max_iters=100, val_interval=20, val_begin=40, dynamic_intervals=changes)
    assert not problems
    assert (steps.evaluate_every, steps.evaluate_from) == (Duration(20, "steps"), Duration(40, "steps"))
    assert [(done.value, every.value) for done, every in steps.evaluate_changes] == [(29, 5), (59, 2)]
    epochs, problems = length(type="EpochBasedTrainLoop", max_epochs=9, dynamic_intervals=[(7, 1)], val_interval=3)
    assert not problems
    assert epochs.evaluate_changes == ((Duration(6, "epochs"), Duration(1, "epochs")),)
    assert length(max_iters=9, dynamic_intervals=None, val_begin=0)[0] == length(max_iters=9)[0]


@pytest.mark.parametrize(
    ("values", "path", "said"),
    [
        ({"dynamic_intervals": [(5, 1, 1)]}, ".dynamic_intervals.0", "expected (milestone, interval), found (5, 1, 1)"),
        ({"dynamic_intervals": [(5, 1), 7]}, ".dynamic_intervals.1", "expected (milestone, interval), found 7"),
        ({"dynamic_intervals": [(0, 1)]}, ".dynamic_intervals.0", "expected 1 or more, found 0"),
        ({"dynamic_intervals": [(6, 1), (6, 2)]}, ".dynamic_intervals.1", "a milestone after 6, the one before it"),
        ({"dynamic_intervals": [(6, 0)]}, ".dynamic_intervals.0", "expected an interval of 1 or more, found 0"),
        ({"dynamic_intervals": 5}, ".dynamic_intervals", "expected list | None, found 5"),
        ({"val_begin": -1}, ".val_begin", "expected 0 or more, found -1"),
    ],
)
def test_intervals_of_evaluation_that_cannot_be(values: dict[str, Any], path: str, said: str) -> None:
    ((found, message),) = length(max_iters=100, **values)[1]
    assert found == f"train_cfg{path}"
    assert said in message
