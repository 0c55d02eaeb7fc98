"""K-Net written out pixel by pixel and kernel by kernel, and what its parts refuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from intarsia.backbones.resnet import ResNet
from intarsia.layers.norm import BN
from intarsia.methods.deeplabv3 import ASPPHead
from intarsia.methods.fcn import FCNHead
from intarsia.methods.knet import IterativeDecodeHead, KernelUpdateHead, KernelUpdator
from intarsia.methods.pspnet import PSPHead
from intarsia.methods.upernet import UPerHead
from intarsia.models.encoder_decoder import EncoderDecoder

CHANNELS = 8


def scattered(module: nn.Module) -> Any:
    """In double precision, no parameter at a value that would hide what it is for."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module.double().eval()


def update(**more: Any) -> KernelUpdateHead:
    updator = more.pop("kernel_updator", None) or KernelUpdator(in_channels=4, feat_channels=6)
    arguments = {"in_channels": CHANNELS, "num_heads": 2, "num_mask_fcs": 1, "feedforward_channels": 5, **more}
    return KernelUpdateHead(kernel_updator=updator, **arguments)


def network(rounds: int = 2, **more: Any) -> IterativeDecodeHead:
    generate = FCNHead(in_channels=4, channels=CHANNELS, num_classes=3, in_index=0, norm=BN, align_corners=True)
    return IterativeDecodeHead(
        kernel_generate_head=generate, kernel_update_head=[update() for _ in range(rounds)], **more
    )


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """A map, kernels, and their masks as logits."""
    torch.manual_seed(1)
    shapes = ((2, CHANNELS, 3, 5), (2, 4, CHANNELS), (2, 4, 3, 5))
    x, kernels, logits = (torch.randn(shape, dtype=torch.float64) for shape in shapes)
    return x, kernels, logits


# --- One round ----------------------------------------------------------------------------------------------------


def mixed(updator: KernelUpdator, kernel: Tensor, gathered: Tensor) -> Tensor:
    """The paper's update of one kernel (D,) by what it gathered (D,)."""
    width = updator.input_gate.in_features
    weight, bias = updator.dynamic_layer.weight, updator.dynamic_layer.bias
    of_gathered = [weight[part] @ gathered + bias[part] for part in (slice(width), slice(width, None))]
    weight, bias = updator.input_layer.weight, updator.input_layer.bias
    of_kernel = [weight[part] @ kernel + bias[part] for part in (slice(width), slice(width, None))]
    match = of_gathered[0] * of_kernel[0]
    gate_of_gathered = torch.sigmoid(updator.norm_in(updator.update_gate(match)))
    gate_of_kernel = torch.sigmoid(updator.input_norm_in(updator.input_gate(match)))
    sum_of_both = gate_of_gathered * updator.norm_out(of_gathered[1])
    sum_of_both = sum_of_both + gate_of_kernel * updator.input_norm_out(of_kernel[1])
    return updator.fc_norm(updator.fc_layer(sum_of_both)).clamp(min=0)


@pytest.mark.parametrize("feat_transform", [False, True])
def test_one_round_written_out(feat_transform: bool) -> None:
    head = scattered(update(feat_transform=feat_transform, num_mask_fcs=2))
    x, kernels, logits = inputs()
    found_kernels, found_masks = head(x, kernels, logits)
    if feat_transform:
        conv = head.feat_transform.conv
        x = torch.einsum("dc,nchw->ndhw", conv.weight[:, :, 0, 0], x) + conv.bias.view(-1, 1, 1)
    shares = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    for n in range(2):
        updated = []
        for k in range(4):
            gathered = sum(shares[n, k, i, j] * x[n, :, i, j] for i in range(3) for j in range(5))
            groups = [
                mixed(head.kernel_update_conv, kernels[n, k, part], gathered[part])
                for part in (slice(4), slice(4, None))
            ]
            updated.append(torch.cat(groups))
        new = torch.stack(updated).unsqueeze(0)  # (1, K, C)
        reference = nn.MultiheadAttention(CHANNELS, 2, batch_first=True).double()
        reference.load_state_dict(head.attention.attn.state_dict())
        new = head.attention_norm(new + reference(new, new, new, need_weights=False)[0])
        new = head.ffn_norm(new + head.ffn.layers[1](head.ffn.layers[0](new)))
        torch.testing.assert_close(found_kernels[n], new[0])
        filters = new[0]
        for linear, norm in ((0, 1), (3, 4)):
            filters = head.mask_fcs[norm](head.mask_fcs[linear](filters)).clamp(min=0)
        filters = head.fc_mask(filters)
        masks = torch.stack([(x[n] * kernel.view(-1, 1, 1)).sum(dim=0) for kernel in filters])
        torch.testing.assert_close(found_masks[n], masks)


def test_masks_share_every_pixel() -> None:
    """Raising all logits of a pixel changes nothing: kernels compete for it."""
    head = scattered(update())
    x, kernels, logits = inputs()
    shifted = logits + torch.randn(2, 1, 3, 5, dtype=torch.float64)
    torch.testing.assert_close(head(x, kernels, shifted), head(x, kernels, logits))


def test_order_of_kernels_does_not_matter() -> None:
    head = scattered(update())
    x, kernels, logits = inputs()
    order = torch.tensor([2, 0, 3, 1])
    shuffled = head(x, kernels[:, order], logits[:, order])
    torch.testing.assert_close(shuffled, tuple(output[:, order] for output in head(x, kernels, logits)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"out_channels": 4}, "in_channels=8, so out_channels is the same; got 4"),
        ({"kernel_updator": KernelUpdator(in_channels=3)}, "turns 3 into 3"),
        ({"kernel_updator": KernelUpdator(in_channels=8, out_channels=4)}, "turns 8 into 4"),
        ({"num_heads": 3}, "8 channels cannot be divided among 3"),
    ],
)
def test_channels_of_a_round_that_do_not_fit(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        update(**arguments)


def test_updator_normalises_vectors() -> None:
    with pytest.raises(ValueError, match="its norm is LN; got BN"):
        KernelUpdator(norm=BN)


# --- All rounds ---------------------------------------------------------------------------------------------------


def test_the_first_kernels_are_the_classifier() -> None:
    head = scattered(network())
    features = [torch.randn(2, 4, 6, 7, dtype=torch.float64)]
    outputs = head.training_outputs(features)
    assert list(outputs) == ["s0", "s1", "s2"]
    first = head.kernel_generate_head
    torch.testing.assert_close(outputs["s0"], first(features))
    kernels = first.conv_seg.weight[:, :, 0, 0].repeat(2, 1, 1)
    kernels, logits = head.kernel_update_head[0](first.fused(features), kernels, outputs["s0"])
    torch.testing.assert_close(outputs["s1"], logits)
    kernels, logits = head.kernel_update_head[1](first.fused(features), kernels, logits)
    torch.testing.assert_close(outputs["s2"], logits)
    torch.testing.assert_close(head(features), logits)


def test_dropout_is_the_classifiers_alone() -> None:
    """Kernels see the whole map. Without any channel, the first masks are the classifier's biases."""
    head = scattered(network(rounds=1))
    features = [torch.randn(2, 4, 6, 7, dtype=torch.float64)]
    first = head.kernel_generate_head
    whole = first.fused(features)
    first.dropout = nn.Dropout2d(1.0).train()
    outputs = head.training_outputs(features)
    biases = first.conv_seg.bias.view(1, -1, 1, 1).expand(2, -1, 6, 7)
    torch.testing.assert_close(outputs["s0"], biases)
    kernels = first.conv_seg.weight[:, :, 0, 0].repeat(2, 1, 1)
    torch.testing.assert_close(outputs["s1"], head.kernel_update_head[0](whole, kernels, biases)[1])


@pytest.mark.parametrize(
    "generate",
    [
        FCNHead(in_channels=16, channels=CHANNELS, num_classes=3, in_index=2, num_convs=1),
        PSPHead(in_channels=32, channels=CHANNELS, num_classes=3, in_index=3, pool_scales=(1, 2)),
        ASPPHead(in_channels=32, channels=CHANNELS, num_classes=3, in_index=3, dilations=(1, 2)),
        UPerHead(in_channels=(4, 8, 16, 32), channels=CHANNELS, num_classes=3, pool_scales=(1, 2)),
    ],
    ids=lambda head: type(head).__name__,
)
def test_every_head_that_classifies_one_map_can_begin(generate: Any) -> None:
    head = IterativeDecodeHead(kernel_generate_head=generate, kernel_update_head=[update()])
    model = EncoderDecoder(backbone=ResNet(18, base_channels=4, stem_channels=4), decode_head=head).eval()
    images = torch.randn(2, 3, 40, 72)
    with torch.no_grad():
        outputs = model.training_outputs(images)
        assert list(outputs) == ["decode.s0", "decode.s1"]
        first = generate(model.backbone(images))
        assert isinstance(outputs["decode.s0"], Tensor)
        torch.testing.assert_close(outputs["decode.s0"], first)
        assert model(images).shape == first.shape


def test_what_the_first_head_reads_is_what_the_whole_reads() -> None:
    head = network()
    assert (head.in_index, head.in_channels, head.num_classes, head.align_corners) == (0, 4, 3, True)


def test_rounds_must_be_there_and_fit() -> None:
    with pytest.raises(ValueError, match="got 2 in kernel_update_head and num_stages=3"):
        network(num_stages=3)
    with pytest.raises(ValueError, match="needs one update head or more"):
        network(rounds=0)
    generate = FCNHead(in_channels=4, channels=6, num_classes=3)
    with pytest.raises(
        ValueError, match=r"kernel_update_head.1 expects in_channels=8, but the map of the FCNHead has 6"
    ):
        IterativeDecodeHead(
            kernel_generate_head=generate,
            kernel_update_head=[update(in_channels=6, kernel_updator=KernelUpdator(in_channels=3)), update()],
        )
