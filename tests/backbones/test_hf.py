"""Backbones of transformers: levels, names, sizes, bands, and every type of them through a step of training."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from intarsia import catalog
from intarsia.backbones.hf_sizes import FIXED, FREE, PATCHES, REFUSED, THREE_BANDS
from intarsia.contracts import FeatureSpec

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING_NAMES as KNOWN  # noqa: E402

MEASURED_WITH = "5.24.0"
ODD = (67, 99)
PLAIN = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2}
WIDE = {**PLAIN, "intermediate_size": 32}
PYRAMID = {"hidden_sizes": [8, 12, 16, 24], "depths": [1, 1, 1, 1]}
RESIDUAL = {"embedding_size": 8, "hidden_sizes": [16, 16, 32, 32], "depths": [1, 1, 1, 1]}
WINDOWS = {"embed_dim": 8, "depths": [1] * 4, "num_heads": [1, 1, 2, 2], "image_size": 64, "window_size": 4}
SMALL: dict[str, dict[str, Any]] = {
    "beit": {**WIDE, "image_size": 64, "use_relative_position_bias": True},
    "bit": {"embedding_size": 8, "hidden_sizes": [32, 32, 64, 64], "depths": [1, 1, 1, 1], "num_groups": 4},
    "convnext": PYRAMID,
    "convnextv2": PYRAMID,
    "dinov2": {**PLAIN, "image_size": 70, "patch_size": 14},
    "dinov2_with_registers": {**PLAIN, "image_size": 70, "patch_size": 14},
    "dinov3_convnext": PYRAMID,
    "dinov3_vit": {**WIDE, "image_size": 64},
    "focalnet": {"embed_dim": 8, "depths": [1] * 4, "hidden_sizes": [8, 16, 24, 32], "focal_levels": [1] * 4,
                 "focal_windows": [3] * 4},
    "hgnet_v2": {"stem_channels": [3, 8, 8], "hidden_sizes": [16, 24, 32, 40], "embedding_size": 8,
                 "stage_in_channels": [8, 16, 24, 32], "stage_mid_channels": [8, 8, 8, 8],
                 "stage_out_channels": [16, 24, 32, 40], "stage_num_blocks": [1] * 4, "stage_numb_of_layers": [2] * 4},
    "hiera": {"embed_dim": 8, "image_size": [64, 64], "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2]},
    "lw_detr_vit": {**PLAIN, "image_size": 64, "num_windows": 4, "window_block_indices": [0, 2],
                    "pretrain_image_size": 64},
    "maskformer-swin": WINDOWS,
    "pixio": {**PLAIN, "image_size": 64},
    "pp_lcnet": {},
    "pp_lcnet_v3": {},
    "pvt_v2": {"hidden_sizes": [8, 16, 24, 32], "depths": [1] * 4, "num_attention_heads": [1, 1, 2, 2]},
    "resnet": RESIDUAL,
    "rt_detr_resnet": RESIDUAL,
    "sapiens2": {**WIDE, "image_size": [64, 64]},
    "swin": WINDOWS,
    "swinv2": WINDOWS,
    "textnet": {"stem_out_channels": 8, "hidden_sizes": [8, 8, 12, 16, 24]},
    "tipsv2_vision_model": {**PLAIN, "image_size": 56},
    "vitdet": {**PLAIN, "image_size": 64, "pretrain_image_size": 64, "window_size": 2, "window_block_indices": [0, 2]},
}  # fmt: skip
"""Type -> values that make a network of it small."""
FOUR = ("dinov2", "resnet", "swin", "convnextv2")
"""One of each kind: a plain transformer, batch norms, windows, norms of levels."""


def trunk(kind: str, *, values: dict[str, Any] | None = None, **arguments: Any) -> Any:
    torch.manual_seed(0)
    config = {"model_type": kind, **SMALL.get(kind, {}), **(values or {})}
    return catalog.resolve("backbone", "HFBackbone")(config, **arguments)


def of_transformers(kind: str, indices: tuple[int, ...]) -> Any:
    torch.manual_seed(3)
    config = transformers.CONFIG_MAPPING[kind](**SMALL[kind])
    config.out_indices = list(indices)
    return transformers.AutoBackbone.from_config(config).eval()


def images(*size: int, bands: int = 3, batch: int = 2) -> Tensor:
    return torch.randn(batch, bands, *size, generator=torch.Generator().manual_seed(1))


def assert_levels(levels: tuple[Tensor, ...], features: tuple[FeatureSpec, ...], size: tuple[int, int]) -> None:
    assert len(levels) == len(features)
    for level, feature in zip(levels, features, strict=True):
        assert level.shape[1] == feature.channels
        for found, side in zip(level.shape[2:], size, strict=True):
            assert found in (side // feature.stride, -(-side // feature.stride))


@pytest.mark.parametrize("kind", FOUR)
def test_names_and_levels_are_those_of_transformers(kind: str) -> None:
    """Its own network with the same weights, at a size that needs no padding."""
    backbone = trunk(kind).eval()
    theirs = of_transformers(kind, backbone.out_indices)
    assert backbone.state_dict().keys() == theirs.state_dict().keys()
    assert len(theirs.state_dict()) > 20
    backbone.load_state_dict(theirs.state_dict())
    given = images(70, 98) if kind == "dinov2" else images(64, 96)
    with torch.no_grad():
        expected, found = theirs(given).feature_maps, backbone(given)
    for ours, other in zip(found, expected, strict=True):
        assert ours.equal(other)


def test_channels_are_measured_since_transformers_states_wrong_ones() -> None:
    assert of_transformers("focalnet", (1, 2)).channels == [8, 16]
    backbone = trunk("focalnet")
    assert backbone.features == (FeatureSpec(16, 8), FeatureSpec(32, 16), FeatureSpec(64, 32), FeatureSpec(64, 32))
    assert_levels(backbone(images(*ODD)), backbone.features, ODD)


def test_usual_levels() -> None:
    """Four blocks of a plain transformer, all stages of a pyramid without its stem."""
    assert trunk("dinov2", values={"num_hidden_layers": 12}).out_indices == (3, 6, 9, 12)
    assert trunk("resnet").out_indices == (1, 2, 3, 4)
    assert trunk("pvt_v2").out_indices == (0, 1, 2, 3)
    assert [level.stride for level in trunk("swin").features] == [4, 8, 16, 32]
    last = trunk("dinov2", out_indices=-1)
    assert last.out_indices == (4,)
    assert last.features == (FeatureSpec(16, 14),)


def test_pixels_are_padded_and_levels_cut() -> None:
    """What transformers would leave away of patches of 14 pixels is seen."""
    backbone = trunk("dinov2").eval()
    given = images(50, 70)
    with torch.no_grad():
        (*_, found), (*_, whole) = backbone(given), backbone(F.pad(given, (0, 0, 0, 6)))
        left_away = backbone.network[0](given).feature_maps[-1]
    assert found.shape[2:] == (4, 5)
    assert left_away.shape[2:] == (3, 5)
    assert found.equal(whole)
    assert trunk("lw_detr_vit").multiple == 32 if "lw_detr_vit" in KNOWN else True


def test_a_network_of_one_size_says_so() -> None:
    backbone = trunk("hiera")
    assert (backbone.size, backbone.least_size) == ((64, 64), 64)
    assert_levels(backbone(images(50, 60)), backbone.features, (50, 60))
    with pytest.raises(ValueError, match=r"hiera takes images of 64 x 64 \(image_size .*\), found 64 x 96: .*slide"):
        backbone(images(64, 96))


def test_any_number_of_bands() -> None:
    for kind in FOUR:
        backbone = trunk(kind, in_channels=5)
        assert_levels(backbone(images(64, 64, bands=5)), backbone.features, (64, 64))
    assert trunk("resnet", values={"num_channels": 4})(images(64, 64, bands=4))[0].shape[1] == 16
    with pytest.raises(ValueError, match="textnet of transformers takes images of 3 bands only"):
        trunk("textnet", in_channels=5)


def test_what_no_level_is_made_of_stands_still() -> None:
    """No gradient would reach it, which processes that train together wait for."""
    backbone = trunk("dinov2", out_indices=2)
    still = [name for name, parameter in backbone.named_parameters() if not parameter.requires_grad]
    assert "embeddings.mask_token" in still
    assert all(name.startswith(("encoder.layer.2.", "encoder.layer.3.")) for name in still[1:])
    assert len(still) > 20
    (level,) = backbone(images(*ODD))
    level.square().mean().backward()
    learning = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    assert learning
    assert all(parameter.grad is not None for parameter in learning)


def test_the_dummy_changes_no_random_number() -> None:
    def first(indices: int) -> Tensor:
        backbone = trunk("resnet", out_indices=indices)
        return backbone.get_parameter("embedder.embedder.convolution.weight")

    assert first(1).equal(first(2)), "measured once more for other levels, from the same seed"
    assert first(1).equal(first(1)), "and not measured again"


REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "resnt": ({}, "has no backbone of model_type 'resnt'; did you mean resnet"),
    "timm_backbone": ({}, "it is a network of timm: take the backbone TIMM"),
    "vitpose_backbone": ({}, "its levels are rows of tokens"),
    "dinov2": ({"values": {"hidden_sise": 8}}, "has no hidden_sise; did you mean hidden_size"),
    "convnext": ({"values": {"hidden_act": "no such"}}, "convnext of transformers .*no such"),
    "bit": ({"checkpoint_activations": True}, "bit of transformers cannot recompute its blocks"),
    "resnet": ({"checkpoint_activations": True}, "has batch norms"),
    "swin": ({"out_indices": (5,)}, r"out_indices must name levels of swin from 0 to 4 \(stem, stage1"),
    "maskformer-swin": ({"out_indices": (0,)}, "out_indices must name levels of maskformer-swin from 1 to 4"),
    "vitdet": ({"values": {"patch_size": 5_000}}, "patches of 5000 pixels"),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_what_cannot_be_is_refused_with_its_name(kind: str) -> None:
    arguments, message = REFUSALS[kind]
    with pytest.raises(ValueError, match=message):
        trunk(kind, **arguments)


def test_a_type_that_nobody_has_tried_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intarsia.backbones.hf_sizes.FREE", FREE - {"resnet"})
    with pytest.raises(ValueError, match=r"resnet of transformers has not been tried .* those that have: beit"):
        trunk("resnet", values={"layer_type": "basic"})


def test_a_folder_is_no_config() -> None:
    with pytest.raises(ValueError, match=r"config holds the values of a config\.json, found 'some/folder'"):
        catalog.resolve("backbone", "HFBackbone")("some/folder")
    with pytest.raises(ValueError, match="config says no model_type"):
        catalog.resolve("backbone", "HFBackbone")({"hidden_size": 8})


def test_no_value_reaches_code_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a config.json says of code, kernels and files of a repository is not handed on."""
    seen: list[Any] = []
    build = transformers.AutoBackbone.from_config
    monkeypatch.setattr(
        transformers.AutoBackbone, "from_config", lambda config, **more: seen.append((config, more)) or build(config)
    )
    values = {"auto_map": {"AutoBackbone": "somebody/repository--code.Network"}, "_name_or_path": "somebody/repository",
              "torch_dtype": "float16", "num_labels": 7}  # fmt: skip
    backbone = trunk("resnet", values={**values, "downsample_in_first_stage": True})
    assert seen
    for config, more in seen:
        assert more == {}
        assert not hasattr(config, "auto_map")
        assert config._name_or_path == ""
    assert {parameter.dtype for parameter in backbone.parameters()} == {torch.float32}
    for value in ({"attn_implementation": "kernels-community/flash-attn"}, {"quantization_config": {}}):
        with pytest.raises(ValueError, match=f"has no {next(iter(value))}"):
            trunk("resnet", values=value)


def test_dropping_is_that_of_the_config() -> None:
    backbone = trunk("dinov2", values={"hidden_dropout_prob": 0.5})
    given = images(70, 70)
    assert not backbone.train()(given)[-1].equal(backbone(given)[-1])
    assert backbone.eval()(given)[-1].equal(backbone(given)[-1])


def test_copies_take_the_whole_network_along() -> None:
    """The network that computes is no child, but has the children's parameters, also in a copy."""
    import copy

    backbone = trunk("convnextv2").train()
    assert backbone.network[0].training
    assert not backbone.eval().network[0].training
    other = copy.deepcopy(backbone).double()
    given = images(32, 32)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
        assert other(given.double())[-1].eq(0).all()
        before = backbone(given)[-1]
    assert before.dtype == torch.float32
    assert before.any()


@pytest.mark.parametrize("name", ["dinov2", "swin", "resnet"])
def test_pickles_after_a_forward(name: str) -> None:
    """Transformers puts hooks into its layers then, local functions, which no pickle takes; it does so again."""
    import pickle

    backbone, given = trunk(name).eval(), images(70, 70)
    with torch.no_grad():
        before = backbone(given)
        other = pickle.loads(pickle.dumps(backbone))
        for levels in (other(given), backbone(given)):
            assert all(found.equal(expected) for found, expected in zip(levels, before, strict=True))


def test_without_transformers_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"pip install 'intarsia\[transformers\]'"):
        trunk("resnet")


def test_nothing_imports_transformers_before_a_network_is_built() -> None:
    code = (
        "import sys, intarsia.api, intarsia.config.checking.check as c, intarsia.backbones.hf\n"
        "from intarsia.config.language.reader import Config\n"
        "from intarsia.config.lowering.lower import lower\n"
        "model = dict(type='EncoderDecoder', backbone=dict(type='HFBackbone', config=dict(model_type='resnet'),\n"
        "    pretrained='hf://microsoft/resnet-50'),\n"
        "  decode_head=dict(type='FCNHead', in_channels=2048, in_index=-1, channels=8, num_classes=3))\n"
        "config = Config.from_values(dict(model=model), file='x')\n"
        "assert c.check(config, shapes=False) == []\n"
        "assert lower(config).pretrained == (('backbone', 'hf://microsoft/resnet-50'),)\n"
        "assert 'transformers' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- Every type ---------------------------------------------------------------------------------------------------


def test_every_type_is_tried_or_refused() -> None:
    """A type that a newer transformers adds needs a line here, and one in `hf_sizes`."""
    assert set(SMALL) == FREE | PATCHES | set(FIXED)
    assert set(SMALL) >= THREE_BANDS
    if transformers.__version__ != MEASURED_WITH:
        pytest.skip(f"the table is of transformers {MEASURED_WITH}")
    assert set(KNOWN) == {*SMALL, *REFUSED} - {"nat"}


@pytest.mark.parametrize("kind", SMALL)
def test_every_type_trains_at_an_odd_size(kind: str) -> None:
    """What takes one size is given images that are smaller than it."""
    if kind not in KNOWN:
        pytest.skip(f"transformers {transformers.__version__} has no {kind}")
    backbone = trunk(kind).train()
    size = (50, 60) if backbone.size else ODD
    levels = backbone(images(*size))
    assert_levels(levels, backbone.features, size)
    torch.stack([level.square().mean() for level in levels]).sum().backward()
    learning = {name: parameter.grad for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert all(gradient is not None and gradient.isfinite().all() for gradient in learning.values())
    assert any(gradient.any() for gradient in learning.values() if gradient is not None)
