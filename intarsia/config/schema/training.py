"""The vocabulary of training: loops, optimizer wrapper, parameter groups, clipping, loss scale, schedules."""

from __future__ import annotations

from intarsia.config.schema.fates import Area, nothing, refused, to

_TYPE = to("what it is", "str")
_MULTIPLE = "float | None"

_RULES: Area = {
    "custom_keys": to("optim.paramwise", "dict | None"),
    "norm_decay_mult": to("optim.paramwise: of norms", _MULTIPLE),
    "bias_lr_mult": to("optim.paramwise: of biases, but for those of norms", _MULTIPLE),
    "bias_decay_mult": to("optim.paramwise: of biases", _MULTIPLE),
    "dwconv_decay_mult": to("optim.paramwise: of depthwise convolutions", _MULTIPLE),
    "flat_decay_mult": to("optim.paramwise: of what has one dimension", _MULTIPLE),
    "dcn_offset_lr_mult": to("optim.paramwise: of the offsets of deformable convolutions", _MULTIPLE),
    "bypass_duplicate": nothing("a parameter with two names always counts once, under the first"),
}

TRAINING_AREAS: dict[str, Area] = {
    "train_cfg": {
        "type": _TYPE,
        "by_epoch": to("duration.unit", "bool"),
        "max_iters": to("duration", "int"),
        "max_epochs": to("duration", "int"),
        "val_interval": to("evaluate_every", "int"),
        "val_begin": to("evaluate_from: none before so many; the last step always has one", "int"),
        "dynamic_intervals": to("evaluate_changes: the interval from one before each milestone", "list | None"),
    },
    "val_cfg, test_cfg": {
        "type": _TYPE,
        "fp16": to("a note: evaluation has the precision of the run (--precision)", "bool"),
    },
    "optim_wrapper": {
        "type": _TYPE,
        "optimizer": to("optim.optimizer", "dict"),
        "clip_grad": to("optim.clip", "dict | None"),
        "accumulative_counts": to("optim.accumulate, optim.iterations_per_step", "int"),
        "paramwise_cfg": to("optim.paramwise", "dict | None"),
        "constructor": to("optim.constructor", "str | None"),
        "loss_scale": to("optim.loss_scale", "float | Literal['dynamic'] | dict"),
        "dtype": to("optim.precision", "Literal['float16', 'bfloat16'] | None"),
        "use_fsdp": nothing("model_wrapper_cfg says whether the model is sharded; the runtime scales its loss to suit"),
    },
    "optim_wrapper (apex)": {
        "opt_level": to("optim.precision: full in 'O0', else half", "Literal['O0', 'O1', 'O2', 'O3']"),
        "enabled": to("optim.precision: full where it is False", "bool | None"),
        "loss_scale": to("optim.loss_scale", "float | Literal['dynamic'] | None"),
        **dict.fromkeys(
            ("cast_model_type", "patch_torch_functions", "keep_batchnorm_fp32", "master_weights", "cast_model_outputs"),
            nothing("weights and norms stay in float32, torch's autocast decides the rest"),
        ),
        **dict.fromkeys(
            ("num_losses", "verbosity", "min_loss_scale", "max_loss_scale"), nothing("torch's loss scale sees to it")
        ),
    },
    "paramwise_cfg": _RULES,
    "paramwise_cfg (forced)": {**_RULES, "force_default_settings": to("optim.paramwise", "bool")},
    "paramwise_cfg (layer decay)": {
        "num_layers": to("optim.paramwise", "int"),
        "decay_rate": to("optim.paramwise", "float"),
        "layer_decay_rate": to("optim.paramwise: decay_rate", "float"),
        "decay_type": to("optim.paramwise", "Literal['layer_wise', 'stage_wise', 'block_wise']"),
        "flat_decay_mult": to("optim.paramwise", "float"),
    },
    "paramwise_cfg (any depth)": {
        "decay_rate": to("optim.paramwise", "float"),
        "flat_decay_mult": to("optim.paramwise", "float"),
    },
    "paramwise_cfg.custom_keys": {
        "lr_mult": to("optim.paramwise", "float"),
        "decay_mult": to("optim.paramwise", "float"),
        "lr": to("optim.paramwise: in place of the product with lr_mult", "float"),
        "weight_decay": to("optim.paramwise: in place of the product with decay_mult", "float"),
        "betas": to("optim.paramwise", "tuple[float, float]"),
        "eps": to("optim.paramwise", "float"),
        "momentum": to("optim.paramwise", "float"),
        "nesterov": to("optim.paramwise", "bool"),
        "dampening": to("optim.paramwise", "float"),
        "amsgrad": to("optim.paramwise", "bool"),
        "alpha": to("optim.paramwise", "float"),
        "rho": to("optim.paramwise", "float"),
        "wd_mult": nothing("decay_mult is meant, but the original does not read it; the published DNLNet has no other"),
        "requires_grad": refused("parameters are frozen by intarsia.freeze", True),
    },
    "clip_grad": {
        "type": to("optim.clip", "Literal['norm', 'value']"),
        "max_norm": to("optim.clip", "float"),
        "norm_type": to("optim.clip", "float | Literal['inf']"),
        "clip_value": to("optim.clip", "float"),
        "error_if_nonfinite": nothing("a step whose gradients are not finite is left out; many in a row end the run"),
        "foreach": nothing("torch takes the fastest way itself"),
    },
    "loss_scale": {
        "init_scale": to("optim.loss_scale", "float"),
        "growth_factor": to("optim.loss_scale", "float"),
        "backoff_factor": to("optim.loss_scale", "float"),
        "growth_interval": to("optim.loss_scale", "int"),
        "enabled": to("optim.loss_scale: 1 where it is False", "bool"),
    },
    "param_scheduler": {
        "type": to("optim.schedules.type, optim.schedules.parameter", "str"),
        "begin": to("optim.schedules.begin", "int"),
        "end": to("optim.schedules.end", "int | None"),
        "by_epoch": to("optim.schedules.by_epoch", "bool"),
        "convert_to_iter_based": to("optim.schedules.every_step", "bool"),
        "part": to("optim.schedules.part", "str | None"),
        "verbose": nothing("learning rates are logged"),
        "last_step": nothing("the schedule is a function of the step"),
    },
}
"""Section -> key -> what becomes of it."""

PARAMWISE = {
    "DefaultOptimWrapperConstructor": "paramwise_cfg",
    "DefaultOptimizerConstructor": "paramwise_cfg",
    "ForceDefaultOptimWrapperConstructor": "paramwise_cfg (forced)",
    "LayerDecayOptimizerConstructor": "paramwise_cfg (layer decay)",
    "LayerWiseDecay": "paramwise_cfg (any depth)",
    "LearningRateDecayOptimizerConstructor": "paramwise_cfg (layer decay)",
}
"""Constructor of parameter groups -> the section of its rules. Those of one's own read what they like."""

WRAPPERS = {
    "OptimWrapper": to("optim"),
    "AmpOptimWrapper": to("optim, in half precision"),
    "ApexOptimWrapper": to("optim, in half precision as torch has it, but for opt_level='O0'"),
    "DeepSpeedOptimWrapper": to("optim; its precision is said by the strategy"),
    "OptimWrapperDict": refused("one optimizer trains the whole network; custom_keys give its parts other rates"),
}
"""Optimizer wrapper -> what becomes of it."""

_SCHEDULES: dict[str, Area] = {
    "PolyLR": {"power": to("", "float"), "eta_min": to("", "float")},
    "PolyLRRatio": {"power": to("", "float"), "eta_min": to("", "float"), "eta_min_ratio": to("", "float | None")},
    "WarmupPolyLR": {
        "delay": to("", "int"),
        "warm_up": to("", "int"),
        "power": to("", "float"),
        "eta_min": to("", "float"),
    },
    "LinearLR": {"start_factor": to("", "float"), "end_factor": to("", "float")},
    "ConstantLR": {"factor": to("", "float")},
    "MultiStepLR": {"milestones": to("", "list[int]"), "gamma": to("", "float")},
    "StepLR": {"step_size": to("", "int"), "gamma": to("", "float")},
    "ExponentialLR": {"gamma": to("", "float")},
    "CosineAnnealingLR": {
        "T_max": to("", "int | None"),
        "eta_min": to("", "float | None"),
        "eta_min_ratio": to("", "float | None"),
    },
    "CosineRestartLR": {
        "periods": to("", "list[int]"),
        "restart_weights": to("", "list[float]"),
        "eta_min": to("", "float | None"),
        "eta_min_ratio": to("", "float | None"),
    },
}
_PLATEAU: Area = {
    "monitor": to("", "str"),
    "rule": to("", "Literal['less', 'greater']"),
    "factor": to("", "float"),
    "patience": to("", "int"),
    "threshold": to("", "float"),
    "threshold_rule": to("", "Literal['rel', 'abs']"),
    "cooldown": to("", "int"),
    "min_value": to("", "float | list[float]"),
    "eps": to("", "float"),
}
_CYCLE: Area = {
    "total_steps": to("", "int | None"),
    "pct_start": to("", "float"),
    "anneal_strategy": to("", "Literal['cos', 'linear']"),
    "three_phase": to("", "bool"),
}

_ONE_CYCLE: Area = {
    **_CYCLE,
    "eta_max": to("", "float"),
    "div_factor": to("", "float"),
    "final_div_factor": to("", "float"),
}
_SCHEDULES["ReduceOnPlateauLR"] = _PLATEAU
_MOVED: Area = {"param_name": to("optim.schedules.parameter", "Literal['lr', 'momentum']")}

SCHEDULES: dict[str, Area] = {
    **_SCHEDULES,
    **{f"{name[:-2]}Momentum": area for name, area in _SCHEDULES.items() if name.endswith("LR")},
    **{f"{name[:-2]}ParamScheduler": {**area, **_MOVED} for name, area in _SCHEDULES.items() if name.endswith("LR")},
    "OneCycleLR": _ONE_CYCLE,
    "OneCycleParamScheduler": {**_ONE_CYCLE, **_MOVED},
    "OneCycleMomentum": {**_CYCLE, "base_momentum": to("", "float"), "max_momentum": to("", "float")},
}
"""Schedule -> its own arguments, kept in optim.schedules.args; but "param_name", which says what is moved."""

_NEED = {"MultiStep": "milestones", "Step": "step_size", "Exponential": "gamma", "CosineRestart": "periods"}

SCHEDULES_NEED = {
    f"{curve}{moved}": key for curve, key in _NEED.items() for moved in ("LR", "Momentum", "ParamScheduler")
} | {"OneCycleLR": "eta_max", "OneCycleParamScheduler": "eta_max"}
"""Schedule -> the argument that it cannot do without, beside `param_name` where there is one."""
