"""The assembly of an encoder of images, one of text, and a head that compares what they give."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from intarsia.backbones.clip_text import CLIPTextEncoder
from intarsia.backbones.vit import VisionTransformer
from intarsia.methods.san import SideAdapterCLIPHead
from intarsia.models.multimodal import MultimodalEncoderDecoder

NAMES = ("cat", "dog", "sky", "road", "tree")
HEAD: dict[str, Any] = {
    "num_classes": 5, "clip_channels": 8, "embed_dims": 12, "num_queries": 7, "num_layers": 4, "num_heads": 2,
    "mlp_ratio": 2, "bias_heads": 2, "mask_channels": 8, "mask_hidden": 8, "clip_layers": 1, "clip_heads": 2,
    "clip_mlp_ratio": 2, "out_dims": 6, "deep_supervision_idxs": (3,),
}  # fmt: skip


def parts(
    image: dict[str, Any] | None = None, text: dict[str, Any] | None = None, head: dict[str, Any] | None = None
) -> dict[str, nn.Module]:
    torch.manual_seed(0)
    seen = {"img_size": 64, "patch_pad": 0, "embed_dims": 8, "num_layers": 4, "num_heads": 2, "mlp_ratio": 2,
            "out_indices": (0, 1, 2, 3), "output_cls_token": True, **(image or {})}  # fmt: skip
    read = {"vocabulary": NAMES, "templates": ("a {}",), "context_length": 8, "embed_dims": 8, "output_dims": 6,
            "num_layers": 1, "num_heads": 2, "mlp_ratio": 2, **(text or {})}  # fmt: skip
    return {
        "image_encoder": VisionTransformer(**seen),
        "text_encoder": CLIPTextEncoder(**read),
        "decode_head": SideAdapterCLIPHead(**{**HEAD, **(head or {})}),
    }


def network(**arguments: Any) -> MultimodalEncoderDecoder:
    return MultimodalEncoderDecoder(**parts(), **arguments).double().eval()


def test_gives_classes_at_the_images_own_size() -> None:
    images = torch.randn(2, 3, 65, 97).double()
    assert network(encoder_resolution=0.5)(images).shape == (2, 5, 65, 97)
    answers = network(encoder_resolution=0.5).queries(images)
    assert [tuple(one.class_logits.shape) for one in answers] == [(2, 7, 6)] * 2


@pytest.mark.parametrize(("resolution", "side"), [(0.5, 48), (0.7, 67), (1.0, 96), (1.5, 144)])
def test_the_encoder_gets_the_image_at_its_own_resolution(resolution: float, side: int) -> None:
    model = network(encoder_resolution=resolution)
    seen: list[torch.Tensor] = []
    model.image_encoder.register_forward_hook(lambda part, args, output: seen.append(args[0]))
    images = torch.randn(1, 3, 96, 96).double()
    model(images)
    assert seen[0].shape == (1, 3, side, side)
    if resolution == 1.0:
        assert seen[0].equal(images)


def test_one_size_for_both_where_that_is_wanted() -> None:
    model = network(encoder_resolution=0.5, asymetric_input=False)
    images = torch.randn(1, 3, 64, 64).double()
    assert model(images).equal(network()(images))


@pytest.mark.parametrize(("resolution", "patch", "least"), [(0.5, 16, 32), (0.7, 14, 20), (1.0, 16, 16), (2.0, 16, 16)])
def test_the_smallest_image_goes_through(resolution: float, patch: int, least: int) -> None:
    model = MultimodalEncoderDecoder(**parts(image={"patch_size": patch}), encoder_resolution=resolution).eval()
    assert model.least_size == least
    model(torch.randn(1, 3, least, least))
    with pytest.raises(RuntimeError):
        model(torch.randn(1, 3, least - 1, least - 1))


def test_the_order_of_the_names_is_the_order_of_the_classes() -> None:
    model = network()
    turned = MultimodalEncoderDecoder(**parts(text={"vocabulary": NAMES[::-1]})).double().eval()
    turned.load_state_dict(model.state_dict())
    images = torch.randn(1, 3, 64, 64).double()
    torch.testing.assert_close(turned(images), model(images).flip(1))


def test_constants_are_computed_before_they_are_asked_for() -> None:
    model = network()
    assert model.text_encoder._kept is None
    model.compute_constants()
    assert model.text_encoder._kept is not None


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({"text": {"output_dims": 4}}, {}, "compares vectors of 6 channels, but text_encoder CLIPTextEncoder gives 4"),
        ({"text": {"vocabulary": NAMES[:3]}}, {}, "has num_classes=5 and needs one vector more.* gives 4"),
        ({"text": {"cat_bg": False}}, {}, "has num_classes=5 and needs one vector more.* gives 5"),
        ({"image": {"output_cls_token": False}}, {}, "reads a class token with each level, but image_encoder Vision"),
        ({"image": {"embed_dims": 16}}, {}, "expects in_channels=8 at level 0, but image_encoder .* gives 16"),
        ({"image": {"out_indices": (0, 1)}}, {}, r"reads level 2 \(in_index\), but image_encoder .* gives 2 levels"),
        ({}, {"encoder_resolution": 0.0}, "encoder_resolution is a part of the image's side, above 0; got 0"),
    ],
)
def test_parts_that_do_not_fit(changes: dict[str, Any], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MultimodalEncoderDecoder(**parts(**changes), **arguments)
