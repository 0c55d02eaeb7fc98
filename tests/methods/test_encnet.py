"""EncNet: lateral levels, and which classes an image shows."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from intarsia.config.build import build_task
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.contracts import Batch, ImageLogits
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


def test_a_single_logit_is_of_the_second_class() -> None:
    labels = torch.tensor([[[0, 0], [0, 255]], [[0, 1], [0, 0]]])
    assert ClassesPresent()(labels, torch.zeros(2, 1, 1, 1), {}, {}).tolist() == [[[0]], [[1]]]


@pytest.mark.parametrize("ignore_index", [255, 0, 1])
def test_no_answer_is_ignored_whichever_label_is(ignore_index: int) -> None:
    """Answers are 0 and 1, which may be the label that counts for nothing in the loss of the pixels."""
    torch.manual_seed(0)
    resnet = {"type": "ResNet", "depth": 18, "base_channels": 4, "stem_channels": 4}
    decode = {"type": "EncHead", "in_channels": [8, 16, 32], "in_index": [1, 2, 3], "channels": 8, "num_classes": 3,
              "num_codes": 4, "norm_cfg": {"type": "BN"}, "ignore_index": ignore_index}  # fmt: skip
    model = {"type": "EncoderDecoder", "backbone": resnet, "decode_head": decode}
    task = build_task(lower(Config.from_values({"model": model}, file="small")))
    labels = torch.full((2, 64, 64), ignore_index)
    labels[0, :9], labels[1, 5:8], labels[1, 9:12] = 2, 1, 0
    shown = torch.tensor([[0, 0, 1], [1, 1, 0]]).double()
    if ignore_index < 3:
        shown[:, ignore_index] = 1  # as in the original, it is a class like the others to this loss
    images, found = torch.rand(2, 3, 64, 64), {}
    task.model.decode_head.se_layer.register_forward_hook(lambda layer, given, out: found.update(se=out))
    batch = Batch(images, labels, ((64, 64),) * 2, ())
    terms = {term.name: term for term in task.eval().training_terms(batch)}
    expected = F.binary_cross_entropy_with_logits(found["se"].double(), shown)
    assert terms["decode.loss_se"].weight == 0.2
    torch.testing.assert_close(terms["decode.loss_se"].value.double(), expected)
    assert list(terms) == ["decode.loss_ce", "decode.acc_seg", "decode.loss_se"]
