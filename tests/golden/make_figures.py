"""Writes figures.json: short records of the networks below, for machines without the reference material.

    python tests/golden/make_figures.py ../shared

Each network is first compared with the whole record of the reference, so that only proven figures are kept.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import building
import comparing

FIGURES = Path(__file__).with_name("figures.json")
NETWORKS = {
    "fcn_r18": "fcn__fcn_r18-d8_4xb2-80k_cityscapes-769x769",
    "pspnet_r18b": "pspnet__pspnet_r18b-d8_4xb2-80k_cityscapes-769x769",
    "deeplabv3_r18b": "deeplabv3__deeplabv3_r18b-d8_4xb2-80k_cityscapes-769x769",
    "deeplabv3plus_r18": "deeplabv3plus__deeplabv3plus_r18-d8_4xb4-80k_isaid-896x896",
    "upernet_swin-t": "swin__swin-tiny-patch4-window7_upernet_1xb8-20k_levir-256x256",
    "ocrnet_hr18": "ocrnet__ocrnet_hr18_4xb4-160k_ade20k-512x512",
    "bisenetv1_r18": "bisenetv1__bisenetv1_r18-d32-in1k-pre_4xb4-160k_cityscapes-1024x1024",
    "bisenetv2": "bisenetv2__bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024",
    "segformer_mit-b0": "segformer__segformer_mit-b0_8xb2-160k_ade20k-512x512",
    "fast_scnn": "fastscnn__fast_scnn_8xb4-160k_cityscapes-512x1024",
}
NEEDED = ("type", "backbone", "decode_head", "auxiliary_head")
SAMPLES = 6


def short(digest: dict[str, Any]) -> dict[str, Any]:
    return {**digest, "values": digest["values"][:SAMPLES]}


def main(shared: Path) -> None:
    configs = json.loads(gzip.decompress((shared / "facts" / "mmseg_configs.json.gz").read_bytes()))
    figures = {}
    for name, record_name in NETWORKS.items():
        record = json.loads((shared / "golden" / "models" / f"{record_name}.json").read_text())
        model = {key: part for key, part in configs[record["config"]]["model"].items() if key in NEEDED}
        comparing.check_record(building.task(model), record)
        figures[name] = {
            "source": record["config"],
            "model": model,
            "params": record["params"],
            "input": record["input"],
            "logits": short(record["logits"]),
            "stages": {stage: short(digest) for stage, digest in record["stages"].items()},
            "losses": record["losses"],
            "grads": record["grads"],
        }
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
