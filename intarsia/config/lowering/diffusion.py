"""VPD's backbone: the config of a latent diffusion model becomes arguments of the network that is made of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from intarsia.config.lowering.fields import Context, Fields, shown
from intarsia.config.schema.fates import Fate, to

PART = "backbone VPD"
_FIRST_STAGE = {
    "in_channels": "in_channels",
    "ch": "first_stage_channels",
    "ch_mult": "first_stage_channel_mult",
    "num_res_blocks": "first_stage_num_res_blocks",
    "z_channels": "z_channels",
}
_UNET = {
    **{key: key for key in ("attention_resolutions", "channel_mult", "context_dim", "model_channels", "num_heads")},
    **{key: key for key in ("num_res_blocks", "transformer_depth")},
    "use_checkpoint": "checkpoint_activations",
}
_MAPS = {"up_cross": "up", "down_cross": "down"}
_NO_MAPS = {
    "cross": ": levels in the middle are no features",
    "self": ": maps of pixels have a channel for each pixel, which no layer can count on",
}


def diffusion(context: Context, values: Any, path: str) -> dict[str, Any]:
    """`diffusion_cfg`: the autoencoder's encoder and the U-Net; its checkpoint is where both start from."""
    context.saw(path, PART, "diffusion_cfg", Fate("lowered", "arguments of the autoencoder's encoder and the U-Net"))
    if not isinstance(values, Mapping):
        context.problem(path, f"expected dict, found {shown(values)}")
        return {}
    fields = Fields(context, path, values, "VPD: diffusion_cfg")
    if fields.get("checkpoint") is not None:
        context.pretrained.append((_part(path), fields.get("checkpoint")))
    params = fields.child("params", "VPD: params of diffusion_cfg")
    first = params.child("first_stage_config", "VPD: first_stage_config").child(
        "params", "VPD: params of first_stage_config"
    )
    encoder = first.child("ddconfig", "VPD: ddconfig")
    unet = params.child("unet_config", "VPD: unet_config").child("params", "VPD: params of unet_config")
    found = {"embed_dim": first.get("embed_dim")} if "embed_dim" in first else {}
    for section, names in ((encoder, _FIRST_STAGE), (unet, _UNET)):
        for key, argument in names.items():
            if key in section:
                value = section.get(key)
                found[argument] = tuple(value) if isinstance(value, list | tuple) else value
    return found


def wrapper(context: Context, values: Any, path: str) -> dict[str, Any]:
    """`unet_cfg`: which maps of cross attention are features, all where the config does not say."""
    context.saw(path, PART, "unet_cfg", to("arguments `attention_maps`, `attention_stride`"))
    if not isinstance(values, Mapping):
        context.problem(path, f"expected dict, found {shown(values)}")
        return {}
    fields = Fields(context, path, values, "VPD: unet_cfg")
    if not fields.get("use_attn", True):
        return {"attention_maps": ()}
    chosen = dict.fromkeys(fields.get("attn_selector", "up_cross+down_cross").split("+"))
    for name in chosen:
        if name not in _MAPS:
            reason = _NO_MAPS.get(name.rpartition("_")[2], "")
            context.problem(
                fields.at("attn_selector"), f"expected {' or '.join(map(repr, _MAPS))}, found {name!r}{reason}"
            )
    base = fields.get("base_size", 512)
    finest = fields.get("max_attn_size") or base // 16
    stride = next((stride for stride in (8, 16) if base // stride <= finest), None)
    if stride is None:
        message = f"levels of {base // 16} x {base // 16} pixels, at stride 16, are larger than {finest}"
        context.problem(fields.at("max_attn_size"), message, "They always have maps")
    found = tuple(_MAPS[name] for name in chosen if name in _MAPS)
    return {"attention_maps": found, "attention_stride": stride or 16}


def class_embeddings(context: Context, value: Any, path: str) -> dict[str, Any]:
    """`class_embed_path`: where the embeddings start from; the weights of a trained network have their own."""
    context.saw(path, PART, "class_embed_path", to("pretrained"))
    if isinstance(value, str):
        context.pretrained.append((f"{_part(path)}.class_embeddings", value))
    else:
        context.problem(path, f"expected str, found {shown(value)}")
    return {}


def _part(path: str) -> str:
    """The part whose key it is."""
    return path.rpartition(".")[0].removeprefix("model.")
