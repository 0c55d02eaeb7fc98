"""EncNet: lateral levels, and which classes an image shows."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from intarsia.contracts import ImageLogits
from intarsia.layers.levels import resize
from intarsia.layers.norm import BN
from intarsia.methods.encnet import ClassesPresent, EncHead


def head(**more: object) -> EncHead:
    torch.manual_seed(0)
    given = {"in_channels": (4, 6), "in_index": (0, 1), "channels": 8, "num_classes": 3, "num_codes": 5, "norm": BN}
    return EncHead(**{**given, **more}).eval()  # type: ignore[arg-type]


def levels() -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.randn(2, 4, 12, 16), torch.randn(2, 6, 6, 8)]


def test_only_training_asks_which_classes_there_are() -> None:
    made = head()
    outputs = made.training_outputs(levels())
    assert list(outputs) == ["", "se"]
    assert outputs[""].equal(made(levels()))  # type: ignore[union-attr]
    assert isinstance(outputs["se"], ImageLogits)
    assert outputs["se"].logits.shape == (2, 3)
    plain = head(use_se_loss=False)
    assert list(plain.training_outputs(levels())) == [""]
    assert not any("se_layer" in name for name in plain.state_dict())


def test_the_encoding_weights_channels() -> None:
    made = head()
    x = made.bottleneck(levels()[1])
    encode, norm, _ = made.enc_module.encoding
    words = encode(made.enc_module.encoding_project(x))  # (2, 5, 8)
    normal = words / (1 + norm.eps) ** 0.5  # a batch norm as it starts
    vector = F.relu(normal).mean(dim=1)  # (2, 8)
    expected = F.relu(x * (1 + made.enc_module.fc(vector)[:, :, None, None]))
    encoded, found = made.enc_module(x)
    torch.testing.assert_close(encoded, vector)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("align_corners", [False, True])
def test_lateral_levels_are_fused_behind_the_last(align_corners: bool) -> None:
    made, given = head(add_lateral=True, align_corners=align_corners), levels()
    x = made.bottleneck(given[1])
    lateral = resize(made.lateral_convs[0](given[0]), (6, 8), align_corners=align_corners)
    _, fused = made.enc_module(made.fusion(torch.cat([x, lateral], dim=1)))
    torch.testing.assert_close(made(given), made.conv_seg(fused))


def test_levels_and_channels_pair_up() -> None:
    with pytest.raises(ValueError, match="EncHead reads several levels"):
        EncHead(in_channels=(4, 6), channels=8, num_classes=3)


def test_classes_that_labels_show() -> None:
    labels = torch.tensor([[[0, 2], [2, 255]], [[255, 255], [255, -1]], [[3, 3], [1, 200]]])
    found = ClassesPresent()(labels, torch.zeros(3, 1, 1, 4), {}, {})
    assert found.tolist() == [[[1, 0, 1, 0]], [[0, 0, 0, 0]], [[0, 1, 0, 1]]]
