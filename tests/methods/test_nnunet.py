"""nnU-Net's networks against dynamic-network-architectures, and what they are trained on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nnunet_results import CHANNELS, named_as_theirs, network, plans
from torch import Tensor, nn

from intarsia.config.build import build_task
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.contracts import Batch, PointLogits, SampleMeta
from intarsia.losses.batch_dice import BatchDiceLoss
from intarsia.methods.nnunet import NNUNetHead, PlainConvEncoder, ResidualEncoder
from intarsia.models.encoder_decoder import EncoderDecoder
from intarsia.weights.maps import translated
from intarsia.weights.maps.nnunet_plans import _model

KINDS = ("plain", "residual")
SIZE = (16, 32)
FIGURES: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "plain": ((900.306945, 221.381099, 90.5449134), (172.839598, 1.03938488, 5.2696717, 2536.65927)),
    "residual": ((284.028456, 378.215383, 104.586644), (341.180713, 9.3721556, 25.2441868, 1469.94107)),
}
"""What dynamic-network-architectures 0.4.4 gives for `filled` weights: of each level, the finest first, the sum of the
logits' squares; of some parameters the norms of the gradient of all levels' sum of squares.
"""


def theirs(kind: str) -> nn.Module:
    reason = (
        "dynamic-network-architectures is not installed (it wants a timm below 1.0.23, so that it is none of the dev "
        "extra): pip install --no-deps dynamic-network-architectures einops"
    )
    unet = pytest.importorskip("dynamic_network_architectures.architectures.unet", reason=reason)
    arguments = plans(kind)["configurations"]["2d"]["architecture"]["arch_kwargs"]
    own = {"conv_op": nn.Conv2d, "norm_op": nn.InstanceNorm2d, "nonlin": nn.LeakyReLU}
    network_class = unet.PlainConvUNet if kind == "plain" else unet.ResidualEncoderUNet
    found: nn.Module = network_class(**{**arguments, **own}, input_channels=2, num_classes=3, deep_supervision=True)
    return found.double()


def outputs_of(model: EncoderDecoder, images: Tensor) -> list[Tensor]:
    """Of all levels, as maps (N, K, h, w), the finest first; training looks at the first two."""
    head: Any = model.decode_head
    maps = [layer(x) for layer, x in zip(head.seg_layers, head._steps(model.backbone(images)), strict=True)][::-1]
    first, second = model.training_outputs(images).values()
    assert isinstance(second, PointLogits)
    torch.testing.assert_close([first, second.logits], [maps[0], maps[1].flatten(2)])
    return maps


@pytest.mark.parametrize("kind", KINDS)
def test_logits_of_all_levels_and_gradients_are_theirs(kind: str) -> None:
    torch.manual_seed(0)
    their, model = theirs(kind), network(kind).double()
    for parameter in their.parameters():
        nn.init.normal_(parameter, std=0.5)
    model.load_state_dict(translated(their.state_dict()))
    images = torch.randn(2, 2, *SIZE, dtype=torch.float64)
    expected, found = their(images), outputs_of(model, images)
    for mine, level in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, level, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(model(images), expected[0], rtol=1e-9, atol=1e-9)
    weights = [torch.randn_like(level) for level in expected]
    for levels in (expected, found):
        torch.stack([(level * weight).sum() for level, weight in zip(levels, weights, strict=True)]).sum().backward()
    gradients = translated({name: p.grad for name, p in their.named_parameters(remove_duplicate=False)})  # type: ignore[misc]
    assert sorted(gradients) == sorted(name for name, _ in model.named_parameters())
    for name, parameter in model.named_parameters():
        if name.startswith("decode_head.seg_layers.0."):
            assert not parameter.requires_grad  # nor is it trained there, since its weight is 0
            continue
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-7, atol=1e-9, msg=name)


def filled(kind: str) -> tuple[EncoderDecoder, Tensor]:
    """The network with weights that are functions of their place, and images (2, 2, *SIZE) likewise."""
    model = network(kind).double()
    with torch.no_grad():
        for place, (name, parameter) in enumerate(sorted(model.named_parameters())):
            wave = torch.sin(0.7 * torch.arange(parameter.numel(), dtype=torch.float64) + place)
            parameter.copy_((0.3 * wave + name.endswith("norm.weight")).view_as(parameter))
    images = torch.cos(0.37 * torch.arange(2 * 2 * SIZE[0] * SIZE[1], dtype=torch.float64) ** 1.1)
    return model, images.view(2, 2, *SIZE)


WATCHED = ("backbone.stages.1.0.", "backbone.stages.3.0.", "decode_head.transpconvs.0.", "decode_head.seg_layers.2.")


Named = list[tuple[str, nn.Parameter]]


def figures(levels: list[Tensor], named: Named) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The sums of all levels' squares; and the norms of the gradients of `WATCHED` parameters."""
    torch.stack([level.square().sum() for level in levels]).sum().backward()
    gradients = translated({name: p.grad for name, p in named if p.grad is not None})
    norms = [
        sum(grad.square().sum().item() for name, grad in gradients.items() if name.startswith(part)) for part in WATCHED
    ]
    return tuple(level.square().sum().item() for level in levels), tuple(norm**0.5 for norm in norms)


def check_figures(kind: str, levels: list[Tensor], named: Named) -> None:
    expected = FIGURES[kind]
    for found, kept in zip(figures(levels, named), expected, strict=True):
        assert found == pytest.approx(kept, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_figures_kept_of_theirs(kind: str) -> None:
    model, images = filled(kind)
    check_figures(kind, outputs_of(model, images), list(model.named_parameters()))


@pytest.mark.parametrize("kind", KINDS)
def test_the_kept_figures_are_theirs(kind: str) -> None:
    model, images = filled(kind)
    their = theirs(kind)
    their.load_state_dict(named_as_theirs(model.state_dict()))
    check_figures(kind, their(images), list(their.named_parameters(remove_duplicate=False)))


# --- Training -----------------------------------------------------------------------------------------------------


def theirs_on(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Cross entropy, and Dice of the batch without the background, of labels of the logits' size (255 is ignored)."""
    known = labels != 255
    entropy = F.cross_entropy(logits, labels, ignore_index=255, reduction="sum") / known.sum()
    p = (logits.softmax(1) * known[:, None])[:, 1:]
    t = (F.one_hot(labels.masked_fill(~known, 0), 3).permute(0, 3, 1, 2) * known[:, None])[:, 1:]
    axes = (0, 2, 3)
    dice = (2 * (p * t).sum(axes) + 1e-5) / (p.sum(axes) + t.sum(axes) + 1e-5)
    return entropy, 1 - dice.mean()


def test_every_level_is_compared_with_labels_of_its_size() -> None:
    """Theirs are made smaller by "nearest-exact"; weights are 2/3 and 1/3, and nothing for the coarsest."""
    torch.manual_seed(0)
    described: dict[str, Any] = _model(plans("plain")["configurations"]["2d"], 3, 2)
    config = {"model": {"type": "EncoderDecoder", "data_preprocessor": {"mean": [0, 0], "std": [1, 1]}, **described}}
    task = build_task(lower(Config.from_values(config, file="plans")))
    images, labels = torch.randn(2, 2, *SIZE), torch.randint(3, (2, *SIZE))
    labels[0, :3] = 255
    batch = Batch(images=images, labels=labels, sizes=(SIZE, SIZE), metas=(SampleMeta(), SampleMeta()))
    terms = {term.name: (term.value, term.weight) for term in task.training_terms(batch)}
    maps = outputs_of(task.model, images)  # type: ignore[arg-type]
    for level, share in ((0, 2 / 3), (1, 1 / 3)):
        smaller = F.interpolate(labels[:, None].double(), maps[level].shape[2:], mode="nearest-exact")[:, 0].long()
        names = ("loss_ce", "loss_dice") if not level else ("pointloss_ce.level_1", "pointloss_dice.level_1")
        for name, expected in zip(names, theirs_on(maps[level], smaller), strict=True):
            value, weight = terms[f"decode.{name}"]
            torch.testing.assert_close(value, expected)
            assert weight == pytest.approx(share)
    others = {name for name, (_, weight) in terms.items() if weight == 0}
    assert others == {"decode.acc_seg"}


def test_dice_of_a_batch() -> None:
    """By hand: of two images, the class is in one alone, and a class that nobody sees or has costs nothing."""
    logits = torch.tensor([[0.0, 9, -9], [9, 0, -9]]).mul(10).view(2, 3, 1, 1).expand(2, 3, 1, 2)
    target = torch.tensor([[[1, 1]], [[0, 1]]])
    assert BatchDiceLoss()(logits, target).item() == pytest.approx((1 - 4 / 5) / 2, abs=1e-4)
    assert BatchDiceLoss(background=None)(logits, target).item() == pytest.approx((1 / 3 + 1 / 5) / 3, abs=1e-4)
    ignored = torch.tensor([[[1, 1]], [[0, 255]]])
    assert BatchDiceLoss()(logits, ignored).item() == pytest.approx(0, abs=1e-4)


def test_dice_of_one_logit_is_that_of_its_class() -> None:
    torch.manual_seed(0)
    logit, target = torch.randn(2, 1, 4, 5), torch.randint(2, (2, 4, 5))
    both = torch.cat([torch.zeros_like(logit), logit], dim=1)
    torch.testing.assert_close(BatchDiceLoss()(logit, target), BatchDiceLoss()(both, target))


def test_dice_without_a_class_is_refused() -> None:
    with pytest.raises(ValueError, match="no class left of 2"):
        BatchDiceLoss(ignore_index=1)(torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, dtype=torch.long))


# --- Networks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_any_size(kind: str) -> None:
    model = network(kind).eval()
    for size in ((13, 27), (model.backbone.least_size, 9)):  # type: ignore[attr-defined]
        with torch.no_grad():
            assert model(torch.randn(1, 2, *size)).shape == (1, 3, *size)


def test_levels_state_the_larger_stride() -> None:
    assert [(level.channels, level.stride) for level in network("plain").backbone.features] == [
        (4, 1), (6, 2), (8, 4), (10, 8)
    ]  # fmt: skip


def test_a_residual_block_adds_nothing_at_first() -> None:
    encoder = ResidualEncoder(in_channels=1, channels=(4, 4), strides=(1, 1), num_blocks=(1, 2))
    x = torch.randn(1, 4, 6, 6)
    block = encoder.stages[1][1]  # type: ignore[index]
    torch.testing.assert_close(block(x), F.leaky_relu(x, 0.01))


@pytest.mark.parametrize("encoder", [PlainConvEncoder, ResidualEncoder])
def test_lists_of_different_lengths_are_refused(encoder: Any) -> None:
    with pytest.raises(ValueError, match=r"their lengths are channels 2, kernel_sizes 2, strides 8, num_"):
        encoder(channels=(4, 8))


def test_a_head_of_one_level_is_refused() -> None:
    with pytest.raises(ValueError, match="reads two levels or more"):
        NNUNetHead(in_channels=CHANNELS[:1], in_index=[0], num_classes=2)
