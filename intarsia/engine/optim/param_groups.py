"""Parameter groups: which learning rate and weight decay each parameter takes.

The rules are those of OpenMMLab's `paramwise_cfg`, and the functions here those that read it ("constructors"). Each is
pure: from what is known of the parameters (`Parameter`: name, shape, kind of layer) and the rules to the settings of
each. `facts/param_groups.json.gz` holds what the original gives, parameter by parameter.

A constructor of one's own has the same signature, and is named by its import path or registered as a "constructor".
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

Rules = Mapping[str, Any]
Settings = dict[str, Any]
"""Of one parameter: "lr", "weight_decay", and what else of the optimizer's options its rules set."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """What rules may look at. kind: of its layer; "offset" is one inside a deformable convolution."""

    name: str
    shape: tuple[int, ...]
    kind: Literal["norm", "depthwise", "offset", "other"] = "other"

    @property
    def is_bias(self) -> bool:
        """Whether it is what its layer calls its bias."""
        return self.name.rpartition(".")[2] == "bias"


Constructor = Callable[[Sequence[Parameter], Rules, float, float | None], list[Settings]]
"""(parameters, rules, learning rate, weight decay of the optimizer, or None if it has none) -> settings of each."""

_NORMS = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


def trained_parameters(module: nn.Module) -> Iterator[tuple[Parameter, nn.Parameter]]:
    """Every parameter that needs a gradient, in the order of the state dict; once, under its first name."""
    seen: set[int] = set()
    inside_deformable = ""
    for prefix, owner in module.named_modules():
        if "DeformConv" in type(owner).__name__:
            inside_deformable = f"{prefix}."
        for leaf, parameter in owner.named_parameters(recurse=False):
            if not parameter.requires_grad or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            offset = bool(inside_deformable) and prefix.startswith(inside_deformable)
            name = f"{prefix}.{leaf}" if prefix else leaf
            yield Parameter(name, tuple(parameter.shape), "offset" if offset else _kind(owner)), parameter


def _kind(owner: nn.Module) -> Literal["norm", "depthwise", "other"]:
    if isinstance(owner, _NORMS):
        return "norm"
    return "depthwise" if isinstance(owner, nn.Conv2d) and owner.in_channels == owner.groups else "other"


# --- By the name and the layer ------------------------------------------------------------------------------------

MULTIPLES = (
    "norm_decay_mult", "bias_lr_mult", "bias_decay_mult", "dwconv_decay_mult", "flat_decay_mult", "dcn_offset_lr_mult",
)  # fmt: skip
"""Factors on learning rate and weight decay of some layers; one that is None is not there.

Learning rate: `bias_lr_mult` of biases but for those of norms, `dcn_offset_lr_mult` of what moves the samples of a
deformable convolution. Weight decay, the first that applies and is there: `norm_decay_mult` of norms,
`bias_decay_mult` of biases, `dwconv_decay_mult` of depthwise convolutions, `flat_decay_mult` of all that has one
dimension.
"""

FLAGS = ("bypass_duplicate",)
"""Legal and always as if true: a parameter with two names counts once."""

OPTIONS = (
    "lr", "weight_decay", "betas", "eps", "momentum", "nesterov", "dampening", "amsgrad", "alpha", "rho",
)  # fmt: skip
"""Options of optimizers that a custom key may set for its parameters; they come after `lr_mult` and `decay_mult`."""


def by_rules(parameters: Sequence[Parameter], rules: Rules, lr: float, weight_decay: float | None) -> list[Settings]:
    """`DefaultOptimWrapperConstructor`: `custom_keys`, and the multiples for all parameters without one.

    custom_keys: part of a parameter's name -> {"lr_mult", "decay_mult", options of the optimizer}. Of the keys that
    occur in the name the longest wins, and among equally long ones the first in the alphabet.
    """
    _check(rules, ("custom_keys", *MULTIPLES, *FLAGS))
    return list(_by_rules(parameters, rules, lr, weight_decay, forced=False))


def by_forced_rules(
    parameters: Sequence[Parameter], rules: Rules, lr: float, weight_decay: float | None
) -> list[Settings]:
    """`ForceDefaultOptimWrapperConstructor`: with `force_default_settings`, the multiples overrule the custom keys."""
    _check(rules, ("custom_keys", *MULTIPLES, *FLAGS, "force_default_settings"))
    forced = bool(rules.get("force_default_settings", False))
    return list(_by_rules(parameters, rules, lr, weight_decay, forced=forced))


def _by_rules(
    parameters: Sequence[Parameter], rules: Rules, lr: float, weight_decay: float | None, *, forced: bool
) -> Iterator[Settings]:
    custom: Mapping[str, Rules] = rules.get("custom_keys") or {}
    keys = sorted(sorted(custom), key=len, reverse=True)
    multiples = {name: rules[name] for name in MULTIPLES if rules.get(name) is not None}
    for parameter in parameters:
        own = next((custom[key] for key in keys if key in parameter.name), None)
        factor, decay, options = 1.0, 1.0, {}
        if own is not None:
            factor, decay = own.get("lr_mult", 1.0), own.get("decay_mult", 1.0)
            options = {name: own[name] for name in OPTIONS if name in own}
        if own is None or forced:
            factor = multiples.get(_lr_rule(parameter), factor)
            decay = next((multiples[rule] for rule in _decay_rules(parameter) if rule in multiples), decay)
        settings = {"lr": lr * factor}
        if weight_decay is not None:
            settings["weight_decay"] = weight_decay * decay
        yield settings | options


def _lr_rule(parameter: Parameter) -> str:
    if parameter.kind == "offset":
        return "dcn_offset_lr_mult"
    return "bias_lr_mult" if parameter.is_bias and parameter.kind != "norm" else ""


def _decay_rules(parameter: Parameter) -> Iterator[str]:
    """The multiples of weight decay that a parameter could take, in order of precedence."""
    if parameter.kind == "norm":
        yield "norm_decay_mult"
    if parameter.kind == "offset":
        return
    if parameter.is_bias:
        yield "bias_decay_mult"
    if parameter.kind == "depthwise":
        yield "dwconv_decay_mult"
    if len(parameter.shape) == 1:
        yield "flat_decay_mult"


# --- By the depth in the backbone ---------------------------------------------------------------------------------

_FIRST = ("backbone.cls_token", "backbone.mask_token", "backbone.pos_embed", "backbone.reg_token")
_BLOCKS_PER_LAYER = 3
"""Blocks of ConvNeXt's long third stage that share a rate (arXiv 2201.03545, appendix on fine-tuning)."""

_SWIN_BLOCK = re.compile(r"backbone\.stages\.(\d+)\.blocks\.(\d+)\.")
_SWIN_BETWEEN = re.compile(r"backbone\.stages\.(\d+)\.downsample\.")
_SWIN_BLOCKS_PER_LAYER = 2

Depth = Callable[[str, int], int]
"""(name of a parameter, `num_layers`) -> its layer: 0 is the backbone's first, num_layers + 1 all behind it."""


def by_depth(parameters: Sequence[Parameter], rules: Rules, lr: float, weight_decay: float | None) -> list[Settings]:
    """`LearningRateDecayOptimizerConstructor`, also known as `LayerDecayOptimizerConstructor`.

    The heads have the whole learning rate, each layer of the backbone `decay_rate` times that of the layer behind it
    (Clark et al., ELECTRA, arXiv 2003.10555; for images BEiT, arXiv 2106.08254). Biases and all else that has one
    dimension are decayed by `flat_decay_mult` times as much, by default not at all.

    num_layers: of the backbone. decay_rate, or layer_decay_rate: the factor. decay_type: "layer_wise"; "stage_wise"
    for ConvNeXt, whose stages are the layers then; "block_wise" for plain transformers of timm, whose last block has
    the whole learning rate, and the embeddings that of the first block (EoMT, arXiv 2503.19108).

    Raises ValueError for unknown rules, and for backbones whose parameters have other names than those of a plain
    vision transformer (BEiT, MAE, VisionTransformer, those of timm), ConvNeXt or Swin.
    """
    _check(rules, ("num_layers", "decay_rate", "layer_decay_rate", "decay_type", "flat_decay_mult"))
    rate = rules.get("decay_rate", rules.get("layer_decay_rate"))
    if rate is None or "num_layers" not in rules:
        missing = "num_layers" if rate is not None else "decay_rate"
        raise ValueError(f"layer-wise decay of the learning rate needs {missing!r} in paramwise_cfg")
    layers = int(rules["num_layers"])
    depth = _depth_of(parameters, str(rules.get("decay_type", "layer_wise")))
    found = []
    for parameter in parameters:
        settings: Settings = {"lr": lr * rate ** (layers + 1 - depth(parameter.name, layers))}
        if weight_decay is not None:
            flat = len(parameter.shape) == 1 or parameter.is_bias
            settings["weight_decay"] = weight_decay * rules.get("flat_decay_mult", 0.0) if flat else weight_decay
        found.append(settings)
    return found


def _depth_of(parameters: Sequence[Parameter], decay_type: str) -> Depth:
    """How deep a parameter lies, for the backbone that the names tell."""
    if any(p.name.startswith("backbone.downsample_layers.") for p in parameters):
        known: dict[str, Depth] = {"layer_wise": convnext_layer, "stage_wise": convnext_stage}
    elif any(p.name.startswith("backbone.layers.") for p in parameters):
        known = {"layer_wise": transformer_layer}
    elif any(p.name.startswith("backbone.blocks.") for p in parameters):
        known = {"layer_wise": transformer_layer, "block_wise": transformer_block}
    elif any(_SWIN_BLOCK.match(p.name) for p in parameters):
        known = {"layer_wise": swin_layer}
    else:
        first = next((p.name for p in parameters if p.name.startswith("backbone.")), "none at all")
        raise ValueError(
            "layer-wise decay of the learning rate is known for backbones with backbone.layers (BEiT, MAE, "
            "VisionTransformer), backbone.blocks (timm), backbone.downsample_layers (ConvNeXt) or backbone.stages with "
            f"blocks (Swin); this network begins with {first}. Write custom_keys with lr_mult, or a constructor of "
            "your own"
        )
    if decay_type not in known:
        raise ValueError(f"decay_type {decay_type!r} does not suit this backbone; possible: {', '.join(known)}")
    return known[decay_type]


def transformer_layer(name: str, num_layers: int) -> int:
    """The embedding is layer 0, block i is layer i + 1."""
    if name in _FIRST or name.startswith("backbone.patch_embed."):
        return 0
    if name.startswith(("backbone.layers.", "backbone.blocks.")):
        return int(name.split(".")[2]) + 1
    return num_layers + 1


def transformer_block(name: str, num_layers: int) -> int:
    """Block i is layer i + 2, so that the last is with all behind it, and the embedding is with the first."""
    layer = transformer_layer(name, num_layers)
    return min(max(layer, 1) + 1, num_layers + 1)


def convnext_layer(name: str, num_layers: int) -> int:
    """Stem, stages 0 and 1 with what shrinks the map before each, stage 2 in threes of blocks, and stage 3."""
    part, number, rest = _convnext_place(name)
    if part == "stages":
        block = int(rest.split(".")[0])
        return (1, 2, 3 + block // _BLOCKS_PER_LAYER, num_layers)[number]
    if part == "downsample_layers":
        return (0, 2, 3, num_layers)[number]
    return 0 if name in _FIRST else num_layers + 1


def convnext_stage(name: str, num_layers: int) -> int:
    """Everything between the stages is layer 0, stage i is layer i + 1."""
    part, number, _ = _convnext_place(name)
    if part == "stages":
        return number + 1
    return 0 if part == "downsample_layers" or name in _FIRST else num_layers + 1


def swin_layer(name: str, num_layers: int) -> int:
    """Patches; stages 0 and 1 and what shrinks the map behind each; stage 2 in twos of blocks, what shrinks the map
    behind it with its first ones; and stage 3. Norms of levels are with the heads (VWFormer, arXiv 2404.16573).
    """
    block, between = _SWIN_BLOCK.match(name), _SWIN_BETWEEN.match(name)
    if block is not None:
        return (1, 2, 3 + int(block[2]) // _SWIN_BLOCKS_PER_LAYER, num_layers)[int(block[1])]
    if between is not None:
        return int(between[1]) + 1
    return 0 if name.startswith("backbone.patch_embed.") or name in _FIRST else num_layers + 1


def _convnext_place(name: str) -> tuple[str, int, str]:
    """Part of the backbone, number of the stage, what follows: of "backbone.stages.2.5.gamma" stages, 2, 5.gamma."""
    steps = name.split(".", maxsplit=3)
    if len(steps) == 4 and steps[0] == "backbone" and steps[1] in ("stages", "downsample_layers"):
        return steps[1], int(steps[2]), steps[3]
    return "", 0, ""


# --- Reading the rules --------------------------------------------------------------------------------------------


def _check(rules: Rules, known: Sequence[str]) -> None:
    """Raise ValueError for a rule that no one reads."""
    check_names(rules, known, "paramwise_cfg")
    for key, own in (rules.get("custom_keys") or {}).items():
        check_names(own, ("lr_mult", "decay_mult", *OPTIONS), f"the custom key {key!r} of paramwise_cfg")


def check_names(given: Rules, known: Sequence[str], where: str) -> None:
    """Raise ValueError for a name that is not known, with the nearest one that is."""
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise ValueError(f"unknown rule {name!r} in {where}; {hint}")
