"""Builds a task from the `model` section of a resolved MMSegmentation config, part by part through the catalogue."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from intarsia import catalog
from intarsia.layers.activation import Activation
from intarsia.layers.norm import Norm
from intarsia.models.encoder_decoder import EncoderDecoder
from intarsia.spec import PreprocessSpec
from intarsia.tasks.preprocess import Preprocess
from intarsia.tasks.semantic import HeadLoss, SemanticSegmentation

IDENTITY = PreprocessSpec(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
OF_THE_TASK = ("type", "loss_decode", "sampler", "ignore_index", "init_cfg", "pretrained")
RENAMED = {"norm_cfg": "norm", "act_cfg": "activation", "dw_act_cfg": "dw_activation", "with_cp": "checkpoint_activations"}


def part(kind: str, config: Mapping[str, Any]) -> Any:
    """A built part; norms and activations become values, what belongs to the task is left out."""
    arguments = {RENAMED.get(key, key): plain(key, value) for key, value in config.items() if key not in OF_THE_TASK}
    return catalog.resolve(kind, config["type"])(**arguments)


def plain(key: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        settings = {name: setting for name, setting in value.items() if name != "type"}
        return (Norm if "norm" in key else Activation)(value["type"], **settings)
    return value


def head_loss(name: str, config: Mapping[str, Any]) -> HeadLoss:
    ignore_index = config.get("ignore_index", 255)
    losses = []
    for loss in as_list(config.get("loss_decode", {"type": "CrossEntropyLoss"})):
        build = catalog.resolve("loss", loss["type"])
        settings = {key: v for key, v in loss.items() if key not in ("type", "loss_weight", "loss_name")}
        if "ignore_index" in inspect.signature(build).parameters:
            settings["ignore_index"] = ignore_index
        losses.append((loss.get("loss_name", "loss_ce"), build(**settings), loss.get("loss_weight", 1.0)))
    return HeadLoss(name, losses, ignore_index, config.get("align_corners", False))


def task(model: Mapping[str, Any], preprocess: PreprocessSpec = IDENTITY) -> SemanticSegmentation:
    decode, auxiliary = model["decode_head"], model.get("auxiliary_head")
    network = EncoderDecoder(
        backbone=part("backbone", model["backbone"]),
        decode_head=part("head", decode),
        auxiliary_head=[part("head", head) for head in auxiliary]
        if isinstance(auxiliary, list)
        else part("head", auxiliary)
        if auxiliary
        else None,
    )
    losses = [head_loss("decode", decode)]
    if isinstance(auxiliary, list):
        losses += [head_loss(f"aux_{i}", head) for i, head in enumerate(auxiliary)]
    elif auxiliary:
        losses.append(head_loss("aux", auxiliary))
    return SemanticSegmentation(
        network,
        preprocess=Preprocess(preprocess),
        losses=losses,
        num_classes=decode["num_classes"],
        ignore_index=losses[0].ignore_index,
    )


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
