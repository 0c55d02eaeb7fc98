"""Segmenter's mask transformer: what a logit is, and what the class tokens do."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.layers.drop_path import DropPath
from intarsia.methods.segmenter import SegmenterMaskTransformerHead


def head() -> SegmenterMaskTransformerHead:
    torch.manual_seed(0)
    made = SegmenterMaskTransformerHead(in_channels=6, num_layers=2, num_heads=2, embed_dims=8, num_classes=5)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made.eval()


def test_a_logit_is_how_alike_a_patch_and_a_class_are_among_the_classes() -> None:
    made, x = head(), torch.randn(2, 6, 3, 4)
    tokens: list[Tensor] = []
    made.decoder_norm.register_forward_hook(lambda layer, given, output: tokens.append(output))
    found = made([torch.randn(2, 6, 6, 8), x])
    patches, classes = made.patch_proj(tokens[0][:, :12]), made.classes_proj(tokens[0][:, 12:])
    alike = F.cosine_similarity(patches[:, :, None], classes[:, None], dim=3)  # (N, L, K)
    assert found.shape == (2, 5, 3, 4)
    torch.testing.assert_close(found.flatten(2).transpose(1, 2), made.mask_norm(alike))


def test_classes_in_another_order_give_logits_in_that_order() -> None:
    made, x = head(), torch.randn(2, 6, 3, 4)
    torch.nn.init.ones_(made.mask_norm.weight)  # type: ignore[arg-type]
    torch.nn.init.zeros_(made.mask_norm.bias)  # type: ignore[arg-type]
    before, order = made([x]), torch.tensor([3, 0, 4, 1, 2])
    with torch.no_grad():
        made.cls_emb.copy_(made.cls_emb[:, order])
    torch.testing.assert_close(made([x]), before[:, order])


def test_depth_is_dropped_linearly_and_one_layer_keeps_its_own() -> None:
    def rates(layers: int) -> list[float]:
        made = SegmenterMaskTransformerHead(in_channels=6, num_layers=layers, num_heads=2, embed_dims=8, num_classes=5)
        return [layer.rate for layer in made.modules() if isinstance(layer, DropPath)]

    assert rates(3) == [0.0, 0.05, 0.1]
    assert rates(1) == [0.0]


def test_the_start_is_as_wide_as_the_argument_says() -> None:
    torch.manual_seed(0)
    made = SegmenterMaskTransformerHead(
        in_channels=64, num_layers=1, num_heads=2, embed_dims=64, num_classes=40, init_std=0.3
    )
    for parameter in (made.cls_emb, made.dec_proj.weight, made.patch_proj.weight, made.classes_proj.weight):
        assert abs(parameter.std().item() / 0.3 - 1) < 0.1
