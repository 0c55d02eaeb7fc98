"""Our config of a model of segmentation_models.pytorch, from the config.json of its folder.

The file has the arguments of the model's constructor and `_model_class`. Those that it leaves out have the library's
defaults. What cannot be expressed here is refused by name; what changes no logit is left out, with a note.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from intarsia import catalog
from intarsia.terminal import printable
from intarsia.weights.maps.description import IMAGENET, Description, Values, describe, normalising
from intarsia.weights.maps.smp import DEPTHS
from intarsia.weights.maps.smp_decoders import DECODERS, Decoder, Levels
from intarsia.weights.maps.smp_dpt import DPT, dpt_parts
from intarsia.weights.maps.smp_encoders import OF_TIMM, Encoder, known_encoder
from intarsia.weights.pretrained import timm_hub

LIBRARY = "segmentation_models.pytorch"

_LOGITS = (None, "identity", "sigmoid", "softmax", "softmax2d", "logsoftmax")
"""Last activations behind which the largest value is that of the largest logit."""

_COMMON = frozenset(
    {"encoder_name", "encoder_depth", "encoder_weights", "in_channels", "classes", "activation", "aux_params"}
)


def is_smp(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is of this library."""
    return "model_type" not in config and "encoder_name" in config


def describe_smp(config: Mapping[str, Any]) -> Description:
    """The model of a folder.

    Raises ValueError for a model, an encoder or a setting that has no counterpart here, and without timm.
    """
    kind = printable(str(config.get("_model_class", "Unet")), 50)
    if kind not in (*DECODERS, "DPT"):
        raise ValueError(
            f"config.json is of a {kind} of {LIBRARY}; of its models {', '.join((*DECODERS, 'DPT'))} can be read. Its "
            "encoder can start a training: --weights FILE --prefix encoder --allow-partial"
        )
    decoder = DECODERS.get(kind)
    dilated = frozenset({"encoder_output_stride"}) if decoder is not None and decoder.output_strides else frozenset()
    known = _COMMON | dilated | (DPT if decoder is None else decoder.arguments)
    if strange := sorted(key for key in config.keys() - known if not key.startswith("_") and config[key] is not None):
        raise ValueError(f"config.json has {printable(', '.join(strange), 200)}, which has no counterpart here")
    if config.get("activation") not in _LOGITS:
        listed = ", ".join(map(str, _LOGITS))
        raise ValueError(f"config.json has activation={config['activation']!r}; expected one of {listed}")
    classes, bands = (_count(config, key, usual) for key, usual in (("classes", 1), ("in_channels", 3)))
    parts, divisor = dpt_parts(config, bands) if decoder is None else _parts(kind, decoder, config, bands)
    parts["decode_head"] |= {"num_classes": classes, "loss_decode": {"type": "CrossEntropyLoss", "loss_weight": 1.0}}
    if (labels := config.get("aux_params")) is not None:
        parts["auxiliary_head"] = _image_classes(labels, parts)
    (mean, std), note = _normalisation(str(config["encoder_name"]), bands)
    return describe(
        parts,
        normalising(mean, std, size_divisor=divisor),
        resizing=[],
        classes=["foreground"] if classes == 1 else [f"class {number}" for number in range(classes)],
        notes=[note, *_left_out(config, _enlargement(decoder, divisor))],
        origin=LIBRARY,
    )


def _count(config: Mapping[str, Any], key: str, usual: int) -> int:
    count = config.get(key, usual)
    if type(count) is not int or count < 1:
        raise ValueError(f"{key} of config.json must be a number, 1 or more; found {printable(repr(count), 200)}")
    return count


def _image_classes(labels: Any, parts: Values) -> Values:
    """The classifier of whole images, on the coarsest level."""
    known = ("classes", "pooling", "dropout", "activation")
    if not isinstance(labels, Mapping) or labels.keys() - set(known) or "classes" not in labels:
        raise ValueError(
            f"aux_params of config.json must have classes, and of {', '.join(known[1:])} what is wanted; found "
            f"{printable(repr(labels), 200)}"
        )
    pooling, dropout = labels.get("pooling", "avg"), labels.get("dropout", 0.2)
    if pooling not in ("avg", "max"):
        raise ValueError(f"pooling in aux_params must be avg or max; found {printable(repr(pooling), 100)}")
    channels = parts["decode_head"]["in_channels"]
    return {
        "type": "ImageClassHead",
        "in_channels": channels[-1] if isinstance(channels, list) else channels,
        "in_index": -1,
        "num_classes": _count(labels, "classes", 1),
        "pooling": pooling,
        "dropout_ratio": float(dropout or 0.0),
        **({"in_tokens": True} if "tokens" in parts["backbone"] else {}),
    }


def _enlargement(decoder: Decoder | None, stride: int) -> int:
    """By which a model's logits are brought to the size of the image."""
    if decoder is None or decoder.reads not in ("last", "last four"):
        return 4
    return stride if decoder.reads == "last" else stride // 8


def _left_out(config: Mapping[str, Any], enlargement: int) -> list[str]:
    """What of a file changes no logit."""
    notes = []
    if (labels := config.get("aux_params")) and labels.get("activation") not in (None, "identity"):
        notes.append("the activation behind the classifier of whole images (aux_params) is left out")
    if config.get("activation") not in (None, "identity"):
        notes.append(f"the last activation ({config['activation']}) is left out: a weights file gives logits")
    if config.get("upsampling") not in (None, enlargement):
        notes.append(
            f"upsampling={printable(repr(config['upsampling']), 50)} is left out: logits are resized to the image"
        )
    return notes


def _parts(kind: str, decoder: Decoder, config: Mapping[str, Any], bands: int) -> tuple[Values, int]:
    """Backbone and head, and of what the sides of an image are multiples."""
    depth = config.get("encoder_depth", decoder.depths[0])
    if depth not in decoder.depths:
        listed = f"{min(decoder.depths)} to {DEPTHS[0]}"
        why = ": at 3 it reads the image itself, as a level" if kind == "FPN" and depth == 3 else ""
        raise ValueError(f"encoder_depth of a {kind} must be {listed}; found {printable(repr(depth), 200)}{why}")
    backbone, levels = _encoder(kind, decoder, str(config["encoder_name"]), depth, bands)
    stride = 2**depth
    if decoder.output_strides:
        asked = config.get("encoder_output_stride", decoder.output_strides[0])
        if asked not in decoder.output_strides:
            listed = " or ".join(map(str, sorted(decoder.output_strides)))
            raise ValueError(f"encoder_output_stride of a {kind} must be {listed}; found {printable(repr(asked), 200)}")
        if asked < stride:
            backbone |= _dilation(str(config["encoder_name"]), asked)
            stride = asked
    head = decoder.head(config, levels)
    dropout = config.get(decoder.dropout, decoder.usual_dropout)
    return {
        "backbone": backbone,
        "decode_head": {**head, "dropout_ratio": dropout, "align_corners": decoder.align_corners},
    }, stride


def _encoder(kind: str, decoder: Decoder, name: str, depth: int, bands: int) -> tuple[Values, Levels]:
    """The backbone section with the levels that a decoder reads, and those."""
    import torch

    own = None if name.startswith(OF_TIMM) else known_encoder(name)
    if own is not None and own.mit:
        section: Values = {"type": "MixVisionTransformer", "in_channels": bands, **own.mit, **_MIT}
        if depth != DEPTHS[0]:
            raise ValueError(f"the encoder {name!r} has an encoder_depth of {DEPTHS[0]}; found {depth}")
        found = [
            (own.mit["embed_dims"] * heads, stride) for heads, stride in zip((1, 2, 5, 8), (4, 8, 16, 32), strict=True)
        ]
    else:
        section = _of_timm(name, own, bands)
        with torch.device("meta"):
            built = catalog.resolve("backbone", "TIMM")(
                section["model_name"],
                in_channels=bands,
                smp_encoder=section.get("smp_encoder", False),
                options=section.get("options"),
            )
        found = [(level.channels, level.stride) for level in built.features]
    read = _read(kind, decoder, name, depth, [stride for _, stride in found])
    strides, channels = (tuple(found[index][i] for index in read) for i in (1, 0))
    return {**section, "out_indices": read}, Levels(name, channels, strides, depth)


def _of_timm(name: str, own: Encoder | None, bands: int) -> Values:
    if own is None and not name.startswith(OF_TIMM):
        raise ValueError(
            f"the encoder {name!r} of config.json has no counterpart here; docs/trunks.md lists those that have, and "
            f"networks of timm ({OF_TIMM}NAME) have"
        )
    section: Values = {"type": "TIMM", "model_name": name.removeprefix(OF_TIMM), "in_channels": bands}
    if own is not None:
        section["model_name"] = own.network
        section |= {} if own.same_levels else {"smp_encoder": True}
        section |= {"options": dict(own.options)} if own.options else {}
    return section


def _read(kind: str, decoder: Decoder, name: str, depth: int, strides: list[int]) -> list[int]:
    """The places of the levels that are read, the finest first."""
    within = {stride: place for place, stride in enumerate(strides) if 2 <= stride <= 2**depth}
    found = list(within)
    if not found or found[0] > 4 or found != [found[0] * 2**i for i in range(len(found))] or found[-1] != 2**depth:
        raise ValueError(
            f"levels of strides 2 or 4 to {2**depth} are read; the encoder {name!r} has {strides}"
        )  # fmt: skip
    if decoder.reads == "last":
        return [within[found[-1]]]
    if decoder.reads == "ends":
        return [within[4], within[found[-1]]]
    if decoder.reads == "last four":
        if len(found) < 4:
            raise ValueError(f"a {kind} reads four levels; with encoder_depth={depth} {name!r} has {len(found)}")
        return list(within.values())[-4:]
    return [place for stride, place in within.items() if stride >= decoder.reads]


def _dilation(name: str, stride: int) -> Values:
    """Of an encoder that ends at a stride of 8 or 16. The library dilates its own in another way than timm."""
    own = None if name.startswith(OF_TIMM) else known_encoder(name)
    if own is None or own.as_timm:
        return {"output_stride": stride}
    if own.mit:
        raise ValueError(
            f"the encoder {name!r} is read without dilation; config.json has encoder_output_stride={stride}"
        )
    return {"output_stride": stride, "smp_encoder": True}


_MIT: Values = {
    "num_stages": 4,
    "num_heads": (1, 2, 5, 8),
    "patch_sizes": (7, 3, 3, 3),
    "sr_ratios": (8, 4, 2, 1),
    "mlp_ratio": 4,
    "qkv_bias": True,
    "drop_path_rate": 0.1,
    "inner_eps": 1e-5,
}


def _normalisation(encoder: str, bands: int) -> tuple[tuple[Any, Any], str]:
    """Mean and deviation, which the library keeps with no model, and what was assumed of them."""
    if bands != 3:
        return ((0.0,) * bands, (255.0,) * bands), (
            "the file does not say how images are normalised: their values were taken to be divided by 255; otherwise "
            "give a config of your own, with the right data_preprocessor: --config FILE"
        )
    known = timm_hub.normalisation(encoder.removeprefix(OF_TIMM)) if encoder.startswith(OF_TIMM) else None
    values = IMAGENET if known is None else (known.mean, known.std)
    return values, (
        "the file does not say how images are normalised: mean and deviation are those of the encoder's pretrained "
        "weights; otherwise give a config of your own, with the right data_preprocessor: --config FILE"
    )
