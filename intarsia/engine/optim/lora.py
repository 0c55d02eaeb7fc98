"""Low-rank adaptation: the trunk stands still, and what its attention learns besides is a product of two thin matrices.

Paper: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, arXiv:2106.09685, section 4.1.

    W' = W + alpha / rank * B A        W (O, I) stands still; A (rank, I) and B (O, rank) are trained

A starts as the authors' code has it (He, uniform, as torch's linear layers), B at 0, so that W' = W at first. Each
product is computed as a matrix of W's size, which is then used as W was. So it works wherever a weight is used, also
where a network takes it out of its layer (stacked projections, BEiT, EVA); and the file of a run, in which there are
the W' under the ordinary names, holds exactly what was evaluated.

Shape letters: I, O inputs and outputs of a layer.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from intarsia.spec import LoraSpec

TRUNK = "backbone"
"""The part of a network that is adapted."""
WITHIN = ("attn", "attention", "msa")
"""What a module is called in which projections are, or a part of its name."""
PROJECTIONS = frozenset({
    "qkv", "q", "k", "v", "kv", "q_proj", "k_proj", "v_proj", "query", "key", "value", "in_proj",
    "proj", "out_proj", "o_proj", "dense",
})  # fmt: skip
"""Linear layers of attention: what makes queries, keys and values, and what comes behind; in the trunks here, of timm
and of transformers."""
STACKED = "in_proj_weight"
"""A matrix of attention that is no layer of its own."""


class LowRank(nn.Module):
    """The product that is added to a matrix (O, I) of this shape.

    scale: of the product. generator: of random numbers, which A starts with.
    """

    def __init__(self, weight: Tensor, rank: int, scale: float, generator: torch.Generator) -> None:
        super().__init__()
        self.scale = scale
        outputs, inputs = weight.shape
        bound = 1 / math.sqrt(inputs)
        a = torch.empty(rank, inputs).uniform_(-bound, bound, generator=generator)
        self.lora_A = nn.Parameter(a.to(weight))
        self.lora_B = nn.Parameter(weight.new_zeros(outputs, rank))

    def forward(self, weight: Tensor) -> Tensor:
        """W (O, I) -> W' (O, I), in W's own precision whatever the network computes in."""
        with torch.autocast(weight.device.type, enabled=False):
            return weight + self.scale * (self.lora_B @ self.lora_A)


def adapt(network: nn.Module, spec: LoraSpec, *, seed: int) -> tuple[LowRank, ...]:
    """Give the trunk of a network its products, and those alone gradients; one that has them keeps them.

    seed: which random numbers they start with, together with their names.

    Raises ValueError where there is no trunk, or nothing in it that can be adapted.
    """
    if _products(network):
        return _products(network)
    trunk = getattr(network, TRUNK, None)
    if not isinstance(trunk, nn.Module):
        has = ", ".join(name for name, _ in network.named_children())
        raise ValueError(f"LoRA adapts the {TRUNK} of a network; this one has {has}")
    if untrained := getattr(trunk, "untrained_parts", ()):
        raise ValueError(
            f"LoRA leaves the {TRUNK} as it is, but {', '.join(untrained)} of {type(trunk).__name__} have learnt "
            "nothing yet; take another backbone, or freeze the transformer alone: --freeze 'backbone.blocks'"
        )
    chosen = list(_chosen(trunk, spec))
    if not chosen:
        raise ValueError(_nothing(trunk, spec))
    for prefix, module, name in chosen:
        weight = getattr(module, name)
        if spec.rank >= min(weight.shape):
            raise ValueError(
                f"LoRA of rank {spec.rank} is no low rank of {TRUNK}.{prefix}.{name}, which is {weight.shape[0]} x "
                f"{weight.shape[1]}: give a rank below {min(weight.shape)}, usually 4 to 16"
            )
        generator = torch.Generator().manual_seed(seed + zlib.crc32(f"{prefix}.{name}".encode()))
        parametrize.register_parametrization(module, name, LowRank(weight, spec.rank, spec.scale, generator))
    return _products(network)


def _products(network: nn.Module) -> tuple[LowRank, ...]:
    return tuple(module for module in network.modules() if isinstance(module, LowRank))


def ordinary_state(network: nn.Module) -> dict[str, Tensor]:
    """`network.state_dict()` as that of a network without products: each W' under the name of its W."""
    state: dict[str, Tensor] = dict(network.state_dict())
    for prefix, module in network.named_modules():
        for name in _adapted(module):
            own = f"{prefix}.parametrizations.{name}."
            for key in [key for key in state if key.startswith(own)]:
                del state[key]
            state[f"{prefix}.{name}"] = getattr(module, name).detach()
    return state


def merge(network: nn.Module) -> None:
    """Leave each W' in the place of its W, and no products: an ordinary network again."""
    for module in list(network.modules()):
        for name in _adapted(module):
            parametrize.remove_parametrizations(module, name, leave_parametrized=True)


def told(adapters: Sequence[LowRank], spec: LoraSpec, frozen: int) -> str:
    """What the user should know of them: how many there are, and how many parameters stand still."""
    trained = sum(parameter.numel() for adapter in adapters for parameter in adapter.parameters())
    return (
        f"LoRA of rank {spec.rank}: {trained:,} parameters beside {len(adapters)} matrices of the {TRUNK}; {frozen:,} "
        "others stand still"
    )


def _adapted(module: nn.Module) -> list[str]:
    """The matrices of a module that have products."""
    if not parametrize.is_parametrized(module):
        return []
    lists: Mapping[str, nn.Module] = dict(module.parametrizations.items())  # type: ignore[operator, union-attr]
    return [name for name, parts in lists.items() if any(isinstance(part, LowRank) for part in parts.children())]


def _chosen(trunk: nn.Module, spec: LoraSpec) -> Iterator[tuple[str, nn.Module, str]]:
    """(name of a module, the module, name of its matrix). What needs no gradient, no level is made of."""
    for prefix, module in list(trunk.named_modules()):
        for name in ("weight", STACKED):
            weight = getattr(module, name, None)
            if not isinstance(weight, nn.Parameter) or weight.dim() != 2 or not weight.requires_grad:
                continue
            if name == "weight" and not isinstance(module, nn.Linear):
                continue
            if _wanted(prefix, name, spec):
                yield prefix, module, name


def _wanted(prefix: str, name: str, spec: LoraSpec) -> bool:
    if spec.layers:
        return any(fnmatchcase(f"{TRUNK}.{prefix}", pattern) for pattern in spec.layers)
    if name == STACKED:
        return True
    *outside, leaf = prefix.split(".")
    return leaf in PROJECTIONS and any(word in part.lower() for part in outside for word in WITHIN)


def _nothing(trunk: nn.Module, spec: LoraSpec) -> str:
    layers = [f"{TRUNK}.{prefix}" for prefix, module in trunk.named_modules() if isinstance(module, nn.Linear)]
    asked = f"no linear layer is called {' or '.join(spec.layers)}" if spec.layers else "it has no attention"
    if not layers:
        return f"LoRA has nothing to adapt in {type(trunk).__name__}: {asked}, and no linear layer; train all of it"
    shown = ", ".join(layers[:4]) + (", ..." if len(layers) > 4 else "")
    return (
        f"LoRA has nothing to adapt in {type(trunk).__name__}: {asked}; its linear layers are {shown}: name some by "
        "intarsia.lora.layers, with * and ? as in file names"
    )
