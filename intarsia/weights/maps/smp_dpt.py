"""DPT of segmentation_models.pytorch: a plain transformer of timm, whose levels have one stride and class tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from intarsia import catalog
from intarsia.terminal import printable
from intarsia.weights.maps.description import Values
from intarsia.weights.maps.smp_encoders import OF_TIMM

DPT = frozenset(
    {
        "encoder_output_indices", "decoder_readout", "decoder_intermediate_channels", "decoder_fusion_channels",
        "dynamic_img_size", "img_size",
    }
)  # fmt: skip
"""Its arguments besides those that all models have. Images of any size are taken anyhow (dynamic_img_size)."""

_FINEST = 4
_WIDTHS = (256, 512, 1024, 1024)


def dpt_parts(config: Mapping[str, Any], bands: int) -> tuple[Values, int]:
    """Backbone and head, and of what the sides of an image are multiples.

    Raises ValueError for an encoder that is no plain transformer of timm, or whose patches cannot be brought to strides
    of 4, 8, 16 ...
    """
    import torch

    name = str(config["encoder_name"])
    if not name.startswith(OF_TIMM):
        raise ValueError(f"a DPT is over a plain transformer of timm ({OF_TIMM}NAME); found {printable(name, 100)!r}")
    backbone: Values = {"type": "TIMM", "model_name": name.removeprefix(OF_TIMM), "in_channels": bands}
    if (size := config.get("img_size")) is not None:
        backbone["img_size"] = size
    with torch.device("meta"):
        built = catalog.resolve("backbone", "TIMM")(
            backbone["model_name"], in_channels=bands, img_size=backbone.get("img_size")
        )
    (network,) = built.network
    indices = _indices(config, len(network.feature_info))
    level = built.features[-1]
    if len(set(built.features)) > 1 or level.stride & (level.stride - 1):
        raise ValueError(
            f"a DPT is read over a plain transformer with patches of 8, 16 or 32 pixels; the levels of {name!r} have "
            f"strides {[found.stride for found in built.features]}"
        )
    readout = config.get("decoder_readout", "cat")
    prefix = getattr(network, "num_prefix_tokens", 0) > 0
    readouts = {
        "cat": "project" if prefix else "project_patches", "add": "add" if prefix else "ignore", "ignore": "ignore"
    }  # fmt: skip
    if readout not in readouts:
        raise ValueError(f"decoder_readout must be cat, add or ignore; found {printable(repr(readout), 100)}")
    if prefix and readout != "ignore":
        backbone["tokens"] = "class" if readout == "cat" else "mean"
    count = len(indices)
    head: Values = {
        "type": "SmpDPTHead",
        "in_channels": [level.channels] * count,
        "in_index": list(range(count)),
        "feature_strides": [level.stride] * count,
        "channels": config.get("decoder_fusion_channels", 256),
        "post_process_channels": list(config.get("decoder_intermediate_channels", _WIDTHS)),
        "readout_type": readouts[readout],
        "align_corners": True,
    }
    divisor = max(level.stride, _FINEST * 2 ** (count - 1))
    return {"backbone": {**backbone, "out_indices": indices}, "decode_head": head}, divisor


def _indices(config: Mapping[str, Any], blocks: int) -> list[int]:
    """The blocks that are read; by default they divide all alike."""
    depth, asked = config.get("encoder_depth", 4), config.get("encoder_output_indices")
    if type(depth) is not int or not 1 <= depth <= blocks:
        raise ValueError(f"encoder_depth must be 1 to {blocks}; found {printable(repr(depth), 100)}")
    if asked is None:
        return [int(blocks / depth * part) - 1 for part in range(1, depth + 1)]
    found = [index + blocks if type(index) is int and index < 0 else index for index in asked]
    if len(found) != depth:
        raise ValueError(f"encoder_output_indices must be {depth} blocks, as encoder_depth says; found {list(asked)}")
    return found
