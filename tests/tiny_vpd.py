"""VPD as its published configs have it, of a thousandth of the size, and rooms for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

LOAD: list[dict[str, Any]] = [
    {"type": "LoadImageFromFile"}, {"type": "LoadDepthAnnotation", "depth_rescale_factor": 1e-3},
]  # fmt: skip


def config(root: str = "data", **model: Any) -> dict[str, Any]:
    """VPD as its published configs have it, of a thousandth of the size."""
    first_stage = {"ch": 32, "ch_mult": [1, 1, 1, 1], "num_res_blocks": 1, "z_channels": 4, "double_z": True}
    unet = {"model_channels": 32, "channel_mult": [1, 1, 2, 2], "num_res_blocks": 2, "num_heads": 4,
            "attention_resolutions": [4, 2, 1], "context_dim": 16, "use_spatial_transformer": True}  # fmt: skip
    backbone = {
        "type": "VPD", "class_embed_path": "embeddings.pth", "class_embed_select": True, "pad_shape": 64,
        "unet_cfg": {"use_attn": False},
        "diffusion_cfg": {
            "target": "ldm.models.diffusion.ddpm.LatentDiffusion", "checkpoint": "sd.ckpt", "params": {
                "first_stage_config": {"params": {"embed_dim": 4, "ddconfig": first_stage}},
                "unet_config": {"params": unet}}},
    }  # fmt: skip
    moved = [LOAD[0], {"type": "Resize", "scale": (2000, 48), "keep_ratio": True}, LOAD[1]]

    def data(split: str, pipeline: list[dict[str, Any]]) -> dict[str, Any]:
        folders = {"img_path": f"images/{split}", "depth_map_path": f"annotations/{split}"}
        return {"batch_size": 2, "num_workers": 0, "dataset": {
            "type": "NYUDataset", "data_root": root, "data_prefix": folders, "pipeline": pipeline}}  # fmt: skip

    return {
        "model": {
            "type": "DepthEstimator",
            "data_preprocessor": {
                "type": "SegDataPreProcessor", "mean": [127.5] * 3, "std": [127.5] * 3, "bgr_to_rgb": True,
                "pad_val": 0, "seg_pad_val": 0, "size": (48, 48)},
            "backbone": backbone,
            "decode_head": {"type": "VPDDepthHead", "in_channels": [32, 32, 64, 64], "embed_dim": 16,
                            "feature_dim": 128, "num_deconv_filters": (8, 8, 8), "max_depth": 10},
            "test_cfg": {"mode": "slide_flip", "crop_size": (48, 48), "stride": (24, 24)},
            **model,
        },
        "train_dataloader": data("train", [*LOAD, {"type": "RandomDepthMix", "prob": 1.0},
                                           {"type": "RandomCrop", "crop_size": (48, 48)}]),
        "val_dataloader": data("test", moved),
        "val_evaluator": {"type": "DepthMetric", "max_depth_eval": 10.0, "crop_type": "nyu_crop"},
        "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": 2},
        "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "AdamW", "lr": 1e-3}},
    }  # fmt: skip


def write_rooms(folder: Path, splits: Sequence[str] = ("train", "test")) -> Path:
    """Two images of 60 x 80 pixels with their depths in millimetres, in the folders of NYU Depth."""
    rng = np.random.default_rng(0)
    for split in splits:
        for name in ("bathroom_00000", "attic_00001"):
            depth = rng.integers(500, 9000, (60, 80)).astype(np.uint16)
            depth[:5] = 0
            image = rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)
            for kind, suffix, pixels in (("images", "jpg", image), ("annotations", "png", depth)):
                file = folder / kind / split / f"{name}.{suffix}"
                file.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(file), pixels)
    return folder
