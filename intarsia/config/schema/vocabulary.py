"""The vocabulary of the configuration language: every key that has a meaning, and what becomes of it.

`lower` reads configs through these tables and through nothing else: a key that is not in its table is a problem, and
so is a key that is refused. ``docs/vocabulary.md`` is made from them by ``scripts/vocabulary.py``. The arguments of
parts (backbones, heads, transforms ...) are not listed here: their constructors say what they take.
"""

from __future__ import annotations

from intarsia.config.schema.data import DATA_AREAS
from intarsia.config.schema.diffusion import DIFFUSION_AREAS
from intarsia.config.schema.eomt import EOMT_AREAS
from intarsia.config.schema.fates import Area, nothing, to
from intarsia.config.schema.model import MODEL_AREAS
from intarsia.config.schema.notation import DICT, OPTIONAL
from intarsia.config.schema.queries import QUERY_AREAS
from intarsia.config.schema.runtime import RUNTIME_AREAS
from intarsia.config.schema.side_adapter import SIDE_ADAPTER_AREAS
from intarsia.config.schema.teaching import TEACHING_AREAS
from intarsia.config.schema.training import TRAINING_AREAS
from intarsia.config.schema.trunk import TRUNK_AREAS

# --- Sections -----------------------------------------------------------------------------------------------------

AREAS: dict[str, Area] = {
    "top level": {
        "model": to("model, losses, inference", DICT),
        "data_preprocessor": to("preprocess (where the model has none of its own)", OPTIONAL),
        "train_dataloader": to("train", OPTIONAL),
        "val_dataloader": to("val", OPTIONAL),
        "test_dataloader": to("test", OPTIONAL),
        "val_evaluator": to("metric", "dict | list[dict] | None"),
        "test_evaluator": to("test_metric; metric where there is no val_evaluator", "dict | list[dict] | None"),
        "tta_model": to("inference.augmented", OPTIONAL),
        "tta_pipeline": to("inference.augmented", "list[dict] | None"),
        "optim_wrapper": to("optim", OPTIONAL),
        "param_scheduler": to("optim.schedules", "dict | list[dict] | None"),
        "train_cfg": to("duration, evaluate_every", OPTIONAL),
        "val_cfg": to("evaluation during training", OPTIONAL),
        "test_cfg": to("evaluation", OPTIONAL),
        "default_hooks": to("checkpoint, log_every", OPTIONAL),
        "custom_hooks": to("hook by hook", "list[dict] | None"),
        "env_cfg": to("runtime", OPTIONAL),
        "randomness": to("seed, runtime.deterministic", OPTIONAL),
        "load_from": to("load_from", "str | None"),
        "resume": to(
            "a note: `intarsia train ... --resume auto` goes on with the run in --out, if there is one", "bool"
        ),
        "custom_imports": to("imports", OPTIONAL),
        "auto_scale_lr": to("a note", OPTIONAL),
        "visualizer": to("observers: its logging services", OPTIONAL),
        "sync_bn": to("runtime.synchronise_batch_norm", "str | None"),
        "model_wrapper_cfg": to("runtime.strategy", OPTIONAL),
        "strategy": to(
            "runtime.strategy; of DeepSpeed also optim.precision, optim.clip, optim.accumulate", "dict | str | None"
        ),
        "runner_type": nothing("there is one trainer"),
        "find_unused_parameters": nothing("says how processes exchange gradients; the runtime sees to it"),
        "compile": to("runtime.compile", "bool | dict | None"),
        "intarsia": to("safeguards: what MMSegmentation has no key for", DICT),
        "work_dir": nothing("the folder of a run is given by --out"),
        "experiment_name": nothing("a run is named by its folder"),
        "launcher": nothing("the runtime finds its processes itself (torchrun, SLURM)"),
        "default_scope": nothing("one table holds the parts of all registries"),
        "log_level": nothing("the command line decides what is printed"),
        "log_processor": nothing("every logged value is the mean since the last one"),
    },
    "intarsia": {
        "freeze": to("safeguards.freeze", "str | Sequence[str]"),
        "keep_every": to("safeguards.keep_every, in the unit of train_cfg", "int | None"),
        "fit_images": to("safeguards.fit_images", "int"),
        "pictures": to("safeguards.pictures", "int"),
        "hang_after": to("safeguards.hang_after, in seconds", "float"),
        "nonfinite_steps": to("safeguards.nonfinite_steps", "int"),
        "pretrained": to("start.pretrained: auto, imagenet, none, a file, an address or a name", "str | None"),
        "first_convolution": to(
            "start.first_convolution, for other bands than those of pretrained weights",
            "Literal['repeat', 'mean', 'zero', 'random']",
        ),
        "lora": to("safeguards.lora: its rank, or a dict", "int | dict | None"),
        "choose_threshold": to(
            "safeguards.choose_threshold: of two classes, or of each of several at once, at every evaluation", "bool"
        ),
        "multi_label": to("inference.answer: a pixel may have several classes, a sigmoid each", "bool"),
        "total_batch": to(
            "safeguards.total_batch: images per optimizer step; accumulation follows from it", "int | None"
        ),
        "unlabelled": to("unlabelled: images without labels to learn from", OPTIONAL),
        "cache_features": to("features: what a trunk that stands still makes of images, kept on disk", OPTIONAL),
        "cache": to(
            "cache: where decoded samples are kept, `memory`, `memory:20G`, a folder, `DIR:500G`", "str | None"
        ),
        "augment_on": to(
            "augment_on: where flips, colours, blur and noise of training are computed", "Literal['workers', 'device']"
        ),
        "teacher": to("teacher: a trained network to learn from", OPTIONAL),
    },
    **MODEL_AREAS,
    **DIFFUSION_AREAS,
    **QUERY_AREAS,
    **EOMT_AREAS,
    **SIDE_ADAPTER_AREAS,
    **DATA_AREAS,
    **TRAINING_AREAS,
    **TEACHING_AREAS,
    **TRUNK_AREAS,
    **RUNTIME_AREAS,
}
"""Section -> key -> what becomes of it."""

DATALOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")

OLD: dict[str, str] = {
    "checkpoint_config": "default_hooks",
    "data": "train_dataloader",
    "dist_params": "env_cfg",
    "evaluation": "val_evaluator",
    "fp16": "optim_wrapper",
    "log_config": "default_hooks",
    "lr_config": "param_scheduler",
    "optimizer": "optim_wrapper",
    "optimizer_config": "optim_wrapper",
    "runner": "train_cfg",
}
"""Keys of MMSegmentation 0.x -> what took their place. Variables of these names are common in newer configs too."""

LEFTOVERS = frozenset({
    "albu_train_transforms", "backbone_embed_multi", "backbone_norm_cfg", "backbone_norm_multi", "checkpoint",
    "checkpoint_file", "class_weight", "classes", "conv_kernel_size", "crop_size", "custom_keys", "data_root",
    "dataset_aug", "dataset_train", "dataset_type", "depths", "embed_multi", "ham_norm_cfg", "img_norm_cfg",
    "img_prefix", "img_ratios", "img_scale", "iters", "metainfo", "norm_cfg", "num_classes", "num_stages",
    "palette", "pretrained", "stable_diffusion_cfg", "test_pipeline", "total_iters", "train_ann", "train_pipeline",
    "used_labels", "val_ann", "val_pipeline", "vis_backends",
})  # fmt: skip
"""Names of variables that published configs leave at the top level: no misspelt keys, whatever they resemble."""
