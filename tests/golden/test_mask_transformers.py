"""The networks of MaskFormer and Mask2Former against their records: names, every layer's classes and masks, the logits.

They are not in the catalogue yet: their losses (matching, random points) and their place in the assembly are still to
come.
"""

from __future__ import annotations

import json
from pathlib import Path

import comparing
import filling
import pytest
import torch
from torch import Tensor, nn

from intarsia.backbones.resnet import ResNet
from intarsia.backbones.swin import SwinTransformer
from intarsia.layers.levels import resize
from intarsia.methods.mask2former import Mask2FormerHead
from intarsia.methods.maskformer import MaskFormerHead

RECORDS = {
    "maskformer__maskformer_r50-d32_8xb2-160k_ade20k-512x512": MaskFormerHead,
    "maskformer__maskformer_swin-t_upernet_8xb2-160k_ade20k-512x512": MaskFormerHead,
    "mask2former__mask2former_r50_8xb2-160k_ade20k-512x512": Mask2FormerHead,
    "mask2former__mask2former_swin-t_8xb2-160k_ade20k-512x512": Mask2FormerHead,
}
STAGES = {MaskFormerHead: ("decode_head:0", "decode_head:1"), Mask2FormerHead: ("decode_head:0.{}", "decode_head:1.{}")}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(RECORDS))
def test_network_matches_its_record(name: str, shared: Path) -> None:
    record = json.loads((shared / "golden" / "models" / f"{name}.json").read_text())
    backbone = ResNet(50) if "r50" in name else SwinTransformer()
    head = RECORDS[name](in_channels=[level.channels for level in backbone.features], num_classes=150)
    network = nn.ModuleDict({"backbone": backbone, "decode_head": head}).double()
    comparing.check_state(network, record["state"], record["state"])
    comparing.prepare(network)
    images = filling.images(*record["input"])
    with torch.no_grad():
        classes, masks = head(backbone(images))
        for key, layers in zip(STAGES[type(head)], (classes, masks), strict=True):
            for stage, found in stages(key, layers):
                comparing.check_digest(stage, found, record["stages"][stage])
        probabilities = classes[-1].softmax(-1)[..., :-1]
        inside = resize(masks[-1], images.shape[2:]).sigmoid()
        comparing.check_digest("logits", torch.einsum("nqk,nqhw->nkhw", probabilities, inside), record["logits"])


def stages(key: str, layers: list[Tensor]) -> list[tuple[str, Tensor]]:
    """A record holds the layers of MaskFormer in one stack, those of Mask2Former one by one."""
    if "{}" in key:
        return [(key.format(i), layer) for i, layer in enumerate(layers)]
    return [(key, torch.stack(layers))]
