"""torchvision's FCN, DeepLabV3 and ResNets give the same logits after conversion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mapping
import pytest
import torch

from intarsia.backbones.resnet import ResNet, ResNeXt
from intarsia.config.build import build_task
from intarsia.config.checking.check import check
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.layers.levels import resize
from intarsia.weights.about import about
from intarsia.weights.file import apply_state
from intarsia.weights.maps import recognise, translated
from intarsia.weights.maps.torchvision import describe_file

torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed")
segmentation = torchvision.models.segmentation


@pytest.mark.parametrize("name", ["fcn_resnet50", "deeplabv3_resnet50"])
def test_segmentation_model(name: str) -> None:
    theirs = getattr(segmentation, name)(weights=None, weights_backbone=None, aux_loss=True, num_classes=21)
    mapping.randomised(theirs)
    state = theirs.state_dict()
    description = describe_file(state)
    config = Config.from_values(description.config, file="file.pth")
    assert check(config) == []
    ours: Any = build_task(lower(config)).model.double().eval()
    apply_state(ours, translated(state))
    images = mapping.images(1, 3, 41, 59)
    with torch.no_grad():
        expected = theirs(images)
        for key, logits in zip(("out", "aux"), ours.training_outputs(images).values(), strict=True):
            mapping.assert_same(resize(logits, images.shape[2:]), expected[key])
    assert description.classes[15] == "person"
    assert "Pascal VOC" in description.notes[0]


@pytest.mark.parametrize(
    ("name", "backbone"), [("resnet18", lambda: ResNet(18)), ("resnext50_32x4d", lambda: ResNeXt(50))]
)
def test_stages(name: str, backbone: Callable[[], ResNet]) -> None:
    theirs = mapping.randomised(getattr(torchvision.models, name)(weights=None))
    ours = backbone().double().eval()
    state = translated(theirs.state_dict())
    apply_state(ours, {key.removeprefix("backbone."): value for key, value in state.items()})
    images = mapping.images(1, 3, 41, 59)
    with torch.no_grad():
        (*_, coarsest) = ours(images)
        mapping.assert_same(theirs.fc(coarsest.mean((2, 3))), theirs(images))


def test_a_file_that_torchvision_never_published(tmp_path: Path) -> None:
    state = segmentation.fcn_resnet50(weights=None, weights_backbone=None, num_classes=3).state_dict()
    torch.save(state, tmp_path / "file.pth")
    found = about(tmp_path / "file.pth")
    assert found.origin == "FCN of torchvision"
    assert found.meta.classes == ("class 0", "class 1", "class 2")
    assert "auxiliary_head" not in found.meta.config["model"]
    assert torch.equal(found.state()[0]["decode_head.conv_seg.weight"], state["classifier.4.weight"])
    short = {name: value for name, value in state.items() if not name.startswith("backbone.layer3.5")}
    with pytest.raises(ValueError, match="third stage has 5 blocks"):
        describe_file(short)


def test_other_models_are_not_taken_for_these() -> None:
    assert recognise(segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None).state_dict()) is None
