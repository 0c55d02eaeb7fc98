"""How processes share a training: `model_wrapper_cfg`, and `strategy` of MMEngine's FlexibleRunner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from intarsia.config.lowering.fields import Context, Fields, nearest, shown
from intarsia.config.schema.fates import bare
from intarsia.spec import OptimSpec

Sharing = Literal["ddp", "fsdp"]

WRAPPERS: dict[str, Sharing] = {
    "MMDistributedDataParallel": "ddp",
    "MMSeparateDistributedDataParallel": "ddp",
    "MMFullyShardedDataParallel": "fsdp",
}
"""MMEngine's wrapper of a model for several processes -> who keeps which parameters."""

STRATEGIES: dict[str, Sharing] = {"DDPStrategy": "ddp", "FSDPStrategy": "fsdp", "SingleDeviceStrategy": "ddp"}
"""The same of its strategies, but for those of other engines."""

DEEPSPEED = "DeepSpeedStrategy"
HALF: dict[str, Literal["16-mixed", "bf16-mixed"]] = {"fp16": "16-mixed", "bf16": "bf16-mixed"}
_READ = ("zero_optimization", *HALF, "gradient_clipping", "gradient_accumulation_steps")


@dataclass(frozen=True)
class Strategy:
    """What a strategy says. precision, clip, accumulate: where DeepSpeed is told them; None: as the optimizer is."""

    sharing: Sharing = "ddp"
    precision: Literal["16-mixed", "bf16-mixed"] | None = None
    clip: Mapping[str, float] | None = None
    accumulate: int | None = None

    def applied(self, optim: OptimSpec | None) -> OptimSpec | None:
        """The optimizer with what is said here."""
        if optim is None:
            return None
        if self.precision is not None:
            optim = replace(optim, precision=self.precision)
            optim = replace(optim, loss_scale="dynamic" if self.precision == "16-mixed" else None)
        if self.clip is not None:
            optim = replace(optim, clip=self.clip)
        if self.accumulate is not None:
            optim = replace(optim, accumulate=self.accumulate, iterations_per_step=self.accumulate)
        return optim


def lower_strategy(context: Context, top: Fields) -> Strategy:
    """Whichever of both keys is there; the wrapper of a model inside a strategy counts as one at the top."""
    given, wrapper = top.get("strategy"), top.get("model_wrapper_cfg")
    if given is None:
        return Strategy(_of_wrapper(context, wrapper, "model_wrapper_cfg"))
    if isinstance(given, str):
        given = {"type": given}
    fields = Fields(context, "strategy", given, "strategy")
    name = bare(str(fields.require("type", "DDPStrategy", present=given)))
    if name == DEEPSPEED:
        return _deepspeed(context, fields)
    if name not in STRATEGIES:
        hint = "type='FSDPStrategy' shards a model, too" if name == "ColossalAIStrategy" else ""
        known = nearest(name, (*STRATEGIES, DEEPSPEED))
        context.problem("strategy.type", f"unknown strategy {name!r}", hint or known)
        return Strategy()
    inner = fields.get("model_wrapper")
    return Strategy(STRATEGIES[name] if inner is None else _of_wrapper(context, inner, "strategy.model_wrapper"))


def _of_wrapper(context: Context, wrapper: Mapping[str, Any] | None, path: str) -> Sharing:
    """How gradients are exchanged is the runtime's business."""
    if wrapper is None:
        return "ddp"
    context.opened(path)
    name = bare(str(wrapper.get("type")))
    if name not in WRAPPERS:
        context.problem(f"{path}.type", f"unknown wrapper {name!r}", nearest(name, WRAPPERS))
        return "ddp"
    if set(wrapper) - {"type"}:
        context.note(f"{path}: the runtime decides how processes exchange gradients; options are not read")
    return WRAPPERS[name]


def _deepspeed(context: Context, fields: Fields) -> Strategy:
    """DeepSpeed's settings, done by torch: sharding by FSDP, half precision beside weights in float32."""
    if isinstance(fields.get("config"), str):
        path = fields.at("config")
        context.problem(path, "a file of DeepSpeed's is not read", "Write its settings into the strategy")
    said: dict[str, Any] = {}
    own = fields.get("config")
    if isinstance(own, Mapping):
        inside = Fields(context, fields.at("config"), own, "strategy", others=True)
        said = {key: inside.get(key) for key in _READ if inside.get(key) is not None}
    said |= {key: fields.get(key) for key in _READ if fields.get(key) is not None}
    stage = (said.get("zero_optimization") or {}).get("stage", 0)
    if stage not in (0, 1, 2, 3):
        context.problem(fields.at("zero_optimization"), f"expected stage 0, 1, 2 or 3, found {shown(stage)}")
    shards = stage in (1, 2, 3)
    precision = next((value for key, value in HALF.items() if (said.get(key) or {}).get("enabled")), None)
    clip = said.get("gradient_clipping")
    whose = "FSDP shards the network" if shards else "each process has the whole network"
    context.note(f"strategy: in the place of DeepSpeed {whose}; what else is said of it is not read")
    return Strategy(
        "fsdp" if shards else "ddp",
        precision,
        {"max_norm": float(clip)} if clip else None,
        said.get("gradient_accumulation_steps"),
    )
