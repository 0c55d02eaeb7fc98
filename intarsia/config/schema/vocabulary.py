"""The vocabulary of the configuration language: every key that has a meaning, and what becomes of it.

`lower` reads configs through these tables and through nothing else: a key that is not in its table is a problem, and
so is a key that is refused. ``docs/vocabulary.md`` is made from them by ``scripts/vocabulary.py``. The arguments of
parts (backbones, heads, transforms ...) are not listed here: their constructors say what they take.
"""

from __future__ import annotations

from intarsia.config.schema.fates import Area, nothing, refused, to
from intarsia.config.schema.queries import QUERY_AREAS
from intarsia.config.schema.training import TRAINING_AREAS

_SCOPE = {"_scope_": nothing("one table holds the parts of all registries")}
_LOCAL = "only local files are read"
_FILES = refused(_LOCAL, None, {"backend": "local"}, {"backend": "disk"})
_TYPE = to("what it is", "str")
_DICT, _OPTIONAL = "dict", "dict | None"

# --- Sections -----------------------------------------------------------------------------------------------------

AREAS: dict[str, Area] = {
    "top level": {
        "model": to("model, losses, inference", _DICT),
        "data_preprocessor": to("preprocess (where the model has none of its own)", _OPTIONAL),
        "train_dataloader": to("train", _OPTIONAL),
        "val_dataloader": to("val", _OPTIONAL),
        "test_dataloader": to("test", _OPTIONAL),
        "val_evaluator": to("metric", "dict | list[dict] | None"),
        "test_evaluator": to("metric (where there is no val_evaluator)", "dict | list[dict] | None"),
        "tta_model": to("inference.augmented", _OPTIONAL),
        "tta_pipeline": to("inference.augmented", "list[dict] | None"),
        "optim_wrapper": to("optim", _OPTIONAL),
        "param_scheduler": to("optim.schedules", "dict | list[dict] | None"),
        "train_cfg": to("duration, evaluate_every", _OPTIONAL),
        "val_cfg": to("evaluation during training", _OPTIONAL),
        "test_cfg": to("evaluation", _OPTIONAL),
        "default_hooks": to("checkpoint, log_every", _OPTIONAL),
        "custom_hooks": to("hook by hook", "list[dict] | None"),
        "env_cfg": to("runtime", _OPTIONAL),
        "randomness": to("seed, runtime.deterministic", _OPTIONAL),
        "load_from": to("load_from", "str | None"),
        "resume": refused("a run is resumed with `intarsia train --resume RUN`", False),
        "custom_imports": to("imports", _OPTIONAL),
        "auto_scale_lr": to("a note", _OPTIONAL),
        "visualizer": to("observers: its logging services", _OPTIONAL),
        "sync_bn": to("runtime.synchronise_batch_norm", "str | None"),
        "model_wrapper_cfg": to("runtime.strategy", _OPTIONAL),
        "find_unused_parameters": nothing("says how processes exchange gradients; the runtime sees to it"),
        "compile": to("runtime.compile", "bool | dict | None"),
        "intarsia": to("care: what MMSegmentation has no key for", _DICT),
        "work_dir": nothing("the folder of a run is given by --out"),
        "experiment_name": nothing("a run is named by its folder"),
        "launcher": nothing("the runtime finds its processes itself (torchrun, SLURM)"),
        "default_scope": nothing("one table holds the parts of all registries"),
        "log_level": nothing("the command line decides what is printed"),
        "log_processor": nothing("every logged value is the mean since the last one"),
    },
    "intarsia": {
        "freeze": to("care.freeze", "str | Sequence[str]"),
        "keep_every": to("care.keep_every, in the unit of train_cfg", "int | None"),
        "fit_images": to("care.fit_images", "int"),
        "pictures": to("care.pictures", "int"),
        "hang_after": to("care.hang_after, in seconds", "float"),
        "nonfinite_steps": to("care.nonfinite_steps", "int"),
        "total_batch": to("care.total_batch: images per optimizer step; accumulation follows from it", "int | None"),
    },
    "data_preprocessor": _SCOPE
    | {
        "type": _TYPE,
        "mean": to("preprocess.mean", "Sequence[float] | None"),
        "std": to("preprocess.std", "Sequence[float] | None"),
        "bgr_to_rgb": to("preprocess.channel_order", "bool"),
        "rgb_to_bgr": to("preprocess.channel_order", "bool"),
        "pad_val": to("preprocess.pad_value", "float"),
        "seg_pad_val": to("preprocess.label_pad_value", "int"),
        "size": to("preprocess.train_size", "tuple[int, int] | None"),
        "size_divisor": to("preprocess.train_size_divisor", "int | None"),
        "test_cfg": to("preprocess.eval_size, preprocess.eval_size_divisor", _OPTIONAL),
        "batch_augments": refused("augmentation of whole batches is not supported yet", None),
        "non_blocking": nothing("batches always travel to the device in the background"),
    },
    "data_preprocessor.test_cfg": {
        "size": to("preprocess.eval_size", "tuple[int, int] | None"),
        "size_divisor": to("preprocess.eval_size_divisor", "int | None"),
    },
    # --- model
    "model": _SCOPE
    | {
        "type": _TYPE,
        "data_preprocessor": to("preprocess", _OPTIONAL),
        "decode_head": to("model argument `decode_head`; its losses to losses", "dict | list[dict]"),
        "auxiliary_head": to("model argument `auxiliary_head`; its losses to losses", "dict | list[dict] | None"),
        "pretrained": to("pretrained", "str | None"),
        "init_cfg": refused("weights of a whole model are named by load_from", None),
        "train_cfg": to("arguments of the last decode head", _OPTIONAL),
        "test_cfg": to("inference; arguments of the last decode head", _OPTIONAL),
        "num_stages": nothing("the list of decode heads has its length"),
    },
    "model.train_cfg": {
        "sampler": refused("the sampler of pixels belongs to the head", None),
        "num_points": to("argument of the last decode head", "int"),
        "oversample_ratio": to("argument of the last decode head", "float"),
        "importance_sample_ratio": to("argument of the last decode head", "float"),
    },
    "model.test_cfg": {
        "mode": to("inference.mode", "Literal['whole', 'slide', 'slide_flip']"),
        "crop_size": to("inference.crop_size", "int | tuple[int, int] | None"),
        "stride": to("inference.stride", "int | tuple[int, int] | None"),
        "scale_factor": to("argument of the last decode head", "int"),
        "subdivision_steps": to("argument of the last decode head", "int"),
        "subdivision_num_points": to("argument of the last decode head", "int"),
    },
    "head": _SCOPE
    | {
        "type": to("what it is"),
        "loss_decode": to("losses", "dict | list[dict]"),
        "ignore_index": to("losses.ignore_index", "int"),
        "sampler": to("losses.sampler", _OPTIONAL),
        "num_classes": to("argument `num_classes` (number of logits), inference.num_classes", "int"),
        "out_channels": to("argument `num_classes` (number of logits)", "int | None"),
        "threshold": to("inference.threshold", "float | None"),
        "align_corners": to("argument `align_corners`, losses.align_corners, inference.align_corners", "bool"),
        "dropout_ratio": to("argument `dropout_ratio`; -1 means 0", "float"),
        "train_cfg": to("argument `training`", _OPTIONAL),
        "test_cfg": to("argument `inference`", _OPTIONAL),
        "loss_se_decode": to("argument `training`", _DICT),
        "kernel_generate_head": to("argument `kernel_generate_head`; its losses to losses", _DICT),
    },
    "HRNet: extra": {
        f"stage{number}": to("arguments `channels`, `num_blocks`, `num_modules`", _DICT) for number in range(1, 5)
    },
    "HRNet: a stage of extra": {
        "num_channels": to("argument `channels`", "Sequence[int]"),
        "num_blocks": to("argument `num_blocks`", "Sequence[int]"),
        "num_modules": to("argument `num_modules`", "int"),
        "num_branches": nothing("num_channels has one entry for each"),
        "block": to("nothing: it is 'BOTTLENECK' in the first stage and 'BASIC' in the others, or refused", "str"),
    },
    "KernelUpdateHead: feat_transform_cfg": {
        "act_cfg": to("nothing: it is None, since no activation follows, or refused", "None"),
        "conv_cfg": refused("the layer is an ordinary convolution", None, {"type": "Conv2d"}),
        "kernel_size": refused("pixels are transformed one by one", 1),
        "norm_cfg": refused("no norm follows", None),
    },
    "loss": _SCOPE
    | {
        "type": to("what it is"),
        "loss_weight": to("losses.weights", "float"),
        "loss_name": to("losses.names", "str"),
    },
    "init_cfg": {
        "type": _TYPE,
        "checkpoint": to("pretrained", "str"),
        "prefix": to("pretrained, after a #", "str | None"),
        "map_location": nothing("weights are read on the CPU"),
    },
    **QUERY_AREAS,
    # --- data
    "dataloader": {
        "batch_size": to("batch_size (per process)", "int"),
        "num_workers": to("workers", "int"),
        "dataset": to("dataset, transforms", _DICT),
        "sampler": to("shuffle", _OPTIONAL),
        "persistent_workers": nothing("workers live as long as the run"),
        "pin_memory": nothing("memory is pinned where there is a GPU"),
        "prefetch_factor": nothing("the loader decides how far it reads ahead"),
        "timeout": nothing("a worker that dies is reported at once"),
        "drop_last": nothing("every training batch is full; evaluation sees every image exactly once"),
        "collate_fn": refused(
            "one function makes batches", None, {"type": "default_collate"}, {"type": "pseudo_collate"}
        ),
        "batch_sampler": refused("the order of samples is a function of seed and step", None),
        "worker_init_fn": refused("workers have no state: every sample has its own random stream", None),
        "num_batch_per_epoch": refused("the length of training is given in train_cfg", None),
    },
    "sampler": _SCOPE
    | {
        "type": _TYPE,
        "shuffle": to("shuffle", "bool"),
        "seed": refused("the order of samples comes from randomness.seed", None),
        "round_up": nothing("every image is seen exactly once in evaluation, every training batch is full"),
    },
    "dataset": _SCOPE
    | {
        "type": _TYPE,
        "data_root": to("argument `root`", "str | None"),
        "data_prefix": to("arguments `images`, `labels` ...", _DICT),
        "img_suffix": to("argument `image_suffix`", "str | Sequence[str]"),
        "seg_map_suffix": to("argument `label_suffix`", "str"),
        "ann_file": to("argument `split_file`", "str | list[str]"),
        "metainfo": to("arguments `classes`, `palette`", _OPTIONAL),
        "ignore_index": to("argument `ignore_index`", "int"),
        "reduce_zero_label": to("argument `reduce_zero_label`", "bool"),
        "label_table": to("argument `label_table`", _OPTIONAL),
        "pipeline": to("transforms, label_size", "list[dict]"),
        "backend_args": _FILES,
        "file_client_args": _FILES,
        "indices": refused("a part of the data is chosen by a list of names in ann_file", None),
        "filter_cfg": refused("a part of the data is chosen by a list of names in ann_file", None),
        "test_mode": nothing("ground truth is read where the pipeline loads it"),
        "serialize_data": nothing("the list of files is small"),
        "lazy_init": nothing("files are listed once, when the data set is built"),
        "max_refetch": nothing("a file that cannot be read is an error that names it"),
    },
    "metainfo": {
        "classes": to("argument `classes`", "Sequence[str]"),
        "palette": to("argument `palette`", "Sequence[Sequence[int]] | None"),
        "dataset_type": nothing("a name for people"),
        "task_name": nothing("a name for people"),
    },
    "label_table": {
        "values": to("argument `values`", "dict | list[tuple[int, int]] | None"),
        "colours": to("argument `colours`", "dict | list[tuple[Any, int]] | None"),
        "ignore_index": to("argument `ignore_index`", "int"),
        "outside": to("argument `outside`", "str"),
    },
    "wrapper of data sets": _SCOPE
    | {
        "type": _TYPE,
        "dataset": to("argument `dataset`", _DICT),
        "datasets": to("argument `datasets`", "list[dict]"),
        "times": to("argument `times`", "int"),
        "oversample_thr": to("argument `oversample_thr`", "float"),
        "pipeline": to("transforms, after those of the data set inside", "list[dict]"),
        "skip_type_keys": refused("a transform is left out by leaving it out of the pipeline", None),
        "verify_meta": nothing("parts with other classes are an error"),
        "ignore_keys": nothing("parts with other classes are an error"),
        "lazy_init": nothing("files are listed once, when the data set is built"),
    },
    "LoadImageFromFile": _SCOPE
    | {
        "type": nothing("images are read by the data set"),
        "color_type": to("dataset argument `bands`", "str"),
        "imdecode_backend": to("dataset argument `bands`", "str | None"),
        "to_float32": nothing("images keep their stored type until they are normalised, in float32, on the device"),
        "ignore_empty": refused("a file that cannot be read is an error that names it", False),
        "backend_args": _FILES,
        "file_client_args": _FILES,
    },
    "LoadAnnotations": _SCOPE
    | {
        "type": to("label_size, by its place in the pipeline"),
        "reduce_zero_label": to("must agree with the data set's", "bool | None"),
        "imdecode_backend": nothing("label files are lossless, every decoder gives the same"),
        "with_seg": refused("only label maps are loaded", True),
        "with_bbox": refused("only label maps are loaded", False),
        "with_label": refused("only label maps are loaded", False),
        "with_keypoints": refused("only label maps are loaded", False),
        "backend_args": _FILES,
        "file_client_args": _FILES,
    },
    "PackSegInputs": _SCOPE
    | {
        "type": nothing("batches are made by the loader"),
        "meta_keys": nothing("the metadata of a sample are fixed"),
    },
    "transform": {
        "clip_object_border": nothing("there are no boxes"),
        "backend": refused("images are resized by OpenCV", "cv2"),
    },
    "TestTimeAug": _SCOPE | {"type": _TYPE, "transforms": to("inference.augmented", "list[list[dict]]")},
    "TestTimeAug: Resize": _SCOPE
    | {
        "type": _TYPE,
        "scale_factor": to("inference.augmented.scales", "float"),
        "keep_ratio": refused("augmented copies keep their proportions", True),
        "scale": refused("augmented copies are scaled by factors of the image's size (scale_factor)"),
    },
    "TestTimeAug: RandomFlip": _SCOPE
    | {
        "type": _TYPE,
        "prob": to("inference.augmented.flips (0: as it is, 1: flipped)", "float"),
        "direction": to("inference.augmented.flips", "Literal['horizontal', 'vertical']"),
    },
    "tta_model": _SCOPE | {"type": _TYPE},
    # --- evaluation
    "IoUMetric": _SCOPE
    | {
        "type": _TYPE,
        "iou_metrics": to(
            "metric argument `metrics`",
            "Sequence[Literal['mIoU', 'mDice', 'mFscore', 'mFscore_mmseg', 'mBoundaryIoU', 'fwIoU', 'kappa', "
            "'imageIoU', 'interval', 'ECE']]",
        ),
        "groups": to("metric argument `groups`", "dict[str, list[str]]"),
        "ignore_index": to("metric argument `ignore_index`", "int"),
        "nan_to_num": to("metric argument `nan_to_num`", "float | None"),
        "beta": to("metric argument `beta`", "float"),
        "output_dir": refused("label maps are written by `intarsia predict WEIGHTS IMAGES -o OUT`", None),
        "format_only": refused("label maps are written by `intarsia predict WEIGHTS IMAGES -o OUT`", False),
        "collect_device": nothing("counts are summed where they are"),
        "collect_dir": nothing("counts are summed where they are"),
        "prefix": nothing("names in reports are fixed"),
    },
    # --- training
    **TRAINING_AREAS,
    "train_cfg": {
        "type": _TYPE,
        "by_epoch": to("duration.unit", "bool"),
        "max_iters": to("duration", "int"),
        "max_epochs": to("duration", "int"),
        "val_interval": to("evaluate_every", "int"),
        "val_begin": nothing("evaluation starts with the first interval; it changes no weights"),
        "dynamic_intervals": refused("there is one interval of evaluation", None),
    },
    "val_cfg, test_cfg": {
        "type": _TYPE,
        "fp16": refused("evaluation has the precision of the run (--precision)", False),
    },
    "EMAHook": {
        "type": _TYPE,
        "ema_type": refused("there is one kind of average, weighted exponentially", "ExponentialMovingAverage"),
        "momentum": to("ema.momentum: the share of the new weights", "float"),
        "begin_iter": to("ema.begin", "int"),
        "begin_epoch": refused("the average begins at a step: begin_iter", 0),
        "update_buffers": refused("statistics of norms are averages already; they are copied", False),
        "strict_load": nothing("weights are always loaded strictly"),
        "priority": nothing("the loop has one order"),
    },
    "EarlyStoppingHook": {
        "type": _TYPE,
        "monitor": to("checkpoint.best_metric", "str"),
        "rule": to("checkpoint.best_mode", "Literal['greater', 'less'] | None"),
        "min_delta": to("early_stop.min_delta", "float"),
        "patience": to("early_stop.patience, in evaluations", "int"),
        "strict": nothing("a metric that does not exist is always told"),
        "check_finite": nothing("a score that is not finite is never better"),
        "stopping_threshold": refused("the run ends when the metric does not improve, not when it is good", None),
        "priority": nothing("the loop has one order"),
    },
    "CheckpointHook": {
        "type": _TYPE,
        "interval": to("checkpoint.every", "int"),
        "by_epoch": to("checkpoint.every", "bool"),
        "max_keep_ckpts": to("checkpoint.keep", "int"),
        "save_best": to("checkpoint.best_metric", "str | list[str] | None"),
        "rule": to("checkpoint.best_mode", "Literal['greater', 'less'] | list | None"),
        "save_begin": nothing("saving starts with the first interval; it changes no weights"),
        "save_last": nothing("the last step is always saved"),
        "save_optimizer": nothing("a run can always be resumed"),
        "save_param_scheduler": nothing("the schedule is a function of the step"),
        "published_keys": nothing("weights files hold what a model needs and no more"),
        "filename_tmpl": nothing("the names in a run's folder are fixed"),
        "out_dir": refused("the folder of a run is given by --out", None),
        "backend_args": _FILES,
        "file_client_args": _FILES,
    },
    "LoggerHook": {
        "type": _TYPE,
        "interval": to("log_every", "int"),
        "log_metric_by_epoch": nothing("metrics are logged with their step"),
        "interval_exp_name": nothing("a run is named by its folder"),
        "ignore_last": nothing("every interval is logged"),
        "keep_local": nothing("logs stay in the run's folder"),
        "out_suffix": nothing("logs stay in the run's folder"),
        "out_dir": refused("the folder of a run is given by --out", None),
        "backend_args": _FILES,
        "file_client_args": _FILES,
    },
    "SegVisualizationHook": {
        "type": _TYPE,
        "draw": refused("pictures are drawn by `intarsia predict RUN IMAGES -o OUT`", False),
        "show": refused("pictures are drawn by `intarsia predict RUN IMAGES -o OUT`", False),
        "interval": nothing("nothing is drawn during a run"),
        "wait_time": nothing("nothing is shown during a run"),
        "backend_args": _FILES,
    },
    "visualizer": _SCOPE
    | {
        "type": nothing("pictures are drawn by `intarsia predict`"),
        "vis_backends": to("refused where it names a logging service", "list[dict] | None"),
        "name": nothing("pictures are drawn by `intarsia predict`"),
        "save_dir": nothing("the folder of a run is given by --out"),
        "alpha": nothing("pictures are drawn by `intarsia predict`"),
    },
    "env_cfg": {
        "cudnn_benchmark": to("runtime.cudnn_benchmark", "bool"),
        "mp_cfg": to("nothing", _OPTIONAL),
        "dist_cfg": to("runtime.backend", _OPTIONAL),
        "resource_limit": nothing("files are closed when they are read"),
    },
    "env_cfg.mp_cfg": {
        "mp_start_method": nothing("workers are the same however they are started"),
        "opencv_num_threads": nothing("each worker uses one thread"),
        "omp_num_threads": nothing("each worker uses one thread"),
        "mkl_num_threads": nothing("each worker uses one thread"),
    },
    "env_cfg.dist_cfg": {
        "backend": to("runtime.backend ('nccl' is what GPUs have anyway: None)", "str"),
        "timeout": nothing("the default of torch.distributed"),
        "init_backend": nothing("the runtime finds its processes itself"),
    },
    "randomness": {
        "seed": to("seed", "int | None"),
        "deterministic": to("runtime.deterministic", "bool"),
        "diff_rank_seed": nothing("every sample has its own random stream, wherever it is computed"),
    },
    "custom_imports": {
        "imports": to("imports; OpenMMLab's own packages are not needed", "str | list[str]"),
        "allow_failed_imports": nothing("an import that fails is an error that names it"),
    },
    "auto_scale_lr": {
        "enable": to("a note: the learning rate stays as written", "bool"),
        "base_batch_size": to("written_for: images per step that the learning rate is meant for", "int"),
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
