"""A folder of results as nnU-Net v2 leaves it, with a network of random weights."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from intarsia.methods.nnunet import NNUNetHead, PlainConvEncoder, ResidualEncoder
from intarsia.models.encoder_decoder import EncoderDecoder

CHANNELS, KERNELS, STRIDES = [4, 6, 8, 10], [[3, 3], [1, 3], [3, 3], [3, 3]], [[1, 1], [1, 2], [2, 2], [2, 2]]
"""A plan whose sides differ: they are halved twice and three times."""
COUNTS = {"plain": [2, 1, 2, 1], "residual": [1, 2, 1, 2]}
DECODER = {"plain": [2, 1, 2], "residual": [1, 1, 1]}
PATCH = (32, 64)
_NAMES = {
    r"backbone\.stem\.": "encoder.stem.convs.0.",
    r"backbone\.stages\.(\d+)\.(\d+)\.(conv[12])\.": r"encoder.stages.\1.blocks.\2.\3.",
    r"backbone\.stages\.(\d+)\.(\d+)\.skip\.": r"encoder.stages.\1.blocks.\2.skip.1.",
    r"backbone\.stages\.(\d+)\.(\d+)\.": r"encoder.stages.\1.0.convs.\2.",
    r"decode_head\.stages\.(\d+)\.(\d+)\.": r"decoder.stages.\1.convs.\2.",
    r"decode_head\.": "decoder.",
}


def network(kind: str, bands: int = 2, classes: int = 3) -> EncoderDecoder:
    """The one of these plans, with random norms as well."""
    stages: dict[str, Any] = {
        "in_channels": bands, "channels": CHANNELS, "kernel_sizes": KERNELS, "strides": STRIDES
    }  # fmt: skip
    counts = COUNTS[kind]
    plain = kind == "plain"
    encoder = PlainConvEncoder(**stages, num_convs=counts) if plain else ResidualEncoder(**stages, num_blocks=counts)
    head = NNUNetHead(
        in_channels=CHANNELS, in_index=(0, 1, 2, 3), num_classes=classes, kernel_sizes=KERNELS, strides=STRIDES,
        num_convs=DECODER[kind],
    )  # fmt: skip
    model = EncoderDecoder(backbone=encoder, decode_head=head)
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, mean=float(name.endswith("norm.weight")), std=0.3)
    return model


def named_as_theirs(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of ours under the names of nnU-Net, those of the encoder and of each convolution twice."""
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        pattern, beginning = next((old, new) for old, new in _NAMES.items() if re.match(old, name))
        theirs = re.sub(rf"^{pattern}", beginning, name)
        found[theirs] = value
        for part, number in (("conv", 0), ("norm", 1)):
            if f".{part}." in theirs:
                found[theirs.replace(f".{part}.", f".all_modules.{number}.")] = value
    return found | {f"decoder.{name}": value for name, value in found.items() if name.startswith("encoder.")}


def plans(kind: str, **changes: Any) -> dict[str, Any]:
    """plans.json; changes: of the configuration 2d."""
    counts = "n_conv_per_stage" if kind == "plain" else "n_blocks_per_stage"
    network_class = "PlainConvUNet" if kind == "plain" else "ResidualEncoderUNet"
    plan = {
        "data_identifier": "nnUNetPlans_2d", "preprocessor_name": "DefaultPreprocessor", "batch_size": 12,
        "patch_size": list(PATCH), "median_image_size_in_voxels": [40.0, 70.0], "spacing": [1.0, 1.0],
        "normalization_schemes": ["ZScoreNormalization"] * 2, "use_mask_for_norm": [False, False],
        "architecture": {
            "network_class_name": f"dynamic_network_architectures.architectures.unet.{network_class}",
            "arch_kwargs": {
                "n_stages": 4, "features_per_stage": CHANNELS, "conv_op": "torch.nn.modules.conv.Conv2d",
                "kernel_sizes": KERNELS, "strides": STRIDES, counts: COUNTS[kind],
                "n_conv_per_stage_decoder": DECODER[kind], "conv_bias": True,
                "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d",
                "norm_op_kwargs": {"eps": 1e-5, "affine": True}, "dropout_op": None, "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {"inplace": True}},
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"]},
        "batch_dice": True, **changes,
    }  # fmt: skip
    seen = {"max": 900.0, "mean": 100.0, "median": 90.0, "min": -900.0, "percentile_00_5": -60.0,
            "percentile_99_5": 300.0, "std": 50.0}  # fmt: skip
    return {
        "dataset_name": "Dataset999_Fake", "plans_name": "nnUNetPlans", "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2], "image_reader_writer": "NaturalImage2DIO",
        "original_median_spacing_after_transp": [999.0, 1.0, 1.0],
        "configurations": {"2d": plan, "3d_fullres": {**plan, "patch_size": [16, 32, 32]}},
        "foreground_intensity_properties_per_channel": {"0": seen, "1": {**seen, "mean": 10.0, "std": 0.0}},
    }  # fmt: skip


def results(
    folder: Path,
    kind: str = "plain",
    *,
    model: EncoderDecoder | None = None,
    channels: tuple[str, ...] = ("T1", "T2"),
    labels: Mapping[str, Any] | None = None,
    fold: int | str = 0,
    name: str = "nnUNetTrainer__nnUNetPlans__2d",
    top: Mapping[str, Any] | None = None,
    dataset: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """The folder, below another. changes: of the configuration 2d; top: of the plans themselves; dataset: of
    dataset.json.
    """
    found = folder / name
    where = found / f"fold_{fold}"
    where.mkdir(parents=True)
    labels = labels or {"background": 0, "core": 1, "rim": 2}
    written = {**plans(kind, **changes), **(top or {})}
    content = {
        "channel_names": {str(i): channel for i, channel in enumerate(channels)}, "labels": dict(labels),
        "numTraining": 20, "file_ending": ".png", **(dataset or {}),
    }  # fmt: skip
    (found / "plans.json").write_text(json.dumps(written))
    (found / "dataset.json").write_text(json.dumps(content))
    model = model or network(kind, len(channels))
    weights = named_as_theirs(model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.99, nesterov=True)
    checkpoint = {
        "network_weights": weights, "optimizer_state": optimizer.state_dict(), "grad_scaler_state": None,
        "logging": {"mean_fg_dice": [np.float64(0.5)], "train_losses": [np.float32(-0.2)]}, "_best_ema": 0.5,
        "current_epoch": 1000, "trainer_name": "nnUNetTrainer", "inference_allowed_mirroring_axes": (0, 1),
        "init_args": {"plans": written, "configuration": "2d", "fold": 0, "dataset_json": content,
                      "device": torch.device("cpu")},
    }  # fmt: skip
    torch.save(checkpoint, where / "checkpoint_final.pth")
    return found
