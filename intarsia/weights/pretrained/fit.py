"""Tensors of a pretrained backbone made to fit the network they are for.

Positions learned for one grid are resized for another as the original does it: absolute ones with the interpolation of
the network (bicubic or bilinear), Swin's tables of relative positions bicubic, BEiT's and MAE's by cubic splines
through points whose distances grow geometrically from the middle. Patches of a network of transformers are resized as
FlexiViT has it. The first convolution is made for as many bands as the images have. What only classifies images is left
out, by name; what only segmentation has may be missing, by name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from torch import Tensor, nn

FirstConvolution = Literal["repeat", "mean", "zero", "random"]
FIRST_CONVOLUTIONS: tuple[str, ...] = get_args(FirstConvolution)

CLASSIFIERS = (
    r"(head|heads|fc|cls_head|classifier|last_linear|fc_norm|pre_logits|head_dist|mask_token)(\..*)?",
    r"(incre_modules|downsamp_modules|final_layer)\..*",  # HRNet's
    r"(stages|layers)\.\d+\.blocks\.\d+\.attn_mask",  # Swin's, a function of its size
    r".*\.relative_position_index",
)
"""Names in files of backbones that segmentation has no place for."""

UNUSED: dict[str, tuple[str, ...]] = {
    "SwinTransformer": (r"norm\..*",),
    "ConvNeXt": (r"norm\..*",),
    "VisionTransformer": (r"(ln1|norm)\..*",),
    "BEiT": (r"(ln1|norm)\..*",),
    "MAE": (r"(ln1|norm)\..*", r"decoder.*"),
    "MobileNetV2": (r"conv2\..*",),
    "PoolFormer": (r"norm\..*",),
    "PCPVT": (r"norm\..*", r"norm_list\..*"),
    "SVT": (r"norm\..*", r"norm_list\..*"),
    "STDCNet": (r"(final_conv|gap|linear|bn|drop)\..*",),
    "HFBackbone": (
        r"(\w+\.)?(layernorm|layer_norm|norm|pooler|decoder|decode_head|auxiliary_head)\..*",
        r".*mask_token",
    ),
}
"""Type of a backbone -> further ones, as far as the network does not have them: norms before classifiers."""

MAY_LACK: dict[str, tuple[str, ...]] = {
    "SwinTransformer": (r"norm\d\..*",),
    "ConvNeXt": (r"norm\d\..*",),
    "PoolFormer": (r"norm\d\..*",),
    "VisionTransformer": (r"ln1\..*",),
    "MAE": (r"layers\.\d+\.gamma_\d", r"layers\.\d+\.attn\.relative_position_bias_table"),
    "HFBackbone": (r"hidden_states_norms\..*", r".*mask_token"),
    "DDRNet": (r"spp\..*",),
    "PIDNet": (r"spp\..*",),
    "ViTAdapter": (r"(spm|interactions|up|norm[1-4])\..*", "level_embed", "cls_token"),
}
"""Type of a backbone -> what its network has for segmentation only: norms of levels, pooled maps, adapters."""

_FROM_SIZE = (r".*\.relative_position_index", r".*num_batches_tracked")
"""Buffers that follow from the size of a network; a file may lack them."""

_TABLE = "relative_position_bias_table"
_TOKENS = 3
"""Values for the class token at the end of BEiT's tables."""
_PATCHES = r"(.*\.)?patch_embeddings\.(projection\.)?weight"
"""What transformers calls the convolution of patches."""
_STACKED = (("attn.attn.in_proj_", "attn.qkv."), ("attn.attn.out_proj.", "attn.proj."))
"""What MAE's attention calls its projections -> the plain transformer's; its files have the latter's names."""


@dataclass(frozen=True)
class Fitted:
    """state: under the names in the network. notes: what was done, in words. left_out: names that have no place."""

    state: dict[str, Tensor]
    notes: tuple[str, ...]
    left_out: tuple[str, ...]


def fit_to(
    state: Mapping[str, Tensor], module: nn.Module, *, kind: str, first_convolution: FirstConvolution = "repeat"
) -> Fitted:
    """Tensors of a pretrained file for a network, as far as they can be made to fit.

    kind: type of the network, by which the tables of this file know it. A network may state `left_away`, names that
    its published files have and it has not.

    Raises ValueError for a way of making the first convolution that there is not.
    """
    if first_convolution not in FIRST_CONVOLUTIONS:
        raise ValueError(
            f"the first convolution is one of {', '.join(FIRST_CONVOLUTIONS)}; found {first_convolution!r}"
        )
    own = module.state_dict()
    found = dict(state)
    if kind == "MAE":
        found = {_renamed(name): value for name, value in found.items()}
    shared = found.pop(_TABLE, None)
    if shared is not None:  # BEiT before its fine-tuning has one table for all layers
        found |= {name: shared for name in own if name.endswith(f".attn.{_TABLE}")}
    skipped = [*CLASSIFIERS, *UNUSED.get(kind, ()), *map(re.escape, getattr(module, "left_away", ()))]
    left_out = [
        name
        for name, value in found.items()
        if _matches(name, skipped) and (name not in own or own[name].shape != value.shape)
    ]
    found = {name: value for name, value in found.items() if name not in left_out}
    notes: list[str] = []
    found = _with_positions(found, own, module, notes)
    found = _with_patches(found, own, notes)
    found = _with_bands(found, own, first_convolution, notes)
    return Fitted(found, tuple(notes), tuple(left_out))


def may_lack(kind: str, names: Sequence[str]) -> tuple[str, ...]:
    """Those of the names that a file of a backbone of this type need not have."""
    return tuple(name for name in names if _matches(name, [*_FROM_SIZE, *MAY_LACK.get(kind, ())]))


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def _renamed(name: str) -> str:
    for before, after in _STACKED:
        name = name.replace(before, after)
    return name


# --- Positions ----------------------------------------------------------------------------------------------------


def _with_positions(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], module: nn.Module, notes: list[str]
) -> dict[str, Tensor]:
    changed = dict(state)
    resized = []
    for name, value in state.items():
        target = own.get(name)
        if target is None or target.shape == value.shape or target.dim() != value.dim():
            continue
        if name.rpartition(".")[2] in ("pos_embed", "absolute_pos_embed") and target.shape[-1] == value.shape[-1]:
            grid = getattr(module, "grid", None)
            changed[name] = resize_absolute(
                value, target.shape[1], grid, getattr(module, "interpolate_mode", "bicubic")
            )
        elif name.endswith(_TABLE) and target.shape[1] == value.shape[1]:
            extra = {rows - _side(rows) ** 2 for rows in (value.shape[0], target.shape[0])}
            if extra not in ({0}, {_TOKENS}):
                continue  # of windows that are no squares, which the original resizes no more than we do
            changed[name] = (resize_table if extra == {0} else resize_geometrically)(value, target.shape[0])
        else:
            continue
        resized.append((name, tuple(value.shape), tuple(target.shape)))
    if resized:
        name, before, after = resized[0]
        notes.append(f"{len(resized)} learned positions resized ({name}: {list(before)} to {list(after)})")
    return changed


def _side(rows: int) -> int:
    return math.isqrt(rows)


def resize_absolute(positions: Tensor, tokens: int, grid: tuple[int, int] | None, mode: Any = "bicubic") -> Tensor:
    """Positions (1, T + L, C) of a square grid for another one: (1, tokens, C).

    grid: height and width of the new one; None is a square. What comes before the grid (T, the class token) is kept.
    """
    import torch
    import torch.nn.functional as F

    extra = positions.shape[1] - _side(positions.shape[1]) ** 2
    before = _side(positions.shape[1])
    height, width = grid if grid is not None else (_side(tokens), _side(tokens))
    first, rest = positions[:, :extra], positions[:, extra:]
    x = rest.unflatten(1, (before, before)).permute(0, 3, 1, 2)  # (1, C, h, w)
    x = F.interpolate(x.float(), size=(height, width), mode=mode, align_corners=False).to(positions.dtype)
    new = tokens - height * width
    return torch.cat([first[:, :new], x.flatten(2).transpose(1, 2)], dim=1)


def resize_table(table: Tensor, rows: int) -> Tensor:
    """Swin's table of relative positions (R, M) of a square window for another one: (rows, M), bicubic."""
    import torch.nn.functional as F

    before, after = _side(table.shape[0]), _side(rows)
    x = table.transpose(0, 1).unflatten(1, (before, before))[None]  # (1, M, r, r)
    x = F.interpolate(x.float(), size=(after, after), mode="bicubic", align_corners=False).to(table.dtype)
    return x[0].flatten(1).transpose(0, 1).contiguous()


def resize_geometrically(table: Tensor, rows: int, tokens: int = _TOKENS) -> Tensor:
    """BEiT's table of relative positions (R + tokens, M) of a square grid for another one: (rows, M).

    The values lie at distances 0, 1, 1 + q, 1 + q + q^2 ... from the middle, with q such that the outermost lies at the
    outermost new one, and are read at whole distances by a cubic spline; `tokens` values for the class token are kept.
    """
    import numpy as np
    import torch
    from scipy.interpolate import RectBivariateSpline

    before, after = _side(table.shape[0] - tokens), _side(rows - tokens)
    if before == after:
        return table
    at = _distances(before // 2, after // 2)
    new = np.arange(-(after // 2), after // 2 + 1, dtype=np.float64)
    values = table[:-tokens].double().numpy().reshape(before, before, -1)
    read = [RectBivariateSpline(at, at, values[..., head])(new, new) for head in range(values.shape[-1])]
    grid = torch.from_numpy(np.stack(read, axis=-1).reshape(after * after, -1)).to(table.dtype)
    return torch.cat([grid, table[-tokens:]])


def _distances(before: int, after: int) -> list[float]:
    """Places of the old values on the axis of the new ones, symmetrical about 0; the ratio by bisection to 1e-6."""
    low, high = 1.01, 1.5
    ratio = low
    while high - low > 1e-6:
        ratio = (low + high) / 2
        if (1 - ratio**before) / (1 - ratio) > after:
            high = ratio
        else:
            low = ratio
    outwards = [sum(ratio**power for power in range(count)) for count in range(1, before + 1)]
    return [*(-place for place in reversed(outwards)), 0.0, *outwards]


# --- Patches ------------------------------------------------------------------------------------------------------


def _with_patches(state: Mapping[str, Tensor], own: Mapping[str, Tensor], notes: list[str]) -> dict[str, Tensor]:
    """The weights of patches of transformers, for patches of the sides that the network has."""
    changed = dict(state)
    for name, value in state.items():
        target = own.get(name)
        if target is None or not re.fullmatch(_PATCHES, name) or target.dim() != 4 or value.dim() != 4:
            continue
        before, after = value.shape[2:], target.shape[2:]
        if before != after:
            changed[name] = resize_patches(value, (after[0], after[1]))
            notes.append(f"patches of {before[0]} x {before[1]} pixels ({name}) made {after[0]} x {after[1]}")
    return changed


def resize_patches(weight: Tensor, size: tuple[int, int]) -> Tensor:
    """Weights of patches (O, B, h, w) for those of another size, (O, B, *size).

    Such that a patch, resized, gives what it gave before, as nearly as that can be (FlexiViT, Beyer et al.,
    arXiv:2212.08013, section 3.4): the pseudoinverse of the resizing, here bicubic with a filter, as timm has it.
    """
    import torch
    import torch.nn.functional as F

    height, width = weight.shape[2:]
    pixels = torch.eye(height * width).reshape(-1, 1, height, width)
    resizing = F.interpolate(pixels, size=size, mode="bicubic", antialias=True, align_corners=False).flatten(1)
    kept = weight.flatten(2).float() @ torch.linalg.pinv(resizing).T  # (O, B, new pixels)
    resized: Tensor = kept.unflatten(2, size)
    return resized.to(weight.dtype)


# --- Bands --------------------------------------------------------------------------------------------------------


def _with_bands(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], method: FirstConvolution, notes: list[str]
) -> dict[str, Tensor]:
    """The convolutions that read the image, for as many bands as it has."""
    changed = dict(state)
    for name, value in state.items():
        target = own.get(name)
        if target is None or value.dim() != 4 or target.dim() != 4 or value.shape[1] not in (1, 3):
            continue
        others = [(v.shape[0], *v.shape[2:]) for v in (value, target)]
        if target.shape[1] != value.shape[1] and others[0] == others[1]:
            changed[name] = with_bands(value, target, method)
            bands = f"{value.shape[1]} to {target.shape[1]} bands"
            notes.append(f"the first convolution ({name}) made from {bands} ({method})")
    return changed


def with_bands(weight: Tensor, start: Tensor, method: FirstConvolution = "repeat") -> Tensor:
    """A first convolution's weight (O, 3, h, w) for the bands of `start` (O, B, h, w), the layer's random start.

    Fewer bands than the file's take theirs in turn and add them up, whatever the method: a grey image gets the answer
    that it would have got as three equal bands. More bands:

        repeat    the filters in turn, times 3 / B, so that what they add up to stays of its size
        mean      each band the mean of the filters, times 3 / B
        zero      the file's bands as they are, the new ones 0
        random    the file's bands as they are, the new ones as they start
    """
    import torch

    given, bands = weight.shape[1], start.shape[1]
    if bands < given:
        return torch.stack([weight[:, band::bands].sum(dim=1) for band in range(bands)], dim=1)
    turn = [band % given for band in range(bands)]
    if method == "repeat":
        return weight[:, turn] * (given / bands)
    if method == "mean":
        return weight.mean(dim=1, keepdim=True).expand(-1, bands, -1, -1) * (given / bands)
    new = (
        start[:, given:].to(weight.dtype)
        if method == "random"
        else torch.zeros_like(start[:, given:], dtype=weight.dtype)
    )
    return torch.cat([weight, new.to(weight.device)], dim=1)
