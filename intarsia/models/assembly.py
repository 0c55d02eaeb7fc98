"""What assemblies share: the naming of heads, and checks made when parts are put together, before a wrong shape can
surface somewhere inside a convolution.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn

from intarsia.contracts import Backbone, FeatureSpec, Head, HeadOutput, Neck, StagedHead


def levels_of(images: Tensor, backbone: Backbone, neck: Neck | None) -> tuple[Tensor, ...]:
    """Normalised images (N, C, H, W) -> what the heads read.

    A level with a token is only given to a part that reads tokens (`in_tokens`, which is checked), so that all others
    may take every level for a map.
    """
    levels = cast("tuple[Tensor, ...]", backbone(images))
    return levels if neck is None else neck(levels)


def connected(backbone: Backbone, neck: Neck | None) -> tuple[str, tuple[FeatureSpec, ...]]:
    """Who gives the levels that heads read, for messages, and what they are.

    Raises ValueError, naming both sides, if the neck expects other levels than the backbone gives.
    """
    source = f"backbone {type(backbone).__name__}"
    if neck is None:
        return source, backbone.features
    name = f"neck {type(neck).__name__}"
    if not hasattr(neck, "connect") or not hasattr(neck, "in_channels"):
        raise ValueError(f"{name} must state in_channels and connect(features) -> features, as contracts.Neck has them")
    check_reader("neck", neck, source, backbone.features)
    return name, neck.connect(backbone.features)


def least_side(backbone: Backbone, neck: Neck | None, *heads: object) -> int:
    """The smallest side of an image, in pixels, that all parts see: `least_size` of the backbone, and of neck and heads
    the `least_cells` of the levels that they read.
    """
    given = backbone.features if neck is None else neck.connect(backbone.features)
    sides = [int(getattr(backbone, "least_size", 1))]
    for reader, levels in ((neck, backbone.features), *((head, given) for head in heads)):
        cells = int(getattr(reader, "least_cells", 1))
        if cells > 1:  # times the stride, since some levels are rounded down
            read = _each(getattr(reader, "in_index", None)) or range(len(levels))
            sides.append(cells * max(levels[index].stride for index in read))
    return max(sides)


def as_module(heads: Head | Sequence[Head] | None) -> nn.Module | None:
    """The child that published weights know: one head under its own name, several numbered below it."""
    if isinstance(heads, Sequence):
        return nn.ModuleList(cast("Sequence[nn.Module]", heads))
    return cast("nn.Module | None", heads)


def named(name: str, heads: nn.Module | None) -> list[tuple[str, Head]]:
    """Heads by the names of their outputs: `name` for one head, `name_0`, `name_1` ... for several."""
    if heads is None:
        return []
    if isinstance(heads, nn.ModuleList):
        return [(f"{name}_{i}", cast("Head", head)) for i, head in enumerate(heads)]
    return [(name, cast("Head", heads))]


def training_outputs(
    name: str, head: Head | StagedHead, features: Sequence[Tensor], *previous_logits: Tensor
) -> dict[str, HeadOutput]:
    """What training looks at in a head: its logits under its name, or those of its stages below it."""
    if isinstance(head, StagedHead):
        stages = head.training_outputs(features, *previous_logits)
        return {f"{name}.{stage}" if stage else name: output for stage, output in stages.items()}
    return {name: head(features, *previous_logits)}


# --- Levels -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mismatch:
    """Levels that a part is not given as it expects them.

    argument: of the part, which says what it expects. level: which one, or None where it is about all of them.
    fix: what the argument would have to be.
    """

    argument: str
    level: int | None
    expected: Any
    given: Any
    fix: str


def mismatches(reader: object, features: Sequence[FeatureSpec]) -> Iterator[Mismatch]:
    """What a neck or head expects of the levels `features` and does not get.

    `in_channels` has the channels of the levels at `in_index`; without `in_index`, of all levels, as a neck reads them.
    `feature_strides`, of a head that has them, are compared as multiples of the first, which is what they are used as.
    `in_tokens` has to be what the levels' `tokens` are; a part without it reads maps alone. `in_blocks` is how many
    blocks it runs of a level's `open_blocks`, all of them; a part without it runs none. `in_prefix` has to be what
    `prefix` is of the levels without such blocks.
    A part that does not say what it expects is not checked.
    """
    channels, indices = (_each(getattr(reader, name, None)) for name in ("in_channels", "in_index"))
    if channels is None:
        return
    whole = indices is None
    indices = tuple(range(len(features))) if indices is None else indices
    widths = [features[index].channels if _exists(index, features) else None for index in indices]
    if len(channels) != len(indices):
        about = "in_channels" if whole else "in_index"
        yield Mismatch(about, None, len(channels), len(indices), f"Set in_channels={widths}.")
        return
    for index, width, given in zip(indices, channels, widths, strict=True):
        if given is None:
            yield Mismatch("in_index", index, index, len(features), f"Levels count from 0 to {len(features) - 1}.")
        elif given != width:
            wanted = widths if whole or len(widths) > 1 else given
            fix = f"Set in_channels={wanted}" + ("." if whole else ", or in_index to the level you mean.")
            yield Mismatch("in_channels", index, width, given, fix)
    tokens = bool(getattr(reader, "in_tokens", False))
    if any(features[index].tokens != tokens for index in indices if _exists(index, features)):
        yield Mismatch("in_tokens", None, tokens, not tokens, f"Set output_cls_token={tokens} in the backbone.")
    blocks = int(getattr(reader, "in_blocks", 0))
    for given in {features[index].open_blocks for index in indices if _exists(index, features)} - {blocks}:
        yield Mismatch("in_blocks", None, blocks, given, f"Set open_blocks={blocks} in the backbone, a TIMM.")
    prefix = bool(getattr(reader, "in_prefix", False))
    if any(features[index].prefix != prefix for index in indices if _exists(index, features)):
        yield Mismatch("in_prefix", None, prefix, not prefix, f"Set prefix={prefix} in the backbone, a TIMM.")
    strides = _each(getattr(reader, "feature_strides", None))
    if strides and None not in widths:
        found = tuple(features[index].stride for index in indices)
        if [stride * found[0] for stride in strides] != [stride * strides[0] for stride in found]:
            yield Mismatch("feature_strides", None, strides, found, f"Set feature_strides={list(found)}.")


def _exists(index: int, features: Sequence[FeatureSpec]) -> bool:
    return -len(features) <= index < len(features)


def check_reader(name: str, reader: object, source: str, features: Sequence[FeatureSpec]) -> None:
    """Raises ValueError, naming both sides, unless a neck or head is given every level as it expects it.

    name: what it is called in the config. source: who gives `features`, for the message.
    """
    for found in mismatches(reader, features):
        said = f"{name} {type(reader).__name__} {described(found, source)}"
        raise ValueError(f"{said}; its levels are {_table(features)}. {found.fix}")


def described(found: Mismatch, source: str) -> str:
    """What a part expects of its levels, and what it is given instead: the end of a sentence that begins with it."""
    if found.level is None and found.argument == "in_index":
        return f"has {found.expected} entries in in_channels, but {found.given} in in_index, to read {source}"
    if found.argument == "in_index":
        return f"reads level {found.level} (in_index), but {source} gives {found.given} levels"
    if found.argument == "in_tokens":
        return token_mismatch(found, source)
    if found.argument == "in_blocks":
        return block_mismatch(found, source)
    if found.argument == "in_prefix":
        return prefix_mismatch(found, source)
    if found.argument == "feature_strides":
        return f"expects feature_strides={list(found.expected)}, but {source} gives strides {list(found.given)}"
    if found.level is None:
        return f"expects {found.expected} levels (in_channels), but is given {found.given} by {source}"
    expected, level = found.expected, found.level
    return f"expects in_channels={expected} at level {level}, but {source} gives {found.given} channels there"


def token_mismatch(found: Mismatch, source: str) -> str:
    """The same of class tokens: who reads what, and who gives what."""
    if found.expected:
        return f"reads a class token with each level, but {source} gives maps alone"
    return f"reads maps alone, but {source} gives a class token with each level"


def prefix_mismatch(found: Mismatch, source: str) -> str:
    """The same of all tokens before the patches."""
    if found.expected:
        return f"reads all tokens before the patches of each level, but {source} gives none"
    return f"reads maps alone, but {source} gives the tokens before the patches with each level (prefix)"


def block_mismatch(found: Mismatch, source: str) -> str:
    """The same of blocks that the backbone leaves to who reads it."""
    if not found.expected:
        return f"reads what is computed, but {source} leaves its last {found.given} blocks to the head (open_blocks)"
    return f"runs the last {found.expected} blocks of the backbone, but {source} leaves it {found.given}"


def _each(value: Any) -> tuple[int, ...] | None:
    if isinstance(value, int):
        return (value,)
    return tuple(value) if isinstance(value, Sequence) else None


def _table(features: Sequence[FeatureSpec]) -> str:
    return ", ".join(f"{i}: {level.channels} channels at stride {level.stride}" for i, level in enumerate(features))


# --- Outputs ------------------------------------------------------------------------------------------------------


def unclaimed(outputs: Sequence[str], heads: Sequence[str]) -> Iterator[str]:
    """What is wrong between the outputs of a network, stages included or not, and the heads that losses are for.

    A head claims the output of its name, and all stages below it.
    """
    known, trained = ", ".join(outputs) or "none", ", ".join(heads) or "none"
    for head in heads:
        if not any(claims(head, output) for output in outputs):
            yield f"there are losses for {head!r}, but the network has no such output; it has {known}"
    for output in outputs:
        if not any(claims(head, output) for head in heads):
            yield f"no loss is for the output {output!r} of the network; there are losses for {trained}"


def claims(head: str, output: str) -> bool:
    """Whether losses of the head are for this output, or stage of it."""
    return output == head or output.startswith(f"{head}.")
