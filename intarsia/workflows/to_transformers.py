"""A folder as transformers has it, made of a model of ours: EoMT, on DINOv2 and on DINOv3.

The network is built by transformers itself and written by it, so that the files are those that it reads.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intarsia.terminal import say
from intarsia.weights.maps import recognise
from intarsia.workflows.trained_model import OpenModel

if TYPE_CHECKING:
    from torch import Tensor

TRANSFORMERS = "transformers"


def write_folder(model: OpenModel, out: Path) -> None:
    """Write config.json, preprocessor_config.json and tensors of a model into a folder.

    Raises ValueError for a model that transformers does not have, or does not have so, and where it is not installed.
    """
    transformers = _library()
    network: Any = getattr(model.task, "model", None)
    parts = (
        type(network).__name__,
        *(type(getattr(network, part, None)).__name__ for part in ("backbone", "decode_head")),
    )
    if parts != ("MaskClassifier", "TIMM", "EoMTHead"):
        raise ValueError(
            f"--to {TRANSFORMERS} is for EoMT on DINOv2 or DINOv3 of timm, which transformers has under the same "
            f"formulas; {model.file} is a {' of '.join(parts)}"
        )
    trunk = network.backbone.network[0]
    on_dinov3 = getattr(trunk, "rope", None) is not None
    values = _shared_values(model, network, trunk) | (_dinov3(model, trunk) if on_dinov3 else _dinov2(trunk))
    name = "EomtDinov3" if on_dinov3 else "Eomt"
    theirs = getattr(transformers, f"{name}ForUniversalSegmentation")(getattr(transformers, f"{name}Config")(**values))
    theirs.load_state_dict(_state(network.state_dict(), theirs.state_dict(), model))
    theirs.save_pretrained(out)
    _processor(transformers, model, values["image_size"]).save_pretrained(out)
    say(f"{name}ForUniversalSegmentation for images of {values['image_size']} x {values['image_size']}: {out}")


def _library() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise ValueError(f"--to {TRANSFORMERS} needs it: pip install 'intarsia[transformers]'") from error
    if not hasattr(transformers, "EomtDinov3ForUniversalSegmentation"):
        raise ValueError(f"transformers {transformers.__version__} has no EoMT on DINOv3: a newer one has")
    return transformers


def _shared_values(model: OpenModel, network: Any, trunk: Any) -> dict[str, Any]:
    head = network.decode_head
    objective: Any = getattr(model.task, "objective", None)
    weights = getattr(objective, "weights", {})
    return {
        "hidden_size": head.in_channels,
        "num_hidden_layers": len(trunk.blocks),
        "num_attention_heads": trunk.blocks[0].attn.num_heads,
        "layer_norm_eps": trunk.norm.eps,
        "patch_size": trunk.patch_embed.patch_size[0],
        "num_channels": trunk.patch_embed.proj.in_channels,
        "num_register_tokens": trunk.num_prefix_tokens - 1,
        "num_queries": head.q.num_embeddings,
        "num_blocks": head.in_blocks,
        "num_upscale_blocks": head.num_upscales,
        "id2label": dict(enumerate(model.meta.classes or map(str, range(head.num_classes)))),
        **{
            theirs: weights[ours]
            for theirs, ours in (
                ("class_weight", "loss_cls"),
                ("mask_weight", "loss_mask"),
                ("dice_weight", "loss_dice"),
            )
            if ours in weights
        },
    }


def _dinov2(trunk: Any) -> dict[str, Any]:
    """Positions are a table of patches alone, and images as large as it."""
    width, mlp = trunk.embed_dim, trunk.blocks[0].mlp
    count = trunk.pos_embed.shape[1] if trunk.pos_embed is not None else 0
    side = math.isqrt(count)
    if not count or side * side != count or not hasattr(trunk.blocks[0], "ls1"):
        raise ValueError(
            "EoMT of transformers is on DINOv2 with registers: it learns positions of a square of patches, and factors "
            f"behind each layer; this transformer has {count} positions, or no factors"
        )
    gated = mlp.fc1.out_features == 2 * mlp.fc2.in_features
    ratio = 4 if gated else mlp.fc1.out_features / width
    if ratio != int(ratio):
        raise ValueError(f"EoMT of transformers has perceptrons of whole multiples of their width, found {ratio:g}")
    return {"image_size": side * trunk.patch_embed.patch_size[0], "mlp_ratio": int(ratio), "use_swiglu_ffn": gated}


def _dinov3(model: OpenModel, trunk: Any) -> dict[str, Any]:
    """Images are of any size; those of its config are as large as the windows that it looks through."""
    attention, mlp = trunk.blocks[0].attn, trunk.blocks[0].mlp
    if mlp.fc1.out_features != mlp.fc2.in_features or trunk.pos_embed is not None:
        raise ValueError("EoMT of transformers is on a DINOv3 with plain perceptrons, up to that of size L")
    biases = getattr(attention, "q_bias", None) is not None
    size = model.spec.inference.crop_size or model.spec.preprocess.train_size or (512, 512)
    return {
        "image_size": min(size),
        "intermediate_size": mlp.fc1.out_features,
        "query_bias": biases,
        "value_bias": biases,
    }


def _state(ours: dict[str, Tensor], theirs: dict[str, Tensor], model: OpenModel) -> dict[str, Tensor]:
    """Our tensors under their names, of their shapes.

    Raises ValueError where there is none, or one that does not fit.
    """
    found = recognise(theirs)
    assert found is not None, "a key map for what transformers builds"
    filled = {}
    for name, target in theirs.items():
        source = found.source(name)
        if name == "attn_mask_probs":  # above 0, theirs looks at masks while it predicts
            filled[name] = target.new_zeros(target.shape)
            continue
        if source is None:  # what follows from the config
            filled[name] = target
            continue
        own, part, parts = source
        value = ours[own].chunk(parts)[part] if own in ours else None
        if value is None or value.numel() != target.numel():
            has = "no such tensor" if value is None else f"{own} of the shape {list(ours[own].shape)}"
            raise ValueError(f"{model.file}: {name} of transformers has the shape {list(target.shape)}; here is {has}")
        filled[name] = value.reshape(target.shape).to(target.dtype)
    return filled


def _processor(transformers: Any, model: OpenModel, side: int) -> Any:
    given = model.spec.preprocess
    if given.channel_order != "rgb":
        raise ValueError(f"transformers takes the bands of images as red, green, blue; {model.file} takes blue first")
    return transformers.EomtImageProcessor(
        size={"shortest_edge": side, "longest_edge": None},
        do_split_image=True,
        do_pad=False,
        image_mean=[value / 255 for value in given.mean],
        image_std=[value / 255 for value in given.std],
    )
