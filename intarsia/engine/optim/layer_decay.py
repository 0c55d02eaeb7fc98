"""Layer-wise decay of the learning rate for any trunk, whose blocks are counted by the names of its parameters.

Clark et al., ELECTRA, arXiv:2003.10555, section 3.1; for images BEiT, arXiv:2106.08254. OpenMMLab's constructor knows
ConvNeXt and plain transformers, and has to be told how many layers there are: `param_groups.by_depth`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from intarsia.engine.optim.param_groups import Parameter, Rules, Settings, check_names

TRUNK = "backbone."
_LISTS = r"(?:blocks?|layers?|stages?|network)\d*(?:\.\d+)+"
BLOCK = re.compile(rf"(?:\w+\.)*?{_LISTS}(?:\.(?:blocks|layers?)(?:\.\d+)+)?(?=\.)")
"""The beginning of a name that says in which block a parameter is: "blocks.3", "layer1.0", "encoder.stages.1.layers.2",
"layers.0.1.1"."""


def by_any_depth(
    parameters: Sequence[Parameter], rules: Rules, lr: float, weight_decay: float | None
) -> list[Settings]:
    """`LayerWiseDecay`: heads have the whole learning rate, each block `decay_rate` times that of the block behind it.

    What is before the first block (patches, positions, a stem) is one layer more. What is between two blocks counts
    with the one before it, and norms behind the last block with the heads. As in `by_depth`, biases and all else that
    has one dimension are decayed by `flat_decay_mult` times as much, by default not at all.

    Raises ValueError for unknown rules, and for a trunk without blocks.
    """
    check_names(rules, ("decay_rate", "flat_decay_mult"), "paramwise_cfg")
    if "decay_rate" not in rules:
        raise ValueError("layer-wise decay of the learning rate needs 'decay_rate' in paramwise_cfg")
    settings = []
    for parameter, behind in zip(parameters, layers_behind([one.name for one in parameters]), strict=True):
        own: Settings = {"lr": lr * rules["decay_rate"] ** behind}
        if weight_decay is not None:
            flat = len(parameter.shape) == 1 or parameter.is_bias
            own["weight_decay"] = weight_decay * rules.get("flat_decay_mult", 0.0) if flat else weight_decay
        settings.append(own)
    return settings


def layers_behind(names: Sequence[str]) -> list[int]:
    """Of each parameter, how many layers lie between it and the heads, which are 0. Names come in the network's order.

    Raises ValueError where no name of the trunk says in which block it is.
    """
    inside = [name.removeprefix(TRUNK) if name.startswith(TRUNK) else "" for name in names]
    blocks = list(_blocks(inside))
    order = {block: layer for layer, block in enumerate(dict.fromkeys(filter(None, blocks)), start=1)}
    if not order:
        first = next((name for name in names if name.startswith(TRUNK)), None)
        if first is None:
            raise ValueError("layer-wise decay is of the trunk's blocks, and this trunk stands still: leave it out")
        raise ValueError(
            "layer-wise decay counts the blocks of the trunk, which are called blocks, layers or stages; the trained "
            f"parameters of this one begin with {first}. Write custom_keys with lr_mult into "
            "optim_wrapper.paramwise_cfg instead"
        )
    heads, last = len(order) + 1, max(index for index, block in enumerate(blocks) if block)
    found, layer = [], 0
    for index, (name, block) in enumerate(zip(inside, blocks, strict=True)):
        layer = order[block] if block else layer
        found.append(heads - layer if name and index <= last else 0)
    return found


def _blocks(names: Sequence[str]) -> Iterator[str]:
    """The block that each parameter is in, or "": of a stage, those names that have the most numbers are its blocks."""
    matches = [BLOCK.match(name) for name in names]
    units = [found[0] if found else "" for found in matches]
    most: dict[str, int] = {}
    for unit in filter(None, units):
        most[_stage(unit)] = max(most.get(_stage(unit), 0), _numbers(unit))
    for unit in units:
        yield unit if unit and _numbers(unit) == most[_stage(unit)] else ""


def _stage(unit: str) -> str:
    """Up to the first number."""
    parts = unit.split(".")
    return ".".join(parts[: next(i for i, part in enumerate(parts) if part.isdigit()) + 1])


def _numbers(unit: str) -> int:
    return sum(part.isdigit() for part in unit.split("."))
