"""ViT beyond what the reference figures cover: sizes of the papers, tokens, norms, positions, frozen parts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from intarsia.backbones.vit import VisionTransformer
from intarsia.contracts import FeatureSpec, Level, TokenLevel
from intarsia.layers.drop_path import DropPath


def small(**arguments: Any) -> VisionTransformer:
    torch.manual_seed(0)
    given = {"img_size": (32, 48), "patch_size": 8, "embed_dims": 12, "num_layers": 3, "num_heads": 3, "mlp_ratio": 2}
    backbone = VisionTransformer(**{**given, **arguments})
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return backbone.eval()


def images(height: int = 32, width: int = 48) -> Tensor:
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def only(levels: tuple[Level, ...]) -> Tensor:
    (level,) = levels
    assert isinstance(level, Tensor)
    return level


@pytest.mark.parametrize(
    ("arguments", "millions"),  # of the papers, which count the classifier of 1000 classes
    [
        ({}, 86),
        ({"embed_dims": 1024, "num_layers": 24, "num_heads": 16}, 304),
        ({"embed_dims": 384, "num_heads": 6}, 22),
        ({"embed_dims": 192, "num_heads": 3}, 5.5),
    ],
)
def test_sizes_of_the_papers(arguments: dict[str, Any], millions: float) -> None:
    with torch.device("meta"):
        backbone = VisionTransformer(**arguments)
    assert sum(p.numel() for p in backbone.parameters()) / 1e6 == pytest.approx(millions, rel=0.02)


def test_the_last_layer_is_what_comes_out_unless_others_are_named() -> None:
    whole = small(out_indices=(0, 2))(images())
    assert only(small()(images())).equal(whole[1])
    assert only(small(out_indices=0)(images())).equal(whole[0])
    assert not whole[0].equal(whole[1])
    assert small(out_indices=(0, 2)).features == (FeatureSpec(12, 8),) * 2


@pytest.mark.parametrize("indices", [3, -2, (0, 3), (-1,), ()])
def test_layers_that_do_not_exist_are_refused(indices: Any) -> None:
    with pytest.raises(ValueError, match="out_indices must name layers from 0 to 2, or be -1"):
        small(out_indices=indices)


def test_what_the_first_layer_reads_can_come_out_first() -> None:
    backbone = small(out_origin=True, pre_norm=True)
    origin, last = backbone(images())
    patches = backbone.patch_embed(images()) + backbone.pos_embed[:, 1:].unflatten(1, (4, 6))
    torch.testing.assert_close(origin, backbone.ln_pre(patches).permute(0, 3, 1, 2))
    assert backbone.features == (FeatureSpec(12, 8),) * 2
    assert last.equal(only(small(pre_norm=True)(images())))


# --- The class token ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seen", [True, False])
def test_patches_see_the_class_token_unless_it_is_taken_away(seen: bool) -> None:
    backbone = small(with_cls_token=seen)
    before = only(backbone(images()))
    with torch.no_grad():
        backbone.cls_token.add_(1.0)
    assert only(backbone(images())).equal(before) is not seen


def test_the_class_token_comes_with_each_level() -> None:
    backbone = small(output_cls_token=True, out_indices=(0, 2), final_norm=True)
    collected: list[Tensor] = []
    for layer in (backbone.layers[0], backbone.ln1):
        assert layer is not None
        layer.register_forward_hook(lambda layer, given, output: collected.append(output))
    levels = backbone(images())
    assert backbone.features == (FeatureSpec(12, 8, tokens=True),) * 2
    for level, tokens in zip(levels, collected, strict=True):
        assert isinstance(level, TokenLevel)
        assert level.token.equal(tokens[:, 0])
        assert level.map.equal(tokens[:, 1:].transpose(1, 2).unflatten(2, (4, 6)))


def test_a_class_token_that_is_taken_away_cannot_come_out() -> None:
    with pytest.raises(ValueError, match="needs with_cls_token=True"):
        small(output_cls_token=True, with_cls_token=False)


# --- Norms, positions, depth ----------------------------------------------------------------------------------------


def test_only_the_last_layer_has_a_norm_behind_it() -> None:
    plain, normed = small(out_indices=(1, 2)), small(out_indices=(1, 2), final_norm=True)
    normed.load_state_dict(plain.state_dict(), strict=False)
    assert normed.ln1 is not None
    torch.nn.init.normal_(normed.ln1.weight)
    middle, last = plain(images())
    assert normed(images())[0].equal(middle)
    torch.testing.assert_close(normed(images())[1], normed.ln1(last.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


def test_positions_belong_to_a_grid_and_not_to_a_number_of_patches() -> None:
    """Of 4 x 6 patches there are as many as of 6 x 4; MMSegmentation takes the one for the other."""
    backbone = small()
    with torch.no_grad():
        backbone.patch_embed.projection.weight.zero_()
        backbone.pos_embed.copy_(torch.arange(25.0)[None, :, None] / 25)
        for layer in backbone.layers:
            layer.attn.attn.out_proj.weight.zero_()  # every token by itself
    wide, high = only(backbone(images(32, 48))), only(backbone(images(48, 32)))
    assert not torch.allclose(high.flatten(2), wide.flatten(2))


@pytest.mark.parametrize("size", [(1, 1), (33, 47), (80, 24)])
def test_images_of_any_size(size: tuple[int, int]) -> None:
    assert only(small()(images(*size))).shape == (2, 12, -(-size[0] // 8), -(-size[1] // 8))


def test_a_square_may_be_given_by_its_side() -> None:
    assert small(img_size=40).pos_embed.shape == (1, 26, 12)


@pytest.mark.parametrize(("pad", "moved"), [("corner", 0), ("same", 2)])
def test_patches_are_padded_where_it_says(pad: Any, moved: int) -> None:
    """4 pixels are missing: as if the image lay at another place of a larger one."""
    image = images(28, 44)
    padded = torch.nn.functional.pad(image, (moved, 4 - moved, moved, 4 - moved))
    torch.testing.assert_close(only(small(patch_pad=pad)(image)), only(small(patch_pad=pad)(padded)))


def test_what_is_left_of_a_patch_is_left_out_where_zeros_are_counted() -> None:
    image = images(32, 48)
    wide = torch.nn.functional.pad(image, (0, 7, 0, 7), value=5.0)
    torch.testing.assert_close(only(small(patch_pad=0)(wide)), only(small()(image)))
    framed = torch.nn.functional.pad(image, (4, 4, 4, 4))
    torch.testing.assert_close(only(small(patch_pad=4)(image)), only(small()(framed)))


def test_depth_is_dropped_linearly() -> None:
    rates = [layer.rate for layer in small(drop_path_rate=0.4).modules() if isinstance(layer, DropPath)]
    assert rates == pytest.approx([0.0, 0.2, 0.4])
    assert [layer.rate for layer in small(num_layers=1).modules() if isinstance(layer, DropPath)] == [0.0]


# --- What is learned ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exclude", "learned"),
    [
        (("all",), "all"),
        ((), "none"),
        (("pos_embed",), "pos_embed"),
        (("ln", "all"), "all"),
        (("layers.1.",), "layers.1."),
    ],
)
def test_all_but_what_is_excluded_is_frozen(exclude: tuple[str, ...], learned: str) -> None:
    for name, parameter in small(frozen_exclude=exclude).named_parameters():
        assert parameter.requires_grad is (learned == "all" or learned in name), name


def test_optional_parts_have_their_published_names() -> None:
    base = set(small().state_dict())
    for arguments, names in (
        ({"pre_norm": True}, {"ln_pre.weight", "ln_pre.bias"}),
        ({"final_norm": True}, {"ln1.weight", "ln1.bias"}),
        ({"patch_bias": True}, {"patch_embed.projection.bias"}),
        ({"patch_norm": True}, {"patch_embed.norm.weight", "patch_embed.norm.bias"}),
    ):
        assert set(small(**arguments).state_dict()) - base == names
    assert list(small(pre_norm=True).state_dict())[2:5] == ["patch_embed.projection.weight", "ln_pre.weight",
                                                            "ln_pre.bias"]  # fmt: skip


def test_a_bias_of_the_patches_starts_at_nothing() -> None:
    bias = VisionTransformer(embed_dims=12, num_heads=3, num_layers=1, patch_bias=True).patch_embed.projection.bias
    assert bias is not None
    assert not bias.any()
