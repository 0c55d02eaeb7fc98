"""Plain transformers of timm stopped before their last blocks, for methods that put tokens of their own into these.

Shape letters: N images, C channels, P tokens in front of the patches (class token, registers), h, w height and width
of the grid of patches, T tokens in all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from intarsia.contracts import FeatureSpec, OpenLevel, Size

FILES = frozenset({"vision_transformer", "eva"})
"""Files of timm whose blocks take a mask of attention."""


def check_open(network: Any, file: str, name: str, count: int) -> None:
    """Raises ValueError for a network whose last `count` blocks cannot be run by somebody else."""
    if file not in FILES or getattr(network, "rope_mixed", False):
        raise ValueError(
            f"open_blocks is for plain transformers (ViT, DeiT, DINOv2, DINOv3, CLIP, EVA-02); the blocks of {name} "
            "take no mask of attention, or positions of their own"
        )
    if not 0 < count < len(network.blocks):
        raise ValueError(
            f"open_blocks of {name} is from 1 to {len(network.blocks) - 1}, as it has one more; got {count}"
        )
    if isinstance(network.norm, nn.Identity):
        raise ValueError(f"{name} has no norm behind its last block, which who runs its last blocks needs")


def open_level(network: Any, images: Tensor, count: int, *, stride: int, size: Size) -> OpenLevel:
    """Padded images (N, bands, H, W), unpadded of `size` -> the network before its last `count` blocks."""
    has_prefix = network.num_prefix_tokens > 0
    (found,) = network.forward_intermediates(
        images,
        indices=[len(network.blocks) - count - 1],
        output_fmt="NCHW",
        intermediates_only=True,
        return_prefix_tokens=has_prefix,
        stop_early=True,
    )
    patches, prefix = found if has_prefix else (found, found.new_zeros(found.shape[0], 0, found.shape[1]))
    rope = getattr(network, "rope", None)
    positions = None if rope is None else rope.get_embed(shape=patches.shape[2:])  # (h * w, 2 * D): sines, cosines
    blocks = [_with_mask(block, network, positions) for block in network.blocks[-count:]]
    return OpenLevel(patches, prefix, blocks, network.norm, stride, size)


def check_prefix(network: Any, levels: Sequence[FeatureSpec], name: str, open_blocks: int) -> None:
    """Raises ValueError for a network that has no tokens before its patches."""
    if open_blocks:
        raise ValueError("open_blocks gives the tokens before the patches anyhow: no prefix")
    if len(set(levels)) > 1 or getattr(network, "num_prefix_tokens", 0) < 1:
        raise ValueError(f"prefix is for plain transformers with a class token or registers; {name} has none")


def levels_with_prefix(
    network: Any, images: Tensor, indices: Sequence[int], *, norm: bool, stride: int, size: Size
) -> tuple[OpenLevel, ...]:
    """Padded images (N, bands, H, W), unpadded of `size` -> what the network has seen after each of these blocks."""
    found = network.forward_intermediates(
        images,
        indices=list(indices),
        output_fmt="NCHW",
        intermediates_only=True,
        return_prefix_tokens=True,
        norm=norm,
        stop_early=True,
    )
    return tuple(OpenLevel(patches, prefix, (), nn.Identity(), stride, size) for patches, prefix in found)


def _with_mask(block: nn.Module, network: Any, positions: Tensor | None) -> Callable[[Tensor, Tensor | None], Tensor]:
    """A block as (tokens (N, T, C), which may look at which (N, 1, T, T) or None) -> tokens."""

    def run(tokens: Tensor, mask: Tensor | None) -> Tensor:
        keywords: dict[str, Any] = {"attn_mask": mask}
        if positions is not None:
            keywords["rope"] = _in_front(positions, tokens.shape[1] - network.num_prefix_tokens)
        if network.grad_checkpointing and block.training:
            out: Tensor = checkpoint(block, tokens, use_reentrant=False, **keywords)
        else:
            out = block(tokens, **keywords)
        return out

    return run


def _in_front(positions: Tensor, count: int) -> Tensor:
    """Rotations (h * w, 2 * D), as sines and cosines, with rotations by nothing in front, for tokens without a place.

    A block turns all tokens but the first P; with others in front of them, prefix and patches come later by so many.
    """
    sines, cosines = positions.chunk(2, dim=-1)
    missing = count - positions.shape[0]
    return torch.cat([F.pad(sines, (0, 0, missing, 0)), F.pad(cosines, (0, 0, missing, 0), value=1.0)], dim=-1)
