"""The vocabulary of what surrounds a training: hooks, logging, environment, seeds, imports."""

from __future__ import annotations

from intarsia.config.schema.fates import Area, nothing, refused, to
from intarsia.config.schema.notation import FILES, OPTIONAL, SCOPE, TYPE

RUNTIME_AREAS: dict[str, Area] = {
    "EMAHook": {
        "type": TYPE,
        "ema_type": to("ema.kind", "str"),
        "momentum": to("ema.momentum: the share of the new weights", "float"),
        "begin_iter": to("ema.begin", "int"),
        "begin_epoch": to("ema.begin_epoch", "int"),
        "gamma": to("ema.gamma, of MomentumAnnealingEMA", "int"),
        "interval": to("ema.interval", "int"),
        "update_buffers": to("ema.average_buffers", "bool"),
        "device": nothing("the average is where the weights are"),
        "strict_load": nothing("weights are always loaded strictly"),
        "priority": nothing("the loop has one order"),
    },
    "SyncBuffersHook": {"type": TYPE, "priority": nothing("the loop has one order")},
    "EarlyStoppingHook": {
        "type": TYPE,
        "monitor": to("early_stop.metric", "str"),
        "rule": to("early_stop.mode", "Literal['greater', 'less'] | None"),
        "min_delta": to("early_stop.min_delta", "float"),
        "patience": to("early_stop.patience, in evaluations", "int"),
        "strict": nothing("a metric that does not exist is always told"),
        "check_finite": nothing("a score that is not finite is never better"),
        "stopping_threshold": to("early_stop.threshold", "float | None"),
        "priority": nothing("the loop has one order"),
    },
    "CheckpointHook": {
        "type": TYPE,
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
        "backend_args": FILES,
        "file_client_args": FILES,
    },
    "LoggerHook": {
        "type": TYPE,
        "interval": to("log_every", "int"),
        "log_metric_by_epoch": nothing("metrics are logged with their step"),
        "interval_exp_name": nothing("a run is named by its folder"),
        "ignore_last": nothing("every interval is logged"),
        "keep_local": nothing("logs stay in the run's folder"),
        "out_suffix": nothing("logs stay in the run's folder"),
        "out_dir": refused("the folder of a run is given by --out", None),
        "backend_args": FILES,
        "file_client_args": FILES,
    },
    "SegVisualizationHook": {
        "type": TYPE,
        "draw": to("safeguards.draw_every: validation images are painted at every evaluation", "bool"),
        "show": refused("no window is opened; draw=True paints into the run's folder", False),
        "interval": to("safeguards.draw_every: of so many batches, the images of one", "int"),
        "wait_time": nothing("nothing is shown during a run"),
        "backend_args": FILES,
    },
    "visualizer": SCOPE
    | {
        "type": nothing("pictures are drawn by `intarsia predict`"),
        "vis_backends": to("refused where it names a logging service", "list[dict] | None"),
        "name": nothing("pictures are drawn by `intarsia predict`"),
        "save_dir": nothing("the folder of a run is given by --out"),
        "alpha": nothing("pictures are drawn by `intarsia predict`"),
    },
    "env_cfg": {
        "cudnn_benchmark": to("runtime.cudnn_benchmark", "bool"),
        "mp_cfg": to("nothing", OPTIONAL),
        "dist_cfg": to("runtime.backend", OPTIONAL),
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
