"""A part of the catalogue made ready for the contracts: how it is built, written in a config, and fed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia import catalog
from intarsia.config.lowering.names import user_key
from intarsia.contracts import FeatureSpec, ImageLogits, OpenLevel, PointLogits, TargetInput, TokenLevel
from intarsia.layers.activation import Activation
from intarsia.layers.norm import Norm

Tables = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""kind -> name -> arguments of the constructor."""

LEVELS = tuple(FeatureSpec(8 * (i + 1), 4 * 2**i) for i in range(4))
"""What necks and heads are fed with; those of the MixVisionTransformer in the tables."""
BACKBONE = "MixVisionTransformer"
PLAIN = (FeatureSpec(8, 16),) * 4
PLAIN_WITH_TOKENS = (FeatureSpec(8, 16, tokens=True),) * 4
"""Those of the VisionTransformer in the tables, for necks and heads that need levels of one size, or class tokens."""
PLAIN_BACKBONE = "VisionTransformer"
OPEN = (FeatureSpec(8, 16, open_blocks=2),)
"""That of a plain transformer whose last blocks are run by the head."""
OPEN_BACKBONE = {"type": "TIMM", "model_name": "test_vit", "open_blocks": 2,
                 "options": {"embed_dim": 8, "num_heads": 2}}  # fmt: skip
PREFIXED = (FeatureSpec(8, 16, prefix=True),) * 2
"""Those of a plain transformer with all its tokens."""
PREFIXED_BACKBONE = {"type": "TIMM", "model_name": "test_vit", "prefix": True, "norm": True, "out_indices": (2, 5),
                     "options": {"embed_dim": 8, "num_heads": 2}}  # fmt: skip
CLASSES = 5
VECTORS = 12
"""Channels of the vectors of classes that a head compares its masks with."""


class Use:
    """A part among the arguments of another: its line in the tables, with some arguments changed."""

    def __init__(self, kind: str, name: str, **changes: Any) -> None:
        self.kind, self.name, self.changes = kind, name, changes

    def arguments(self, tables: Tables) -> dict[str, Any]:
        return {**tables[self.kind][self.name], **self.changes}


def build(kind: str, name: str, arguments: Any, tables: Tables) -> Any:
    """The part, by its constructor."""

    def built(value: Any) -> Any:
        if isinstance(value, Use):
            return build(value.kind, value.name, value.arguments(tables), tables)
        return [built(item) for item in value] if isinstance(value, list) else value

    return catalog.resolve(kind, name)(**{key: built(value) for key, value in arguments.items()})


def written(kind: str, name: str, arguments: Any, tables: Tables) -> dict[str, Any]:
    """The part as MMSegmentation's configs write it: `dict(type=..., norm_cfg=dict(type="BN"))`."""

    def as_config(value: Any) -> Any:
        if isinstance(value, Use):
            return written(value.kind, value.name, value.arguments(tables), tables)
        if isinstance(value, Norm | Activation):
            settings = {part.name: getattr(value, part.name) for part in fields(value) if part.name != "kind"}
            return {"type": value.kind, **{key: item for key, item in settings.items() if item is not None}}
        return [as_config(item) for item in value] if isinstance(value, list | tuple) else value

    return {"type": name, **{user_key(kind, key): as_config(value) for key, value in arguments.items()}}


@dataclass(frozen=True)
class Case:
    """A part by kind and name. It reads feature maps (a neck, a head) or an image.

    refining: a head that also reads the logits of the head before, at the size of the first level.
    naming: a head that also reads the image, and vectors of the classes.
    config: the part in a config, where that does not follow from the arguments of its constructor.
    levels: what a neck or head reads.
    """

    kind: str
    name: str
    tables: Tables = field(repr=False)
    refining: bool = False
    naming: bool = False
    config: Mapping[str, Any] | None = None
    levels: tuple[FeatureSpec, ...] = LEVELS

    def build(self) -> nn.Module:
        """The part with every parameter moved off its initial value: a scale of 0 would hide what lies behind it."""
        torch.manual_seed(0)
        module: nn.Module = build(self.kind, self.name, self.tables[self.kind][self.name], self.tables)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
        return opened(module, self.levels)

    def features(self, module: Any) -> tuple[FeatureSpec, ...]:
        """The levels that a backbone gives, or a neck makes of those that it is fed with."""
        found: tuple[FeatureSpec, ...] = module.connect(self.levels) if self.kind == "neck" else module.features
        return found

    @property
    def reads_levels(self) -> bool:
        return self.kind in ("neck", "head")

    def inputs(self, size: tuple[int, int], batch: int = 2, dtype: torch.dtype = torch.float32) -> tuple[Any, ...]:
        """What the part is called with for images of this size."""
        generator = torch.Generator().manual_seed(1)

        def noise(channels: int, stride: int) -> Tensor:
            sides = [-(-side // stride) for side in size]
            return torch.randn(batch, channels, *sides, generator=generator).to(dtype)

        if self.kind == "text_encoder":
            return ()
        if not self.reads_levels:
            return (noise(3, 1),)
        levels: list[Any] = [noise(level.channels, level.stride) for level in self.levels]
        if self.levels[0].tokens:
            levels = [TokenLevel(level, level.mean((2, 3))) for level in levels]
        if self.naming:
            return noise(3, 1), levels, torch.randn(CLASSES + 1, VECTORS, generator=generator).to(dtype)
        return (levels, noise(CLASSES, self.levels[0].stride)) if self.refining else (levels,)

    def dynamic(self, *dimensions: int) -> tuple[Any, ...]:
        """For torch.export: these dimensions of every input may change."""
        shape = dict.fromkeys(dimensions, torch.export.Dim.DYNAMIC)
        token: Any = {dimension: value for dimension, value in shape.items() if dimension == 0}
        level: Any = TokenLevel(shape, token) if self.levels[0].tokens else shape  # type: ignore[arg-type]
        levels: tuple[Any, ...] = ([level] * len(self.levels),) if self.reads_levels else (shape,)
        if self.naming:
            return shape, *levels, {}
        return (*levels, shape) if self.refining else levels

    def model_config(self) -> tuple[dict[str, Any], str]:
        """The `model` section of a config with the part in it, and the name of the module where it ends up."""
        own = self.config or written(self.kind, self.name, self.tables[self.kind][self.name], self.tables)
        if self.kind == "model":
            return dict(own), ""
        if self.levels[0].open_blocks:
            return {"type": "EncoderDecoder", "backbone": OPEN_BACKBONE, "decode_head": own}, "decode_head"
        if self.levels[0].prefix:
            return {"type": "EncoderDecoder", "backbone": PREFIXED_BACKBONE, "decode_head": own}, "decode_head"
        name = BACKBONE if self.levels == LEVELS[: len(self.levels)] else PLAIN_BACKBONE
        settings: dict[str, Any] = {"out_indices": tuple(range(len(self.levels)))}
        if self.levels[0].tokens:
            settings["output_cls_token"] = True
        backbone = written("backbone", name, {**self.tables["backbone"][name], **settings}, self.tables)
        if self.naming:
            text = written(
                "text_encoder", "CLIPTextEncoder", self.tables["text_encoder"]["CLIPTextEncoder"], self.tables
            )
            parts = {"image_encoder": backbone, "text_encoder": text, "decode_head": own}
            return {"type": "MultimodalEncoderDecoder", **parts}, "decode_head"
        if self.kind == "head":
            heads = [_fcn_head(self.levels, index=0), own] if self.refining else own
            name = "CascadeEncoderDecoder" if self.refining else "EncoderDecoder"
            place = "decode_head.1" if self.refining else "decode_head"
            return {"type": name, "backbone": backbone, "decode_head": heads}, place
        last = _fcn_head(self.features(self.build()))
        parts = {"backbone": own} if self.kind == "backbone" else {"backbone": backbone, "neck": own}
        return {"type": "EncoderDecoder", **parts, "decode_head": last}, self.kind


def opened(head: nn.Module, levels: Sequence[FeatureSpec]) -> nn.Module:
    """A head of open levels, which is given maps and makes these of them: compilers take tensors, and no functions."""
    (*_, spec), kind = levels, type(head)
    if not spec.open_blocks and not spec.prefix:
        return head

    class Opened(kind):  # type: ignore[misc, valid-type]
        def forward(self, features: Sequence[Tensor]) -> Any:
            size = (spec.stride * features[0].shape[2], spec.stride * features[0].shape[3])
            prefixes = [map.mean((2, 3)).unsqueeze(1) for map in features]  # (N, 1, C) each
            blocks = (_attend,) * spec.open_blocks
            return super().forward(
                [
                    OpenLevel(map, prefix, blocks, _norm, spec.stride, size)
                    for map, prefix in zip(features, prefixes, strict=True)
                ]
            )

    head.__class__ = Opened
    return head


def _attend(tokens: Tensor, mask: Tensor | None) -> Tensor:
    heads = tokens.unsqueeze(1)  # (N, 1, T, C)
    return tokens + F.scaled_dot_product_attention(heads, heads, heads, attn_mask=mask).squeeze(1)


def _norm(tokens: Tensor) -> Tensor:
    return F.layer_norm(tokens, (OPEN[0].channels,))


def _fcn_head(features: Sequence[FeatureSpec], index: int = -1) -> dict[str, Any]:
    width = features[index].channels
    return {"type": "FCNHead", "in_channels": width, "in_index": index, "channels": 8, "num_classes": CLASSES}


def tensors(output: Any) -> list[Tensor]:
    """All tensors of an output that were computed from the input, in order."""
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, PointLogits | ImageLogits):
        return [output.logits]
    if isinstance(output, TargetInput):
        return []
    items = output.values() if isinstance(output, Mapping) else output
    return [tensor for item in items for tensor in tensors(item)]
