"""VPD: levels of padded images, words and scenes as context, published weights; its head of depth."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.contracts import FeatureSpec
from intarsia.methods.vpd import VPD, VPDDepthHead
from intarsia.weights.legacy_names import with_present_names

SMALL: dict[str, Any] = {
    "first_stage_channels": 32, "first_stage_channel_mult": (1, 1, 1, 1), "first_stage_num_res_blocks": 1,
    "model_channels": 32, "channel_mult": (1, 2, 2, 3), "num_heads": 4, "context_dim": 16, "num_class_embeddings": 3,
}  # fmt: skip


def network(**changes: Any) -> VPD:
    torch.manual_seed(0)
    made = VPD(**{**SMALL, **changes})
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return made.double().eval()


def test_levels_are_those_of_the_unet() -> None:
    made = network(attention_maps=())
    assert made.features == (FeatureSpec(32, 8), FeatureSpec(64, 16), FeatureSpec(64, 32), FeatureSpec(96, 64))
    shapes = [tuple(level.shape) for level in made(torch.randn(2, 3, 100, 130).double())]
    assert shapes == [(2, 32, 13, 17), (2, 64, 7, 9), (2, 64, 4, 5), (2, 96, 2, 3)]


@pytest.mark.parametrize(
    ("changes", "channels"),
    [
        ({}, (32, 64 + 3, 64 + 3, 96)),
        ({"attention_stride": 8, "attention_maps": ("up",)}, (32 + 3, 64 + 3, 64 + 3, 96)),
        ({"attention_stride": 32}, (32, 64, 64 + 3, 96)),
        ({"class_embed_select": True}, (32, 64 + 1, 64 + 1, 96)),
    ],
)
def test_levels_are_joined_with_how_much_a_pixel_attends_to_each_word(
    changes: dict[str, Any], channels: tuple[int, ...]
) -> None:
    made, bare = network(**changes), network(**{**changes, "attention_maps": ()})
    bare.load_state_dict(made.state_dict())
    images = torch.randn(2, 3, 100, 130).double()
    levels = made(images)
    assert [spec.channels for spec in made.features] == [level.shape[1] for level in levels] == list(channels)
    for level, alone in zip(levels, bare(images), strict=True):
        torch.testing.assert_close(level[:, : alone.shape[1]], alone, rtol=1e-9, atol=1e-9)
        maps = level[:, alone.shape[1] :]
        if maps.shape[1]:
            torch.testing.assert_close(maps.sum(dim=1), torch.ones_like(maps[:, 0]))  # a pixel attends once
            assert maps.min() >= 0


def test_maps_of_the_published_network_have_the_papers_channels() -> None:
    """150 words of ADE20K, as the paper's FPN reads them: 320, 790, 1430 and 1280 channels."""
    with torch.device("meta"):
        made, bare = VPD(num_class_embeddings=150), VPD(num_class_embeddings=150, attention_maps=())
    assert [spec.channels for spec in made.features] == [320, 640 + 150, 1280 + 150, 1280]
    assert {n: p.shape for n, p in made.named_parameters()} == {n: p.shape for n, p in bare.named_parameters()}


@pytest.mark.parametrize("pad_shape", [64, (64, 64)])
def test_small_images_are_padded_below_and_to_the_right(pad_shape: Any) -> None:
    images = torch.rand(1, 3, 50, 70).double()
    padded = F.pad(images, (0, 2, 0, 14), value=0.5)  # whole latents, 64 x 72
    for found, expected in zip(network(pad_shape=pad_shape, pad_val=0.5)(images), network()(padded), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_an_image_attends_to_its_scene_or_to_the_mean_of_all() -> None:
    made, images = network(class_embed_select=True), torch.rand(3, 3, 64, 64).double()
    assert made.class_embeddings.shape == (4, 16)
    together = made(images, torch.tensor([2, -1, 0]))
    for number, scene in enumerate((2, 3, 0)):
        alone = made(images[number : number + 1], torch.tensor([scene]))
        torch.testing.assert_close(together[0][number], alone[0][0])
    torch.testing.assert_close(made(images)[0], made(images, torch.tensor([-1, 3, 3]))[0])
    assert not together[0].allclose(made(images)[0])


def test_without_scenes_an_image_attends_to_all_words() -> None:
    made, images = network(), torch.rand(2, 3, 64, 64).double()
    context = made._context(images, None)
    adapted = made.class_embeddings + made.gamma * made.text_adapter["fc"](made.class_embeddings)
    assert context.shape == (2, 3, 16)
    torch.testing.assert_close(context, adapted.expand(2, -1, -1))


def test_the_encoder_is_frozen() -> None:
    made = network()
    sum(level.sum() for level in made(torch.rand(1, 3, 64, 64).double())).backward()
    assert all(p.grad is None and not p.requires_grad for p in made.encoder_vq.parameters())
    assert made.gamma.grad is not None


def published(made: VPD) -> dict[str, Tensor]:
    """The state dict as MMSegmentation writes it, with what makes images."""
    never_run = ("encoder_vq.decoder.conv_in.weight", "encoder_vq.post_quant_conv.bias",
                 "unet.unet.diffusion_model.out.2.weight")  # fmt: skip
    return {**made.state_dict(), **{name: torch.zeros(1) for name in never_run}}


def test_published_weights_load_without_what_is_never_run() -> None:
    made, state = network(), published(network())
    made.load_state_dict(state)
    assert len(state) == len(made.state_dict()) + 3
    whole = {f"backbone.{name}": value for name, value in state.items()} | {"decode_head.conv2.bias": torch.zeros(1)}
    found, notes = with_present_names(whole)
    assert set(found) == {f"backbone.{name}" for name in made.state_dict()} | {"decode_head.conv2.bias"}
    assert notes


def test_stable_diffusion_s_own_weights_are_those_of_the_backbone() -> None:
    made = network()
    own = {
        **{f"first_stage_model.{name}": value for name, value in made.encoder_vq.state_dict().items()},
        **{f"model.{name}": value for name, value in made.unet["unet"].state_dict().items()},  # type: ignore[index]
    }
    unused = ("first_stage_model.decoder.conv_in.weight", "first_stage_model.post_quant_conv.weight",
              "cond_stage_model.transformer.text_model.final_layer_norm.bias", "model.diffusion_model.out.0.weight",
              "betas", "alphas_cumprod", "model_ema.decay", "logvar", "posterior_mean_coef1")  # fmt: skip
    found, _ = with_present_names({**own, **{name: torch.zeros(1) for name in unused}})
    kept = {name for name in made.state_dict() if name.startswith(("encoder_vq.", "unet."))}
    assert set(found) == {f"backbone.{name}" for name in kept}
    assert all(value.equal(made.state_dict()[name.removeprefix("backbone.")]) for name, value in found.items())


# --- The head -----------------------------------------------------------------------------------------------------

LEVELS = ((16, 16), (24, 8), (32, 4), (32, 2))
HEAD: dict[str, Any] = {
    "in_channels": [channels for channels, _ in LEVELS], "embed_dim": 16, "feature_dim": 128,
    "num_deconv_filters": (8, 12, 16),
}  # fmt: skip


def head(**changes: Any) -> VPDDepthHead:
    torch.manual_seed(0)
    made = VPDDepthHead(**{**HEAD, **changes})
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made.double().eval()


def test_depths_lie_in_the_range_and_have_the_images_size() -> None:
    levels = [torch.randn(2, channels, side, side).double() for channels, side in LEVELS]
    depth = head(max_depth=4.0)(levels)
    assert depth.shape == (2, 1, 128, 128)
    assert 0 < depth.min() < depth.max() < 4
    torch.testing.assert_close(head(max_depth=8.0)(levels), 2 * depth)


def test_the_border_is_left_out_before_anything_is_enlarged() -> None:
    levels = [torch.randn(1, channels, side, side).double() for channels, side in LEVELS]
    assert head(fmap_border=1)(levels).shape == (1, 1, 96, 96)
    cut = head(fmap_border=(1, 0))
    assert cut(levels).shape == (1, 1, 96, 128)
    seen: list[Tensor] = []
    cut.decoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    whole = head()
    whole.decoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    cut(levels), whole(levels)
    torch.testing.assert_close(seen[0], seen[1][:, :, :3])


def test_the_coarsest_level_is_enlarged_by_its_nearest_pixels() -> None:
    levels = [torch.randn(1, channels, side, side).double() for channels, side in LEVELS]
    made, seen = head(), []
    made.conv_aggregation[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    made(levels)
    expected = levels[3].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(seen[0][:, -32:], expected)
    torch.testing.assert_close(seen[0][:, 40:72], levels[2])
    torch.testing.assert_close(seen[0][:, 16:40], made.conv2(levels[1]))
    torch.testing.assert_close(seen[0][:, :16], made.conv1(levels[0]))


def test_a_head_starts_in_the_middle_of_its_range() -> None:
    torch.manual_seed(0)
    made = VPDDepthHead(**HEAD, max_depth=6.0).eval()
    depth = made([torch.randn(1, channels, side, side) for channels, side in LEVELS])
    assert math.isclose(depth.mean().item(), 3.0, abs_tol=0.05)


def test_maps_of_a_level_that_there_is_not_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one of \[8, 16, 32, 64\]; got 4"):
        VPD(**SMALL, attention_stride=4)
    VPD(**SMALL, attention_stride=4, attention_maps=())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"in_channels": (8, 8, 8)}, "four levels"),
        ({"embed_dim": 8}, "eight times embed_dim"),
        ({"num_deconv_layers": 2}, "3 entries for 2 layers"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        VPDDepthHead(**{**HEAD, **changes})
