"""Everything around the training itself: hooks, environment, seed, logging, imports."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, Literal

from intarsia import catalog
from intarsia.config.checking.signatures import signature_of
from intarsia.config.lowering.fields import Context, Fields, nearest, shown
from intarsia.config.lowering.names import HOOKS, NOT_LOGGED_TO, VISUALISERS
from intarsia.config.lowering.parts import component
from intarsia.config.lowering.scores import (
    LOWER_IS_BETTER,
    NO_DATA,
    check_score,
    first_score,
    is_fraction,
    score_name,
)
from intarsia.config.lowering.trunk import lower_lora
from intarsia.config.schema.fates import Fate, bare, to
from intarsia.spec import (
    CheckpointSpec,
    Component,
    Duration,
    EarlyStopSpec,
    EmaSpec,
    RuntimeSpec,
    SafeguardSpec,
    StartSpec,
)

OWN_PACKAGES = ("mmcls", "mmcv", "mmdet", "mmengine", "mmpretrain", "mmseg")
KEEP_ALL = 1_000_000
"""How many checkpoints are kept where a config says "all of them"."""

AVERAGES: dict[str, Literal["exponential", "annealing", "mean"]] = {
    "ExponentialMovingAverage": "exponential",
    "MomentumAnnealingEMA": "annealing",
    "StochasticWeightAverage": "mean",
}
"""MMEngine's averages of weights -> `EmaSpec.kind`."""

LOG_EVERY = 50
OWN_HOOK = (
    "Your own hook is an observer (intarsia.engine.callbacks.base), named by its import path 'package.module:Name'. "
)


class Hooks:
    """`default_hooks` and `custom_hooks`: each is a field, an observer, has no effect, or is refused as unknown."""

    def __init__(self, context: Context, unit: Literal["steps", "epochs"], metric: Component | None) -> None:
        self.context, self.unit, self.metric = context, unit, metric
        self.checkpoint: CheckpointSpec | None = None
        self.log_every = LOG_EVERY
        self.ema: EmaSpec | None = None
        self.early_stop: EarlyStopSpec | None = None
        self.average_statistics = False
        self.draw_every: int | None = None
        self.observers: list[Component] = []

    def default(self, hooks: Mapping[str, Any]) -> None:
        """Hooks by name; None takes a default hook away."""
        self.context.opened("default_hooks")
        for name, values in hooks.items():
            path = f"default_hooks.{name}"
            if values is None:
                self.context.saw(path, "hooks", str(name), Fate("no effect", "None takes a hook away"))
            elif not isinstance(values, Mapping):
                self.context.problem(path, f"expected a hook, dict(type=...), found {values!r}")
            else:
                self._one(values, path)

    def custom(self, hooks: Sequence[Mapping[str, Any]]) -> None:
        """A list of hooks."""
        self.context.opened("custom_hooks")
        for index, values in enumerate(hooks):
            self._one(values, f"custom_hooks.{index}")

    def _one(self, values: Mapping[str, Any], path: str) -> None:
        written = values.get("type")
        name = bare(written) if isinstance(written, str) else ""
        fate = HOOKS.get(name)
        if fate is None and isinstance(written, str) and self._is_observer(written):
            self.context.saw(path, "hooks", name, to("observers"), whole=False)
            self.observers.append(component(self.context, "observer", values, path))
            return
        self.context.saw(path, "hooks", name, fate or Fate("refused", "no hook has this name"))
        if name == "CheckpointHook":
            self.checkpoint = self._checkpoint(Fields(self.context, path, values, name))
        elif name == "LoggerHook":
            self.log_every = Fields(self.context, path, values, name).get("interval", 10)
            if self.log_every < 1:
                self.context.problem(f"{path}.interval", f"expected 1 or more, found {self.log_every}")
        elif name == "EMAHook":
            self.ema = self._ema(Fields(self.context, path, values, name))
        elif name == "EarlyStoppingHook":
            self.early_stop = self._early_stop(Fields(self.context, path, values, name))
        elif name == "SyncBuffersHook":
            Fields(self.context, path, values, name)
            self.average_statistics = True
        elif name == "SegVisualizationHook":
            self.draw_every = self._drawing(Fields(self.context, path, values, name))
        elif fate is None:
            message = "'type' is missing" if written is None else f"unknown hook {written!r}"
            reason = "" if nearest(name, HOOKS).startswith("Did") else OWN_HOOK
            self.context.problem(path, message, reason + nearest(name, HOOKS))

    def _is_observer(self, name: str) -> bool:
        """Whether a hook is one of the user's own. What his modules register is looked at by `check`."""
        return (
            ":" in name or name in catalog.names("observer") or bool(self.context.config.values.get("custom_imports"))
        )

    def _checkpoint(self, fields: Fields) -> CheckpointSpec | None:
        interval = fields.get("interval", -1)
        unit: Literal["steps", "epochs"] = "epochs" if fields.get("by_epoch", True) else "steps"
        keep = fields.get("max_keep_ckpts", 1)
        best = self._best(fields)
        if keep == 0 or keep < -1:
            self.context.problem(fields.at("max_keep_ckpts"), f"expected -1 (all) or 1 and more, found {keep}")
        if unit != self.unit and "interval" in fields:
            self.context.note(f"{fields.path} counts {unit} while train_cfg counts {self.unit}")
        if interval == 0 or interval < -1:
            self.context.problem(fields.at("interval"), f"expected -1 (never) or 1 and more, found {interval}")
        if interval < 1:
            return None
        default = "less" if _falls(best) else "greater"
        return CheckpointSpec(
            every=Duration(interval, unit),
            best_metric=best,
            best_mode="min" if self._rule(fields, default) == "less" else "max",
            **({} if "max_keep_ckpts" not in fields else {"keep": KEEP_ALL if keep == -1 else keep}),
        )

    def _drawing(self, fields: Fields) -> int | None:
        every: int = fields.get("interval", 50)
        if every < 1:
            self.context.problem(fields.at("interval"), f"expected 1 or more, found {every}")
        return every if fields.get("draw", False) and every > 0 else None

    def _ema(self, fields: Fields) -> EmaSpec:
        momentum, begin = fields.get("momentum", EmaSpec().momentum), fields.get("begin_iter", 0)
        if not 0 < momentum < 1:
            self.context.problem(fields.at("momentum"), f"expected a share between 0 and 1, found {momentum}")
        for key, least in (("begin_iter", 0), ("begin_epoch", 0), ("gamma", 1), ("interval", 1)):
            if fields.get(key, least) < least:
                self.context.problem(fields.at(key), f"expected {least} or more, found {fields.get(key)}")
        kind, epoch = bare(fields.get("ema_type", "ExponentialMovingAverage")), fields.get("begin_epoch", 0)
        if kind not in AVERAGES:
            self.context.problem(fields.at("ema_type"), f"unknown average {kind!r}", nearest(kind, AVERAGES))
        if epoch > 0 and (begin > 0 or self.unit == "steps"):
            message = "begin_iter says another begin" if begin > 0 else "train_cfg counts steps, not epochs"
            self.context.problem(fields.at("begin_epoch"), message, "Keep begin_iter")
        default = EmaSpec()
        return EmaSpec(
            float(momentum),
            begin,
            kind=AVERAGES.get(kind, default.kind),
            gamma=fields.get("gamma", default.gamma),
            interval=fields.get("interval", default.interval),
            average_buffers=fields.get("update_buffers", default.average_buffers),
            begin_epoch=epoch,
        )

    def _early_stop(self, fields: Fields) -> EarlyStopSpec:
        """Stopping looks at what it is told to monitor, or else at the metric by which the best weights are kept."""
        patience, delta = fields.get("patience", 5), fields.get("min_delta", 0.1)
        if patience < 1:
            self.context.problem(fields.at("patience"), f"expected 1 or more evaluations, found {patience}")
        if self.context.config.values.get("val_dataloader") is None:
            self.context.problem(fields.path, "nothing is evaluated, so that nothing can end the run early", NO_DATA)
        best = None if self.checkpoint is None else self.checkpoint.best_metric
        given = fields.get("monitor")
        watched = None if given is None else score_name(str(given), self.metric)
        if given is not None:
            check_score(self.context, fields.at("monitor"), str(given), self.metric)
        unit = 1 if is_fraction(watched or best or "") else 100  # percent of an IoU
        default, threshold = "less" if _falls(watched) else "greater", fields.get("stopping_threshold")
        return EarlyStopSpec(
            patience,
            float(delta) / unit,
            threshold=None if threshold is None else float(threshold) / unit,
            metric=watched,
            mode="min" if self._rule(fields, default) == "less" else "max",
        )

    def _rule(self, fields: Fields, default: str) -> str:
        given = fields.get("rule") or default
        return given if isinstance(given, str) else str(given[0])

    def _best(self, fields: Fields) -> str | None:
        """Name of the metric whose best checkpoint is kept; "auto" is the first that the evaluation gives."""
        given = fields.get("save_best")
        if isinstance(given, list | tuple):
            if len(given) > 1:
                self.context.note(f"{fields.at('save_best')}: only the best by {given[0]!r} is kept")
            given = given[0] if given else None
        if given == "auto":
            given = None if self.metric is None else first_score(self.metric)
        elif given is not None and self.metric is not None and bare(self.metric.type) == "Evaluator":
            check_score(self.context, fields.at("save_best"), str(given), self.metric)
        return None if given is None else score_name(str(given), self.metric)


def _falls(score: str | None) -> bool:
    """Whether lower values of a score are better."""
    return score is not None and score.rpartition("/")[2] in LOWER_IS_BETTER


def lower_safeguards(fields: Fields, unit: Literal["steps", "epochs"]) -> SafeguardSpec:
    """Section `intarsia`: what a long run is given beyond what MMSegmentation's configs can say."""
    for key in ("keep_every", "fit_images", "pictures", "hang_after", "nonfinite_steps", "total_batch"):
        value, least = fields.get(key), 1 if key in ("keep_every", "nonfinite_steps", "total_batch") else 0
        if value is not None and value < least:
            fields.context.problem(fields.at(key), f"expected {least} or more, found {value}")
    freeze = fields.get("freeze", ())
    keep = fields.get("keep_every")
    default = SafeguardSpec()
    return SafeguardSpec(
        freeze=(freeze,) if isinstance(freeze, str) else tuple(freeze),
        keep_every=None if keep is None else Duration(keep, unit),
        fit_images=fields.get("fit_images", default.fit_images),
        pictures=fields.get("pictures", default.pictures),
        hang_after=float(fields.get("hang_after", default.hang_after)),
        nonfinite_steps=fields.get("nonfinite_steps", default.nonfinite_steps),
        total_batch=fields.get("total_batch"),
        choose_threshold=fields.get("choose_threshold", default.choose_threshold),
        lora=lower_lora(fields),
    )


def lower_start(fields: Fields) -> StartSpec:
    """Section `intarsia`: which pretrained weights a new training starts from."""
    default = StartSpec()
    return StartSpec(fields.get("pretrained"), fields.get("first_convolution", default.first_convolution))


# --- Environment --------------------------------------------------------------------------------------------------


def lower_environment(context: Context, top: Fields, sharing: Literal["ddp", "fsdp"]) -> tuple[RuntimeSpec, int]:
    """`env_cfg`, `randomness` and `sync_bn`: where the run happens, and its seed. sharing: what the strategy says."""
    environment = top.child("env_cfg", "env_cfg")
    environment.child("mp_cfg", "env_cfg.mp_cfg")
    backend = environment.child("dist_cfg", "env_cfg.dist_cfg").get("backend", "nccl")
    randomness = top.child("randomness", "randomness")
    if context.synchronise or top.get("sync_bn"):
        context.note("SyncBN: batch norm is synchronised between processes; in a single one it is ordinary batch norm")
    seed = randomness.get("seed")
    if seed is not None and seed < 0:
        context.problem(randomness.at("seed"), f"expected 0 or more, found {seed}")
    runtime = RuntimeSpec(
        synchronise_batch_norm=context.synchronise or bool(top.get("sync_bn")),
        deterministic=randomness.get("deterministic", False),
        cudnn_benchmark=environment.get("cudnn_benchmark", "env_cfg" not in top),
        backend=None if backend == "nccl" else backend,
        strategy=sharing,
        compile=_compiles(context, top.get("compile")),
    )
    return runtime, 0 if seed is None else seed


def _compiles(context: Context, given: bool | Mapping[str, Any] | None) -> bool:
    if isinstance(given, Mapping):
        context.opened("compile")
        if set(given) - {"disable"}:
            context.note("compile: the network is compiled with torch.compile's defaults; the options are not read")
        return not given.get("disable", False)
    return bool(given)


SERVICES = {"TensorboardVisBackend": "TensorBoard", "WandbVisBackend": "WandB"}
"""Logging service in MMEngine's words -> its observer."""


def lower_visualizer(context: Context, top: Fields) -> tuple[Component, ...]:
    """`visualizer`: pictures are drawn on request; logging services become observers."""
    observers = []
    fields = top.child("visualizer", "visualizer")
    context.opened(fields.at("vis_backends"))
    for index, backend in enumerate(fields.get("vis_backends") or []):
        path = f"{fields.at('vis_backends')}.{index}"
        name = bare(str(backend.get("type")))
        fate = VISUALISERS.get(name, Fate("no effect", NOT_LOGGED_TO))
        context.saw(path, "visualizer.vis_backends", name, fate)
        if name in SERVICES:
            observers.append(_service(context, name, backend, path))
        elif fate.text == NOT_LOGGED_TO:
            context.note(f"{path}: {name}: {NOT_LOGGED_TO}")
    return tuple(observers)


def _service(context: Context, name: str, backend: Mapping[str, Any], path: str) -> Component:
    """The observer of a logging service. Options that say how MMEngine uses the service have no meaning here."""
    observer = SERVICES[name]
    signature = signature_of(catalog.locate("observer", observer))
    known = set() if signature is None else set(signature.names)
    options = {key: value for key, value in backend.items() if key not in ("type", "save_dir")}
    given = options.pop("init_kwargs", None) or {}
    if isinstance(given, Mapping):
        options |= given
    else:
        context.problem(f"{path}.init_kwargs", f"expected dict | None, found {shown(given)}")
    unread = sorted(str(key) for key in options if key not in known)
    if unread:
        context.note(f"{path}: {name} is logged to; of its options these are not read: {', '.join(unread)}")
    return Component("observer", observer, {k: v for k, v in options.items() if k in known}, path, context.origin(path))


def lower_imports(top: Fields) -> tuple[str, ...]:
    """`custom_imports`: the user's own modules. OpenMMLab's packages are not needed; the catalogue has their parts."""
    context = top.context
    top.child("custom_imports", "custom_imports")
    modules = [module for module in context.imported if module not in context.read_as_data]
    dropped = [module for module in modules if module.split(".")[0] in OWN_PACKAGES]
    if dropped:
        context.note(f"custom_imports: not imported, as OpenMMLab's packages are not needed: {', '.join(dropped)}")
    return tuple(module for module in modules if module not in dropped)


def lower_scaling(context: Context, top: Fields) -> int | None:
    """The batch in total that the learning rate is meant for, from `auto_scale_lr` or from the name of the config.

    Learning rates are never changed behind the user's back.
    """
    scaling = top.child("auto_scale_lr", "auto_scale_lr")
    if scaling.get("enable"):
        context.note("auto_scale_lr: the learning rate is not scaled with the batch size; it stays as written")
    return scaling.get("base_batch_size") or published_batch(context.config.file)


def published_batch(file: str) -> int | None:
    """What a published config's name says of its batch in total: "4xb2" is 4 devices with 2 images each."""
    found = re.search(r"_(\d+)xb(\d+)(?=[-_.]|$)", PurePath(file).name)
    return int(found[1]) * int(found[2]) if found else None
