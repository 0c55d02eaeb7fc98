"""Where in a config a `type` may stand."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

Values = dict[str, Any]
Path = tuple[str | int, ...]

_KEYS: dict[Path, str] = {
    ("model",): "type norm_cfg act_cfg pretrained init_cfg neck backbone hooks",
    ("model", "backbone"): "init_cfg norm_cfg act_cfg conv_cfg plugins dcn pretrained norm_eval depth block",
    (
        "model",
        "decode_head",
    ): "init_cfg conv_cfg sampler loss_decode loss_se_decode train_cfg test_cfg norm_cfg act_cfg classifier",
    ("model", "train_cfg"): "type sampler assigner",
    ("model", "test_cfg"): "type mode",
    ("model", "data_preprocessor"): "type batch_augments",
    ("train_dataloader",): "dataset sampler batch_sampler collate_fn worker_init_fn multiprocessing_context",
    ("val_dataloader",): "dataset sampler batch_sampler collate_fn",
    ("test_dataloader",): "dataset sampler",
    ("val_dataloader", "dataset"): "metainfo pipeline data_prefix label_table dataset datasets indices backend_args "
    "img_suffix",
    ("val_dataloader", "dataset", "pipeline", 0): "backend_args file_client_args imdecode_backend color_type",
    ("optim_wrapper",): "type optimizer constructor paramwise_cfg clip_grad loss_scale",
    ("default_hooks",): "runtime_info evil checkpoint",
    (): "custom_hooks custom_imports hooks val_evaluator test_evaluator param_scheduler visualizer tta_model "
    "tta_pipeline model_wrapper_cfg strategy runner_type log_processor data_preprocessor train_cfg val_cfg test_cfg "
    "env_cfg launcher default_scope load_from resume auto_scale_lr compile sync_bn intarsia model plugins vis_backends "
    "randomness experiment_name work_dir task observers",
}

MORE: tuple[Path, ...] = (
    *((*path, key) for path, keys in _KEYS.items() for key in keys.split()),
    ("custom_imports", "imports"), ("custom_imports", "imports", 0), ("custom_hooks", 0), ("val_evaluator", 0),
    ("visualizer", "vis_backends", 0, "init_kwargs"), ("visualizer", "vis_backends", 1, "init_kwargs"),
)  # fmt: skip
"""Places that no config here has, or that are no dict."""


def places(values: Any, path: Path = ()) -> Iterator[Path]:
    """The path of every dict with a `type`."""
    if isinstance(values, dict):
        if "type" in values:
            yield path
        for key, item in values.items():
            yield from places(item, (*path, key))
    elif isinstance(values, list | tuple):
        for index, item in enumerate(values):
            yield from places(item, (*path, index))


def at(values: Any, path: Path) -> Any:
    """What stands there; None where nothing does."""
    for step in path:
        if isinstance(values, dict):
            values = values.get(step)
        elif isinstance(values, list | tuple) and isinstance(step, int) and step < len(values):
            values = values[step]
        else:
            return None
    return values


def changed(values: Values, path: Path, new: Any) -> Values:
    """A copy with something else at a path; what is missing on the way there is made."""
    return _changed(deepcopy(values), path, new)


def _changed(values: Any, path: Path, new: Any) -> Any:
    if not path:
        return new
    step, *rest = path
    if isinstance(step, int):
        items = list(values) if isinstance(values, list | tuple) else [values] if values else []
        items += [None] * (step + 1 - len(items))
        items[step] = _changed(items[step], tuple(rest), new)
        return items
    made = dict(values) if isinstance(values, dict) else {}
    made[step] = _changed(made.get(step), tuple(rest), new)
    return made
