"""Optimisers, learning rates, loops and runtime of the published recipes.

Values are facts of MMSegmentation 1.2.2 (Apache-2.0); ``tests/recipes`` compares each recipe with its resolved config.
"""

from __future__ import annotations

from typing import Any

from intarsia.recipes.benchmarks import Config


def loops(steps: int, *, every: int, log_every: int) -> Config:
    """Loops and hooks of a training of `steps`, evaluated and saved at the same interval."""
    return {
        "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": steps, "val_interval": every},
        "val_cfg": {"type": "ValLoop"},
        "test_cfg": {"type": "TestLoop"},
        "default_hooks": {
            "timer": {"type": "IterTimerHook"},
            "logger": {"type": "LoggerHook", "interval": log_every, "log_metric_by_epoch": False},
            "param_scheduler": {"type": "ParamSchedulerHook"},
            "checkpoint": {"type": "CheckpointHook", "by_epoch": False, "interval": every},
            "sampler_seed": {"type": "DistSamplerSeedHook"},
            "visualization": {"type": "SegVisualizationHook"},
        },
        "log_processor": {"by_epoch": False},
    }


def sgd(lr: float, weight_decay: float, *, mixed: bool = False) -> Config:
    """SGD with momentum, in 16-bit mixed precision if asked for."""
    optimizer = {"type": "SGD", "lr": lr, "momentum": 0.9, "weight_decay": weight_decay}
    if mixed:
        return {"type": "AmpOptimWrapper", "optimizer": optimizer, "loss_scale": 512.0}
    return {"type": "OptimWrapper", "optimizer": optimizer, "clip_grad": None}


def adamw(lr: float, weight_decay: float, *, betas: tuple[float, float] | None = (0.9, 0.999), **others: Any) -> Config:
    """AdamW; others: further keys of the wrapper, as paramwise_cfg or clip_grad."""
    optimizer: Config = {"type": "AdamW", "lr": lr, "weight_decay": weight_decay}
    if betas is not None:
        optimizer["betas"] = betas
    return {"type": "OptimWrapper", "optimizer": optimizer, **others}


def poly(
    steps: int, *, eta_min: float = 1e-4, power: float = 0.9, warm_up: int = 0, start_factor: float = 0.1
) -> list[Config]:
    """Polynomial decay, after a linear warm-up of so many steps. As given: the decay of all convolutional recipes."""
    decay: Config = {
        "type": "PolyLR",
        "eta_min": eta_min,
        "power": power,
        "begin": warm_up,
        "end": steps,
        "by_epoch": False,
    }
    if not warm_up:
        return [decay]
    return [{"type": "LinearLR", "start_factor": start_factor, "by_epoch": False, "begin": 0, "end": warm_up}, decay]


def steps_down(steps: int) -> list[Config]:
    """Warm-up, then a tenth of the rate after three quarters and again after nine tenths."""
    milestones = [steps * 3 // 4, steps * 9 // 10]
    return [
        {"type": "LinearLR", "start_factor": 0.001, "by_epoch": False, "begin": 0, "end": 1000},
        {"type": "MultiStepLR", "begin": 1000, "end": steps, "milestones": milestones, "by_epoch": False},
    ]


def transformer(steps: int, *, warm_up: int = 1500) -> list[Config]:
    """Warm-up and linear decay to nothing, as the recipes of transformers share them."""
    return poly(steps, eta_min=0.0, power=1.0, warm_up=warm_up, start_factor=1e-6)


RUNTIME: Config = {
    "env_cfg": {
        "cudnn_benchmark": True,
        "mp_cfg": {"mp_start_method": "fork", "opencv_num_threads": 0},
        "dist_cfg": {"backend": "nccl"},
    },
    "vis_backends": [{"type": "LocalVisBackend"}],
    "visualizer": {"type": "SegLocalVisualizer", "name": "visualizer", "vis_backends": [{"type": "LocalVisBackend"}]},
    "log_level": "INFO",
    "load_from": None,
    "resume": False,
}
