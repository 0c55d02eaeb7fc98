"""Writes the files of figures/: short records of the networks below, for machines without the reference material.

    python tests/golden/make_figures.py [NAME ...]

Each network is first compared with the whole record of the reference, so that only proven figures are kept: the
record's own, shortened, and those of a small form of the network where the whole one is too slow for every day
(`small.py`). Networks whose parts do not exist yet, and those that differ, are named and left out, with their small
forms; the exit code is then 1. Names, of networks and not of their small forms, choose what is made again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import building
import comparing
import recording
import references
import small

FIGURES = Path(__file__).with_name("figures")
NETWORKS = {
    "apcnet_r50": "apcnet__apcnet_r50-d8_4xb4-160k_ade20k-512x512",
    "dmnet_r50": "dmnet__dmnet_r50-d8_4xb4-160k_ade20k-512x512",
    "emanet_r50": "emanet__emanet_r50-d8_4xb2-80k_cityscapes-769x769",
    "encnet_r50": "encnet__encnet_r50-d8_4xb4-160k_ade20k-512x512",
    "fastfcn_r50_enc": "fastfcn__fastfcn_r50-d32_jpu_enc_4xb4-160k_ade20k-512x512",
    "psanet_r50": "psanet__psanet_r50-d8_4xb4-160k_ade20k-512x512",
    "fcn_r18": "fcn__fcn_r18-d8_4xb2-80k_cityscapes-769x769",
    "fcn_hr18": "hrnet__fcn_hr18_4xb4-80k_isaid-896x896",
    "pspnet_r18b": "pspnet__pspnet_r18b-d8_4xb2-80k_cityscapes-769x769",
    "deeplabv3_r18b": "deeplabv3__deeplabv3_r18b-d8_4xb2-80k_cityscapes-769x769",
    "deeplabv3plus_r18": "deeplabv3plus__deeplabv3plus_r18-d8_4xb4-80k_isaid-896x896",
    "upernet_r18": "upernet__upernet_r18_4xb4-160k_ade20k-512x512",
    "upernet_swin-t": "swin__swin-tiny-patch4-window7_upernet_1xb8-20k_levir-256x256",
    "ocrnet_hr18": "ocrnet__ocrnet_hr18_4xb4-160k_ade20k-512x512",
    "bisenetv1_r18": "bisenetv1__bisenetv1_r18-d32-in1k-pre_4xb4-160k_cityscapes-1024x1024",
    "bisenetv2": "bisenetv2__bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024",
    "segformer_mit-b0": "segformer__segformer_mit-b0_8xb2-160k_ade20k-512x512",
    "fast_scnn": "fastscnn__fast_scnn_8xb4-160k_cityscapes-512x1024",
    "semantic_fpn_r50": "sem_fpn__fpn_r50_4xb2-80k_cityscapes-512x1024",
    "pointrend_r50": "point_rend__pointrend_r50_4xb4-160k_ade20k-512x512",
    "knet_r50_fcn": "knet__knet-s3_r50-d8_fcn_8xb2-adamw-80k_ade20k-512x512",
    "maskformer_r50": "maskformer__maskformer_r50-d32_8xb2-160k_ade20k-512x512",
    "ann_r50": "ann__ann_r50-d8_4xb4-160k_ade20k-512x512",
    "ccnet_r50": "ccnet__ccnet_r50-d8_4xb4-160k_ade20k-512x512",
    "danet_r50": "danet__danet_r50-d8_4xb4-160k_ade20k-512x512",
    "dnlnet_r50": "dnlnet__dnl_r50-d8_4xb4-160k_ade20k-512x512",
    "gcnet_r50": "gcnet__gcnet_r50-d8_4xb4-160k_ade20k-512x512",
    "isanet_r50": "isanet__isanet_r50-d8_4xb4-160k_ade20k-512x512",
    "nonlocal_r50": "nonlocal_net__nonlocal_r50-d8_4xb4-160k_ade20k-512x512",
    "vit-b16_mln_upernet": "vit__vit_vit-b16_mln_upernet_8xb2-160k_ade20k-512x512",
    "setr_vit-l_pup": "setr__setr_vit-l_pup_8xb2-160k_ade20k-512x512",
    "setr_vit-l_mla": "setr__setr_vit-l-mla_8xb1-160k_ade20k-512x512",
    "segmenter_vit-t": "segmenter__segmenter_vit-t_mask_8xb1-160k_ade20k-512x512",
    "dpt_vit-b16": "dpt__dpt_vit-b16_8xb2-160k_ade20k-512x512",
    "upernet_beit-b": "beit__beit-base_upernet_8xb2-160k_ade20k-640x640",
    "upernet_convnext-t": "convnext__convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512",
    "upernet_mae-b": "mae__mae-base_upernet_8xb2-amp-160k_ade20k-512x512-ms",
    "semantic_fpn_poolformer-s12": "poolformer__fpn_poolformer_s12_8xb4-40k_ade20k-512x512",
    "semantic_fpn_pcpvt-s": "twins__twins_pcpvt-s_fpn_fpnhead_8xb4-80k_ade20k-512x512",
    "upernet_svt-s": "twins__twins_svt-s_uperhead_8xb2-160k_ade20k-512x512",
    "mask2former_r50": "mask2former__mask2former_r50_8xb2-160k_ade20k-512x512",
    "unet_fcn": "unet__unet-s5-d16_fcn_4xb4-40k_chase-db1-128x128",
    "mobilenetv2_fcn": "mobilenet_v2__mobilenet-v2-d8_fcn_4xb4-160k_ade20k-512x512",
    "mobilenetv3_lraspp": "mobilenet_v3__mobilenet-v3-d8-scratch_lraspp_4xb4-320k_cityscapes-512x1024",
    "resnest_s101_fcn": "resnest__resnest_s101-d8_fcn_4xb4-160k_ade20k-512x512",
    "stdc1": "stdc__stdc1_4xb12-80k_cityscapes-512x1024",
    "pidnet-s": "pidnet__pidnet-s_2xb6-120k_1024x1024-cityscapes",
    "ddrnet_23": "ddrnet__ddrnet_23_in1k-pre_2xb6-120k_cityscapes-1024x1024",
    "icnet_r18": "icnet__icnet_r18-d8-in1k-pre_4xb2-160k_cityscapes-832x832",
    "cgnet": "cgnet__cgnet_fcn_4xb4-60k_cityscapes-680x680",
    "erfnet": "erfnet__erfnet_fcn_4xb4-160k_cityscapes-512x1024",
    "san_vit-b16": "san__san-vit-b16_voc12aug-640x640",
    "segnext_mscan-t": "segnext__segnext_mscan-t_1xb16-adamw-160k_ade20k-512x512",
}
MODEL_KEYS = ("type", "num_stages", "backbone", "neck", "decode_head", "auxiliary_head", "train_cfg", "test_cfg",
              "image_encoder", "text_encoder", "asymetric_input", "encoder_resolution")  # fmt: skip
"""What a network is built from; first weights and preprocessing are not needed."""
RECORD_KEYS = ("dtype", "labels_without_ignored", "params", "input", "losses", "loss_names", "grads")
SAMPLES = 6


def figures_of(record: dict[str, Any]) -> dict[str, Any]:
    """A short record. Raises ValueError if our network differs from the whole one, or cannot be built."""
    model = model_of(record)
    if not building.known(model):
        raise ValueError("has parts that are not built yet")
    if differences := comparing.different(comparing.compare(building.task(model), record)):
        raise ValueError(f"differs from the reference:\n{differences}")
    return excerpt(record, model)


def model_of(record: dict[str, Any]) -> dict[str, Any]:
    """What the network of a record is built from."""
    return {key: part for key, part in references.model_config(record).items() if key in MODEL_KEYS and part}


def excerpt(record: dict[str, Any], model: dict[str, Any]) -> dict[str, Any]:
    """A short record, whether or not our network agrees with it."""
    return {
        "source": record["config"],
        "model": model,
        **{key: record[key] for key in RECORD_KEYS if key in record},
        "logits": short(record["logits"]),
        "stages": {stage: short(digest) for stage, digest in record["stages"].items()},
    }


def small_figures(name: str, whole: dict[str, Any]) -> dict[str, Any]:
    """The figures of a small form of a network, from the proven ones of the whole."""
    model = small.NETWORKS[name].model(whole["model"])
    size = (small.INPUT[0], whole["input"][1], *small.INPUT[2:])
    return {"source": small.NETWORKS[name].source, "model": model, **recording.record(model, size, SAMPLES)}


def short(digest: dict[str, Any]) -> dict[str, Any]:
    """The first samples; the scale that errors are relative to remains that of all."""
    scale = max(map(abs, digest["values"]))
    return {**digest, "values": digest["values"][:SAMPLES], "scale": scale}


def text(value: Any, depth: int = 2, indent: str = "") -> str:
    """JSON with a line for each thing that a record says, so that a change can be read."""
    if not depth or not isinstance(value, dict):
        return json.dumps(value)
    lines = [f"{indent} {json.dumps(key)}: {text(item, depth - 1, f'{indent} ')}" for key, item in value.items()]
    return "{\n" + ",\n".join(lines) + f"\n{indent}}}"


def made(names: list[str]) -> Iterator[tuple[str, dict[str, Any] | ValueError]]:
    for name in names:
        try:
            yield name, figures_of(references.records()[NETWORKS[name]])
        except ValueError as error:
            yield name, error


def main(names: list[str]) -> int:
    if not references.records():
        print(f"no reference material at {references.SHARED} (set INTARSIA_SHARED)")
        return 2
    if unknown := set(names) - set(NETWORKS):
        print(f"no such network: {', '.join(sorted(unknown))}; add it to NETWORKS")
        return 2
    failures = 0
    for name, result in made(names or list(NETWORKS)):
        print(f"{name}: {'ok' if isinstance(result, dict) else result}", flush=True)
        if isinstance(result, ValueError):
            failures += 1
            continue
        (FIGURES / f"{name}.json").write_text(text(result) + "\n")
        for form, network in small.NETWORKS.items():
            if network.source == name:
                (FIGURES / f"{form}.json").write_text(text(small_figures(form, result)) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
