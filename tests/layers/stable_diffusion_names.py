"""Names of diffusers' parameters -> those that Stable Diffusion was published with, which ours are."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

RESIDUAL = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip


def _residual(inner: str) -> str:
    layer, _, parameter = inner.rpartition(".")
    return f"{RESIDUAL[layer]}.{parameter}"


def unet_name(name: str, *, attends: Mapping[int, bool]) -> str | None:
    """Of the U-Net. None for what is unused: the last layer.

    attends: of each level of the decoder, coarsest first, whether there are transformers.
    """
    if name.startswith(("conv_norm_out.", "conv_out.")):
        return None
    for theirs, ours in (
        ("time_embedding.linear_1.", "time_embed.0."),
        ("time_embedding.linear_2.", "time_embed.2."),
        ("conv_in.", "input_blocks.0.0."),
        ("mid_block.attentions.0.", "middle_block.1."),
    ):
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    if found := re.fullmatch(r"mid_block\.resnets\.(\d)\.(.+)", name):
        return f"middle_block.{2 * int(found[1])}.{_residual(found[2])}"
    found = re.fullmatch(r"(down|up)_blocks\.(\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.+)", name)
    assert found is not None, name
    way, level, kind, index, inner = found[1], int(found[2]), found[3], int(found[4]), found[5]
    if kind == "downsamplers":
        return f"input_blocks.{3 * level + 3}.0.op.{inner.removeprefix('conv.')}"
    if kind == "upsamplers":
        return f"output_blocks.{3 * level + 2}.{2 if attends[level] else 1}.{inner}"
    step = f"input_blocks.{3 * level + index + 1}" if way == "down" else f"output_blocks.{3 * level + index}"
    return f"{step}.0.{_residual(inner)}" if kind == "resnets" else f"{step}.1.{inner}"


def encoder_name(name: str) -> str | None:
    """Of the autoencoder. None for what is unused: the decoder."""
    if name.startswith(("decoder.", "post_quant_conv.")):
        return None
    for theirs, ours in (
        (r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2"),
        (r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample"),
        (r"mid_block\.resnets\.0", "mid.block_1"),
        (r"mid_block\.resnets\.1", "mid.block_2"),
        (r"mid_block\.attentions\.0\.group_norm", "mid.attn_1.norm"),
        (r"mid_block\.attentions\.0\.to_([qkv])", r"mid.attn_1.\1"),
        (r"mid_block\.attentions\.0\.to_out\.0", "mid.attn_1.proj_out"),
        ("conv_norm_out", "norm_out"),
        ("conv_shortcut", "nin_shortcut"),
    ):
        name = re.sub(theirs, ours, name)
    return name


def encoder_value(name: str, value: Tensor) -> Tensor:
    """Attention of pixels has convolutions of one pixel here, and linear layers there."""
    projection = re.search(r"mid\.attn_1\.(q|k|v|proj_out)\.weight$", name)
    return value[:, :, None, None] if projection and value.dim() == 2 else value
