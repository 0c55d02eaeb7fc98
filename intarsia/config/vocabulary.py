"""The vocabulary of the configuration language: every key that has a meaning, and what becomes of it.

`lower` reads configs through these tables and through nothing else: a key that is not in its table is a problem, and
so is a key that is refused. ``docs/vocabulary.md`` is made from them (``python -m intarsia.config.vocabulary``). The
arguments of parts (backbones, heads, transforms ...) are not listed here: their constructors say what they take.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from intarsia.catalog import SCOPES


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a key.

    text: the field of RunSpec that it sets, or the reason why it has no effect or is refused.
    expects: annotation of its value. unless: values under which a refused key asks for nothing.
    """

    outcome: Literal["lowered", "no effect", "refused"]
    text: str
    expects: str = "Any"
    unless: tuple[Any, ...] = ()


Area = Mapping[str, Fate]


def _to(text: str, expects: str = "Any") -> Fate:
    return Fate("lowered", text, expects)


def _nothing(reason: str) -> Fate:
    return Fate("no effect", reason)


def _refused(reason: str, *unless: Any) -> Fate:
    return Fate("refused", reason, unless=unless)


def bare(name: str) -> str:
    """A part's name without the prefix of its OpenMMLab registry."""
    return next((name[len(scope) :] for scope in SCOPES if name.startswith(scope)), name)


_SCOPE = {"_scope_": _nothing("one table holds the parts of all registries")}
_LOCAL = "only local files are read"
_FILES = _refused(_LOCAL, None, {"backend": "local"}, {"backend": "disk"})
_TYPE = _to("type", "str")
_DICT, _OPTIONAL = "dict", "dict | None"

# --- Sections -----------------------------------------------------------------------------------------------------

AREAS: dict[str, Area] = {
    "top level": {
        "model": _to("model, losses, inference", _DICT),
        "data_preprocessor": _to("preprocess (where the model has none of its own)", _OPTIONAL),
        "train_dataloader": _to("train", _OPTIONAL),
        "val_dataloader": _to("val", _OPTIONAL),
        "test_dataloader": _to("test", _OPTIONAL),
        "val_evaluator": _to("metric", "dict | list[dict] | None"),
        "test_evaluator": _to("metric (where there is no val_evaluator)", "dict | list[dict] | None"),
        "tta_model": _to("inference.augmented", _OPTIONAL),
        "tta_pipeline": _to("inference.augmented", "list[dict] | None"),
        "optim_wrapper": _to("optim", _OPTIONAL),
        "param_scheduler": _to("optim.schedules", "dict | list[dict] | None"),
        "train_cfg": _to("duration, evaluate_every", _OPTIONAL),
        "val_cfg": _to("evaluation during training", _OPTIONAL),
        "test_cfg": _to("evaluation", _OPTIONAL),
        "default_hooks": _to("checkpoint, log_every", _OPTIONAL),
        "custom_hooks": _to("hook by hook", "list[dict] | None"),
        "env_cfg": _to("runtime", _OPTIONAL),
        "randomness": _to("seed, runtime.deterministic", _OPTIONAL),
        "load_from": _to("load_from", "str | None"),
        "resume": _refused("a run is resumed with `intarsia train --resume RUN`", False),
        "custom_imports": _to("imports", _OPTIONAL),
        "auto_scale_lr": _to("a note", _OPTIONAL),
        "visualizer": _to("nothing, or a refusal of its logging services", _OPTIONAL),
        "sync_bn": _to("runtime.synchronise_batch_norm", "str | None"),
        "model_wrapper_cfg": _nothing("the runtime wraps the model for several processes"),
        "find_unused_parameters": _nothing("says how processes exchange gradients; the runtime sees to it"),
        "compile": _refused("compilation is not supported yet", False, None),
        "work_dir": _nothing("the folder of a run is given by --out"),
        "experiment_name": _nothing("a run is named by its folder"),
        "launcher": _nothing("the runtime finds its processes itself (torchrun, SLURM)"),
        "default_scope": _nothing("one table holds the parts of all registries"),
        "log_level": _nothing("the command line decides what is printed"),
        "log_processor": _nothing("every logged value is the mean since the last one"),
    },
    "data_preprocessor": _SCOPE
    | {
        "type": _TYPE,
        "mean": _to("preprocess.mean", "Sequence[float] | None"),
        "std": _to("preprocess.std", "Sequence[float] | None"),
        "bgr_to_rgb": _to("preprocess.channel_order", "bool"),
        "rgb_to_bgr": _to("preprocess.channel_order", "bool"),
        "pad_val": _to("preprocess.pad_value", "float"),
        "seg_pad_val": _to("preprocess.label_pad_value", "int"),
        "size": _to("preprocess.train_size", "tuple[int, int] | None"),
        "size_divisor": _to("preprocess.train_size_divisor", "int | None"),
        "test_cfg": _to("preprocess.eval_size, preprocess.eval_size_divisor", _OPTIONAL),
        "batch_augments": _refused("augmentation of whole batches is not supported yet", None),
        "non_blocking": _nothing("batches always travel to the device in the background"),
    },
    "data_preprocessor.test_cfg": {
        "size": _to("preprocess.eval_size", "tuple[int, int] | None"),
        "size_divisor": _to("preprocess.eval_size_divisor", "int | None"),
    },
    # --- model
    "model": _SCOPE
    | {
        "type": _TYPE,
        "data_preprocessor": _to("preprocess", _OPTIONAL),
        "decode_head": _to("model argument `decode_head`; its losses to losses", "dict | list[dict]"),
        "auxiliary_head": _to("model argument `auxiliary_head`; its losses to losses", "dict | list[dict] | None"),
        "pretrained": _to("pretrained", "str | None"),
        "init_cfg": _refused("weights of a whole model are named by load_from", None),
        "train_cfg": _to("argument `training` of the last decode head", _OPTIONAL),
        "test_cfg": _to("inference", _OPTIONAL),
        "num_stages": _nothing("the list of decode heads has its length"),
    },
    "model.train_cfg": {
        "sampler": _refused("the sampler of pixels belongs to the head", None),
        "num_points": _to("argument `training` of the last decode head", "int"),
        "oversample_ratio": _to("argument `training` of the last decode head", "float"),
        "importance_sample_ratio": _to("argument `training` of the last decode head", "float"),
    },
    "model.test_cfg": {
        "mode": _to("inference.mode", "Literal['whole', 'slide', 'slide_flip']"),
        "crop_size": _to("inference.crop_size", "int | tuple[int, int] | None"),
        "stride": _to("inference.stride", "int | tuple[int, int] | None"),
        "scale_factor": _to("argument `inference` of the last decode head", "float"),
        "subdivision_steps": _to("argument `inference` of the last decode head", "int"),
        "subdivision_num_points": _to("argument `inference` of the last decode head", "int"),
    },
    "head": _SCOPE
    | {
        "type": _to("type"),
        "loss_decode": _to("losses", "dict | list[dict]"),
        "ignore_index": _to("losses.ignore_index", "int"),
        "sampler": _to("losses.sampler", _OPTIONAL),
        "num_classes": _to("argument `num_classes` (number of logits), inference.num_classes", "int"),
        "out_channels": _to("argument `num_classes` (number of logits)", "int | None"),
        "threshold": _to("inference.threshold", "float | None"),
        "align_corners": _to("argument `align_corners`, losses.align_corners, inference.align_corners", "bool"),
        "dropout_ratio": _to("argument `dropout_ratio`; -1 means 0", "float"),
        "train_cfg": _to("argument `training`", _OPTIONAL),
        "test_cfg": _to("argument `inference`", _OPTIONAL),
        "loss_se_decode": _to("argument `training`", _DICT),
        "loss_cls": _to("argument `training`", _DICT),
        "loss_mask": _to("argument `training`", _DICT),
        "loss_dice": _to("argument `training`", _DICT),
        "kernel_generate_head": _to("argument `kernel_generate_head`; its losses to losses", _DICT),
    },
    "loss": _SCOPE
    | {
        "type": _to("type"),
        "loss_weight": _to("losses.weights", "float"),
        "loss_name": _to("losses.names", "str"),
    },
    "init_cfg": {
        "type": _TYPE,
        "checkpoint": _to("pretrained", "str"),
        "prefix": _to("pretrained, after a #", "str | None"),
        "map_location": _nothing("weights are read on the CPU"),
    },
    # --- data
    "dataloader": {
        "batch_size": _to("batch_size (per process)", "int"),
        "num_workers": _to("workers", "int"),
        "dataset": _to("dataset, transforms", _DICT),
        "sampler": _to("shuffle", _OPTIONAL),
        "persistent_workers": _nothing("workers live as long as the run"),
        "pin_memory": _nothing("memory is pinned where there is a GPU"),
        "prefetch_factor": _nothing("the loader decides how far it reads ahead"),
        "timeout": _nothing("a worker that dies is reported at once"),
        "drop_last": _nothing("every training batch is full; evaluation sees every image exactly once"),
        "collate_fn": _refused(
            "one function makes batches", None, {"type": "default_collate"}, {"type": "pseudo_collate"}
        ),
        "batch_sampler": _refused("the order of samples is a function of seed and step", None),
        "worker_init_fn": _refused("workers have no state: every sample has its own random stream", None),
        "num_batch_per_epoch": _refused("the length of training is given in train_cfg", None),
    },
    "sampler": _SCOPE
    | {
        "type": _TYPE,
        "shuffle": _to("shuffle", "bool"),
        "seed": _refused("the order of samples comes from randomness.seed", None),
        "round_up": _nothing("every image is seen exactly once in evaluation, every training batch is full"),
    },
    "dataset": _SCOPE
    | {
        "type": _TYPE,
        "data_root": _to("argument `root`", "str | None"),
        "data_prefix": _to("arguments `images`, `labels` ...", _DICT),
        "img_suffix": _to("argument `image_suffix`", "str | Sequence[str]"),
        "seg_map_suffix": _to("argument `label_suffix`", "str"),
        "ann_file": _to("argument `split_file`", "str | list[str]"),
        "metainfo": _to("arguments `classes`, `palette`", _OPTIONAL),
        "ignore_index": _to("argument `ignore_index`", "int"),
        "reduce_zero_label": _to("argument `reduce_zero_label`", "bool"),
        "label_table": _to("argument `label_table`", _OPTIONAL),
        "pipeline": _to("transforms, label_size", "list[dict]"),
        "backend_args": _FILES,
        "file_client_args": _FILES,
        "indices": _refused("a part of the data is chosen by a list of names in ann_file", None),
        "filter_cfg": _refused("a part of the data is chosen by a list of names in ann_file", None),
        "test_mode": _nothing("ground truth is read where the pipeline loads it"),
        "serialize_data": _nothing("the list of files is small"),
        "lazy_init": _nothing("files are listed once, when the data set is built"),
        "max_refetch": _nothing("a file that cannot be read is an error that names it"),
    },
    "metainfo": {
        "classes": _to("argument `classes`", "Sequence[str]"),
        "palette": _to("argument `palette`", "Sequence[Sequence[int]] | None"),
        "dataset_type": _nothing("a name for people"),
        "task_name": _nothing("a name for people"),
    },
    "label_table": {
        "values": _to("argument `values`", "dict | list[tuple[int, int]] | None"),
        "colours": _to("argument `colours`", "dict | list[tuple[Any, int]] | None"),
        "ignore_index": _to("argument `ignore_index`", "int"),
        "outside": _to("argument `outside`", "str"),
    },
    "dataset wrapper": _SCOPE
    | {
        "type": _TYPE,
        "dataset": _to("argument `dataset`", _DICT),
        "datasets": _to("argument `datasets`", "list[dict]"),
        "times": _to("argument `times`", "int"),
        "oversample_thr": _to("argument `oversample_thr`", "float"),
        "pipeline": _to("transforms, after those of the data set inside", "list[dict]"),
        "skip_type_keys": _refused("a transform is left out by leaving it out of the pipeline", None),
        "verify_meta": _nothing("parts with other classes are an error"),
        "ignore_keys": _nothing("parts with other classes are an error"),
        "lazy_init": _nothing("files are listed once, when the data set is built"),
    },
    "LoadImageFromFile": _SCOPE
    | {
        "type": _nothing("images are read by the data set"),
        "color_type": _to("dataset argument `bands`", "str"),
        "imdecode_backend": _to("dataset argument `bands`", "str | None"),
        "to_float32": _nothing("images keep their stored type until they are normalised, in float32, on the device"),
        "ignore_empty": _refused("a file that cannot be read is an error that names it", False),
        "backend_args": _FILES,
        "file_client_args": _FILES,
    },
    "LoadAnnotations": _SCOPE
    | {
        "type": _to("label_size, by its place in the pipeline"),
        "reduce_zero_label": _to("must agree with the data set's", "bool | None"),
        "imdecode_backend": _nothing("label files are lossless, every decoder gives the same"),
        "with_seg": _refused("only label maps are loaded", True),
        "with_bbox": _refused("only label maps are loaded", False),
        "with_label": _refused("only label maps are loaded", False),
        "with_keypoints": _refused("only label maps are loaded", False),
        "backend_args": _FILES,
        "file_client_args": _FILES,
    },
    "PackSegInputs": _SCOPE
    | {
        "type": _nothing("batches are made by the loader"),
        "meta_keys": _nothing("the metadata of a sample are fixed"),
    },
    "transform": {
        "clip_object_border": _nothing("there are no boxes"),
        "backend": _refused("images are resized by OpenCV", "cv2"),
    },
    "TestTimeAug": _SCOPE | {"type": _TYPE, "transforms": _to("inference.augmented", "list[list[dict]]")},
    "tta_model": _SCOPE | {"type": _TYPE},
    # --- evaluation
    "IoUMetric": _SCOPE
    | {
        "type": _TYPE,
        "iou_metrics": _to("metric argument `metrics`", "Sequence[Literal['mIoU', 'mDice', 'mFscore']]"),
        "ignore_index": _to("metric argument `ignore_index`", "int"),
        "nan_to_num": _to("metric argument `nan_to_num`", "float | None"),
        "beta": _to("metric argument `beta`", "float"),
        "output_dir": _refused("label maps are written by `intarsia predict WEIGHTS IMAGES -o OUT`", None),
        "format_only": _refused("label maps are written by `intarsia predict WEIGHTS IMAGES -o OUT`", False),
        "collect_device": _nothing("counts are summed where they are"),
        "collect_dir": _nothing("counts are summed where they are"),
        "prefix": _nothing("names in reports are fixed"),
    },
    # --- training
    "optim_wrapper": {
        "type": _TYPE,
        "optimizer": _to("optim.optimizer", _DICT),
        "clip_grad": _to("optim.clip", _OPTIONAL),
        "accumulative_counts": _to("optim.accumulate", "int"),
        "paramwise_cfg": _to("optim.paramwise", _OPTIONAL),
        "constructor": _to("optim.constructor", "str | None"),
        "loss_scale": _to("optim.loss_scale", "float | Literal['dynamic']"),
        "dtype": _to("optim.precision", "Literal['float16', 'bfloat16'] | None"),
        "use_fsdp": _refused("the runtime shards the model", False),
    },
    "clip_grad": {
        "max_norm": _to("optim.clip", "float"),
        "norm_type": _to("optim.clip", "float | Literal['inf']"),
        "error_if_nonfinite": _to("optim.clip", "bool"),
        "type": _refused("gradients are clipped by their norm", "norm"),
    },
    "param_scheduler": {
        "type": _to("optim.schedules.type, optim.schedules.parameter", "str"),
        "begin": _to("optim.schedules.begin", "int"),
        "end": _to("optim.schedules.end", "int | None"),
        "by_epoch": _to("optim.schedules.by_epoch", "bool"),
        "convert_to_iter_based": _refused("write `begin` and `end` in steps, with by_epoch=False", False),
        "verbose": _nothing("learning rates are logged"),
        "last_step": _nothing("the schedule is a function of the step"),
    },
    "train_cfg": {
        "type": _TYPE,
        "by_epoch": _to("duration.unit", "bool"),
        "max_iters": _to("duration", "int"),
        "max_epochs": _to("duration", "int"),
        "val_interval": _to("evaluate_every", "int"),
        "val_begin": _nothing("evaluation starts with the first interval; it changes no weights"),
        "dynamic_intervals": _refused("there is one interval of evaluation", None),
    },
    "val_cfg, test_cfg": {
        "type": _TYPE,
        "fp16": _refused("evaluation has the precision of the run (--precision)", False),
    },
    "CheckpointHook": {
        "type": _TYPE,
        "interval": _to("checkpoint.every", "int"),
        "by_epoch": _to("checkpoint.every", "bool"),
        "max_keep_ckpts": _to("checkpoint.keep", "int"),
        "save_best": _to("checkpoint.best_metric", "str | list[str] | None"),
        "rule": _to("checkpoint.best_mode", "Literal['greater', 'less'] | list | None"),
        "save_begin": _nothing("saving starts with the first interval; it changes no weights"),
        "save_last": _nothing("the last step is always saved"),
        "save_optimizer": _nothing("a run can always be resumed"),
        "save_param_scheduler": _nothing("the schedule is a function of the step"),
        "published_keys": _nothing("weights files hold what a model needs and no more"),
        "filename_tmpl": _nothing("the names in a run's folder are fixed"),
        "out_dir": _refused("the folder of a run is given by --out", None),
        "backend_args": _FILES,
        "file_client_args": _FILES,
    },
    "LoggerHook": {
        "type": _TYPE,
        "interval": _to("log_every", "int"),
        "log_metric_by_epoch": _nothing("metrics are logged with their step"),
        "interval_exp_name": _nothing("a run is named by its folder"),
        "ignore_last": _nothing("every interval is logged"),
        "keep_local": _nothing("logs stay in the run's folder"),
        "out_suffix": _nothing("logs stay in the run's folder"),
        "out_dir": _refused("the folder of a run is given by --out", None),
        "backend_args": _FILES,
        "file_client_args": _FILES,
    },
    "SegVisualizationHook": {
        "type": _TYPE,
        "draw": _refused("pictures are drawn by `intarsia predict RUN IMAGES -o OUT`", False),
        "show": _refused("pictures are drawn by `intarsia predict RUN IMAGES -o OUT`", False),
        "interval": _nothing("nothing is drawn during a run"),
        "wait_time": _nothing("nothing is shown during a run"),
        "backend_args": _FILES,
    },
    "visualizer": _SCOPE
    | {
        "type": _nothing("pictures are drawn by `intarsia predict`"),
        "vis_backends": _to("refused where it names a logging service", "list[dict] | None"),
        "name": _nothing("pictures are drawn by `intarsia predict`"),
        "save_dir": _nothing("the folder of a run is given by --out"),
        "alpha": _nothing("pictures are drawn by `intarsia predict`"),
    },
    "env_cfg": {
        "cudnn_benchmark": _to("runtime.cudnn_benchmark", "bool"),
        "mp_cfg": _to("nothing", _OPTIONAL),
        "dist_cfg": _to("runtime.backend", _OPTIONAL),
        "resource_limit": _nothing("files are closed when they are read"),
    },
    "env_cfg.mp_cfg": {
        "mp_start_method": _nothing("workers are the same however they are started"),
        "opencv_num_threads": _nothing("each worker uses one thread"),
        "omp_num_threads": _nothing("each worker uses one thread"),
        "mkl_num_threads": _nothing("each worker uses one thread"),
    },
    "env_cfg.dist_cfg": {
        "backend": _to("runtime.backend ('nccl' is what GPUs have anyway: None)", "str"),
        "timeout": _nothing("the default of torch.distributed"),
        "init_backend": _nothing("the runtime finds its processes itself"),
    },
    "randomness": {
        "seed": _to("seed", "int | None"),
        "deterministic": _to("runtime.deterministic", "bool"),
        "diff_rank_seed": _nothing("every sample has its own random stream, wherever it is computed"),
    },
    "custom_imports": {
        "imports": _to("imports; OpenMMLab's own packages are not needed", "str | list[str]"),
        "allow_failed_imports": _nothing("an import that fails is an error that names it"),
    },
    "auto_scale_lr": {
        "enable": _to("a note: the learning rate stays as written", "bool"),
        "base_batch_size": _nothing("says which batch size the learning rate was written for"),
    },
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
    "total_iters": "train_cfg",
}
"""Keys of MMSegmentation 0.x -> what took their place. Variables of these names are common in newer configs too."""

LEFTOVERS = frozenset({
    "albu_train_transforms", "backbone_embed_multi", "backbone_norm_cfg", "backbone_norm_multi", "checkpoint",
    "checkpoint_file", "class_weight", "classes", "conv_kernel_size", "crop_size", "custom_keys", "data_root",
    "dataset_aug", "dataset_train", "dataset_type", "depths", "embed_multi", "ham_norm_cfg", "img_norm_cfg",
    "img_prefix", "img_ratios", "img_scale", "iters", "metainfo", "norm_cfg", "num_classes", "num_stages",
    "palette", "pretrained", "stable_diffusion_cfg", "test_pipeline", "train_ann", "train_pipeline", "used_labels",
    "val_ann", "val_pipeline", "vis_backends",
})  # fmt: skip
"""Names of variables that published configs leave at the top level: no misspelt keys, whatever they resemble."""

# --- Hooks, loops, schedules --------------------------------------------------------------------------------------

HOOKS: dict[str, Fate] = {
    "CheckpointHook": _to("checkpoint"),
    "LoggerHook": _to("log_every"),
    "SegVisualizationHook": _to("nothing, or a refusal to draw"),
    "IterTimerHook": _nothing("the loop always takes its time"),
    "RuntimeInfoHook": _nothing("the loop always logs step, loss and learning rate"),
    "ParamSchedulerHook": _nothing("the learning rate is a function of the step"),
    "DistSamplerSeedHook": _nothing("the order of samples is a function of the seed"),
    "EmptyCacheHook": _nothing("changes no result; the allocator gives memory back when it must"),
    "EMAHook": _refused("averaged weights are not supported yet"),
    "EarlyStoppingHook": _refused("stopping early is not supported yet; the best weights are kept by save_best"),
    "SyncBuffersHook": _refused("averaging of buffers is not supported yet; use SyncBN"),
    "ProfilerHook": _refused("profiling is not supported yet"),
    "PrepareTTAHook": _refused("augmentation at test time is chosen when evaluating"),
}
"""Hook -> what becomes of it. Every other hook is refused: code cannot be hung into the loop by a config."""

VISUALISERS: dict[str, Fate] = {
    "LocalVisBackend": _nothing("metrics.jsonl and curve.png are always written"),
    "TensorboardVisBackend": _refused("logging to TensorBoard is not supported yet; metrics.jsonl has every value"),
    "WandbVisBackend": _refused("logging to Weights & Biases is not supported yet; metrics.jsonl has every value"),
    "MLflowVisBackend": _refused("logging to MLflow is not supported; metrics.jsonl has every value"),
}

LOOPS = {"IterBasedTrainLoop": "steps", "EpochBasedTrainLoop": "epochs"}

SCHEDULES: dict[str, Area] = {
    "PolyLR": {"power": _to("", "float"), "eta_min": _to("", "float")},
    "PolyLRRatio": {"power": _to("", "float"), "eta_min": _to("", "float"), "eta_min_ratio": _to("", "float | None")},
    "LinearLR": {"start_factor": _to("", "float"), "end_factor": _to("", "float")},
    "ConstantLR": {"factor": _to("", "float")},
    "MultiStepLR": {"milestones": _to("", "list[int]"), "gamma": _to("", "float")},
    "StepLR": {"step_size": _to("", "int"), "gamma": _to("", "float")},
    "ExponentialLR": {"gamma": _to("", "float")},
    "CosineAnnealingLR": {
        "T_max": _to("", "int | None"),
        "eta_min": _to("", "float | None"),
        "eta_min_ratio": _to("", "float | None"),
    },
    "CosineRestartLR": {
        "periods": _to("", "list[int]"),
        "restart_weights": _to("", "list[float]"),
        "eta_min": _to("", "float | None"),
        "eta_min_ratio": _to("", "float | None"),
    },
    "OneCycleLR": {
        "eta_max": _to("", "float"),
        "total_steps": _to("", "int | None"),
        "pct_start": _to("", "float"),
        "anneal_strategy": _to("", "Literal['cos', 'linear']"),
        "div_factor": _to("", "float"),
        "final_div_factor": _to("", "float"),
        "three_phase": _to("", "bool"),
    },
}
"""Schedule -> its own arguments, kept in optim.schedules.args. Each exists for the momentum too ("PolyMomentum")."""

SCHEDULES_NEED = {
    "MultiStepLR": "milestones",
    "StepLR": "step_size",
    "ExponentialLR": "gamma",
    "CosineRestartLR": "periods",
    "OneCycleLR": "eta_max",
}

CONSTRUCTORS = (
    "DefaultOptimWrapperConstructor", "DefaultOptimizerConstructor", "ForceDefaultOptimWrapperConstructor",
    "LayerDecayOptimizerConstructor", "LearningRateDecayOptimizerConstructor",
)  # fmt: skip
"""Who may read `paramwise_cfg`."""

# --- Models -------------------------------------------------------------------------------------------------------

KINDS = {
    "backbone": "backbone",
    "backbone_cfg": "backbone",
    "image_encoder": "backbone",
    "text_encoder": "backbone",
    "neck": "neck",
    "kernel_update_head": "head",
    "kernel_updator_cfg": "head",
    "norm": "norm",
    "norm_cfg": "norm",
    "activation": "activation",
    "act_cfg": "activation",
}
"""Key of a model -> kind of the part that stands there. Other dicts stay plain arguments, whether they have a type."""

NORMS = {"BN2d": "BN", "MMSyncBN": "SyncBN", "IN2d": "IN"}
"""Other names of norm layers."""

SEVERAL_LOGITS_PER_QUERY = frozenset({"MaskFormerHead", "Mask2FormerHead"})
"""Heads that classify masks: `out_channels` is a width there, and their losses are not per pixel."""

OWN_LOSS = SEVERAL_LOGITS_PER_QUERY | {"VPDDepthHead"}
"""Heads without a cross entropy by default."""

OWN_LABELS = frozenset({"STDCHead"})
"""Heads that learn something else than the classes, such as edges."""

LOSS_NAMES = {
    "CrossEntropyLoss": "loss_ce",
    "HuasdorffDisstanceLoss": "loss_huasdorff",
    "KLDivLoss": "loss_kld",
    "OhemCrossEntropy": "loss_ohem",
    "SiLogLoss": "loss_silog",
}
"""Loss -> its name in the log; the others are "loss_" and their name in small letters ("loss_dice")."""

DEFAULT_THRESHOLD = 0.3
"""Of a single logit's probability, where the config says nothing."""

# --- Data ---------------------------------------------------------------------------------------------------------

PREFIXES = {"img_path": "images", "seg_map_path": "labels", "img_path2": "images2", "depth_map_path": "depths"}
"""Key of data_prefix -> argument of the data set."""

GEOMETRY = frozenset({
    "BioMedical3DPad", "BioMedical3DRandomCrop", "BioMedical3DRandomFlip", "Pad", "RandomChoiceResize", "RandomCrop",
    "RandomFlip", "RandomMosaic", "RandomResize", "RandomRotFlip", "RandomRotate", "Resize", "ResizeShortestEdge",
    "ResizeToMultiple", "SegRescale",
})  # fmt: skip
"""Transforms that move pixels: labels loaded after one of them keep the size of their file."""

LABEL_LOADERS = frozenset({"LoadAnnotations", "LoadBiomedicalAnnotation", "LoadDepthAnnotation"})

FOLDERS = frozenset({"BaseSegDataset", "FolderDataset"})
"""The general data set, whose classes are the user's."""

FAMILIES: dict[str, tuple[int, bool]] = {
    "ADE20KDataset": (150, True),
    "BDD100KDataset": (19, False),
    "COCOStuffDataset": (171, False),
    "ChaseDB1Dataset": (2, False),
    "CityscapesDataset": (19, False),
    "DRIVEDataset": (2, False),
    "DarkZurichDataset": (19, False),
    "HRFDataset": (2, False),
    "ISPRSDataset": (6, True),
    "LEVIRCDDataset": (2, False),
    "LIPDataset": (20, False),
    "LoveDADataset": (7, True),
    "MapillaryDataset_v1": (66, False),
    "MapillaryDataset_v2": (124, False),
    "NightDrivingDataset": (19, False),
    "PascalContextDataset": (60, False),
    "PascalContextDataset59": (59, True),
    "PascalVOCDataset": (21, False),
    "PotsdamDataset": (6, True),
    "REFUGEDataset": (3, False),
    "STAREDataset": (2, False),
    "SynapseDataset": (9, False),
    "iSAIDDataset": (16, False),
}
"""Benchmark -> number of classes, and whether file value 0 stands for "nothing" unless the config says otherwise."""

# --- From our arguments back to the keys that users write ---------------------------------------------------------

_SUFFIXES = (("norm_cfg", "norm"), ("act_cfg", "activation"), ("conv_cfg", "conv"))
_RENAMED = {
    "any": {"with_cp": "checkpoint_activations"},
    "norm": {"type": "kind"},
    "activation": {"type": "kind"},
    "metric": {"iou_metrics": "metrics"},
    "dataset": {
        "data_root": "root",
        "img_suffix": "image_suffix",
        "seg_map_suffix": "label_suffix",
        "ann_file": "split_file",
        "metainfo.classes": "classes",
        "metainfo.palette": "palette",
        **{f"data_prefix.{key}": argument for key, argument in PREFIXES.items()},
    },
}


def argument_name(kind: str, key: str) -> str:
    """The constructor's name for a key of a config: `norm_cfg` is `norm`, `data_root` of a data set is `root`."""
    for old, new in _SUFFIXES:
        if key == old or key.endswith(f"_{old}"):
            return key[: -len(old)] + new
    return _RENAMED.get(kind, {}).get(key) or _RENAMED["any"].get(key, key)


def user_key(kind: str, argument: str) -> str:
    """The key, or dotted path, under which a config has an argument: the inverse of `argument_name`."""
    for key, name in {**_RENAMED["any"], **_RENAMED.get(kind, {})}.items():
        if name == argument:
            return key
    for old, new in _SUFFIXES:
        if argument == new or argument.endswith(f"_{new}"):
            return argument[: -len(new)] + old
    return argument


def kind_of(key: str) -> str | None:
    """The kind of part that stands under a key of a model, if any."""
    for old, kind in (("norm_cfg", "norm"), ("act_cfg", "activation")):
        if key.endswith(f"_{old}"):
            return kind
    return KINDS.get(key)
