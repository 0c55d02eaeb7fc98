"""Networks of timm as backbones: levels, names, sizes, bands, and every family of them through a step of training."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from intarsia import catalog
from intarsia.backbones.timm_sizes import ARGUMENTS, FIXED, MULTIPLES, PATCHES, REFUSED
from intarsia.contracts import FeatureSpec
from intarsia.methods.fcn import FCNHead
from intarsia.models.encoder_decoder import EncoderDecoder
from intarsia.weights.timm_names import published_name

timm = pytest.importorskip("timm", reason="timm is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

MEASURED_WITH = "1.0.31"
ODD = (67, 99)
SWIN = {"embed_dim": 16, "depths": (1, 1, 2, 1), "num_heads": (1, 2, 2, 4)}
PLAIN = {"depth": 4, "embed_dim": 32, "num_heads": 2}
FIVE: dict[str, dict[str, Any]] = {
    "test_resnet": {},
    "test_convnext": {},
    "swin_tiny_patch4_window7_224": SWIN,
    "test_mambaout": {},
    "vit_small_patch16_dinov3": PLAIN,
}
"""A network of each kind -> arguments that make it small: pyramids as timm gives them in either order of dimensions, in
windows, and a plain transformer."""
LAST = ("swin_tiny_patch4_window7_224", "test_mambaout")
"""Networks whose levels timm gives with the channels last."""


def trunk(name: str, **arguments: Any) -> Any:
    torch.manual_seed(0)
    return catalog.resolve("backbone", "TIMM")(name, **arguments)


def images(*size: int, bands: int = 3, batch: int = 2) -> Tensor:
    return torch.randn(batch, bands, *size, generator=torch.Generator().manual_seed(1))


def cells(sides: tuple[int, int], stride: int) -> list[set[int]]:
    """How many cells a level may have: sides are rounded up or down."""
    return [{side // stride, -(-side // stride)} for side in sides]


def assert_levels(levels: tuple[Tensor, ...], features: tuple[FeatureSpec, ...], size: tuple[int, int]) -> None:
    assert len(levels) == len(features)
    for level, feature in zip(levels, features, strict=True):
        assert level.shape[1] == feature.channels
        assert all(
            found in allowed for found, allowed in zip(level.shape[2:], cells(size, feature.stride), strict=True)
        )


def assert_trains(backbone: Any, size: tuple[int, int], *, without: tuple[str, ...] = ()) -> None:
    """A step of training: levels as stated, a finite gradient for every parameter, and parameters that have moved."""
    optimizer = torch.optim.SGD(backbone.train().parameters(), lr=1.0)
    levels = backbone(images(*size))
    assert_levels(levels, backbone.features, size)
    torch.stack([level.float().square().mean() for level in levels]).sum().backward()
    missing = [name for name, parameter in backbone.named_parameters() if parameter.grad is None]
    assert tuple(missing) == without
    assert all(p.grad.isfinite().all() for p in backbone.parameters() if p.grad is not None)
    first = next(
        parameter for parameter in backbone.parameters() if parameter.grad is not None and parameter.grad.any()
    )
    before = first.detach().clone()
    optimizer.step()
    assert not before.equal(first)


def assert_learns(backbone: Any, size: tuple[int, int]) -> None:
    """The loss of a network with the backbone is less after a step of its head."""
    assert_trains(backbone, size)
    last = backbone.features[-1]
    head = FCNHead(in_channels=last.channels, in_index=-1, channels=4, num_classes=3, num_convs=1, dropout_ratio=0.0)
    model = EncoderDecoder(backbone=backbone, decode_head=head).train()
    pixels, labels = images(*size), torch.randint(3, (2, *size), generator=torch.Generator().manual_seed(2))
    optimizer = torch.optim.SGD(head.parameters(), lr=1e-2)

    def loss() -> Tensor:
        logits = model.training_outputs(pixels)["decode"]
        assert isinstance(logits, Tensor)
        return F.cross_entropy(F.interpolate(logits, size, mode="bilinear"), labels)

    backbone.eval()  # what changes is the step alone
    before = loss()
    before.backward()
    optimizer.step()
    assert loss() < before


@pytest.mark.parametrize("name", FIVE)
def test_five_families_learn_at_an_odd_size(name: str) -> None:
    assert_learns(trunk(name, options=FIVE[name]), ODD)


@pytest.mark.parametrize("name", FIVE)
def test_names_are_those_of_the_published_file(name: str) -> None:
    """What is not there is behind the last level, and the backbone says so."""
    published = timm.create_model(name, **FIVE[name]).state_dict()
    backbone = trunk(name, options=FIVE[name])
    own = backbone.state_dict()
    assert own.keys() <= published.keys()
    assert {key: value.shape for key, value in own.items()} == {key: published[key].shape for key in own}
    assert {*own, *backbone.left_away} == set(published)
    named = dict(backbone.named_parameters())
    assert named.keys() <= own.keys(), "rules of optimizers go by the same names"
    assert len(own) > 20


@pytest.mark.parametrize("name", [name for name in FIVE if "dinov3" not in name])
def test_levels_are_those_that_timm_gives(name: str) -> None:
    """timm's own networks of levels, with the same weights, at a size that needs no padding."""
    backbone = trunk(name, options=FIVE[name]).eval()
    torch.manual_seed(3)
    more = {"strict_img_size": False} if "swin" in name else {}
    of_timm = timm.create_model(name, features_only=True, **FIVE[name], **more).eval()
    state = {published_name(f"timm_model.{key}"): value for key, value in of_timm.state_dict().items()}
    backbone.load_state_dict(state)
    given = images(64, 96)
    with torch.no_grad():
        expected, found = of_timm(given), backbone(given)
    for theirs, ours in zip(expected, found, strict=True):
        theirs = theirs.permute(0, 3, 1, 2) if name in LAST else theirs
        torch.testing.assert_close(ours, theirs)


def test_a_plain_transformer_gives_quarters_of_its_depth() -> None:
    backbone = trunk("vit_small_patch16_dinov3", options=PLAIN)
    assert backbone.out_indices == (0, 1, 2, 3)
    assert backbone.features == (FeatureSpec(32, 16),) * 4
    assert trunk("deit_tiny_patch16_224", options={"embed_dim": 32, "num_heads": 2}).out_indices == (2, 5, 8, 11)
    assert trunk("deit_tiny_patch16_224", options={**PLAIN, "depth": 24}).out_indices == (5, 11, 17, 23)


def test_the_last_norm_is_put_behind_a_level_where_it_is_asked_for() -> None:
    arguments: dict[str, Any] = {"options": PLAIN, "out_indices": -1}
    plain = trunk("vit_small_patch16_dinov3", **arguments).eval()
    normed = trunk("vit_small_patch16_dinov3", **arguments, norm=True).eval()
    assert set(normed.state_dict()) - set(plain.state_dict()) == {"norm.weight", "norm.bias"}
    with torch.no_grad():
        nn.init.uniform_(normed.get_parameter("norm.weight"))
        normed.load_state_dict(plain.state_dict(), strict=False)
        (before,), (behind,) = plain(images(*ODD)), normed(images(*ODD))
        layer = normed.get_submodule("norm")
        expected = layer(before.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(behind, expected)
    with pytest.raises(ValueError, match="norm=True is for plain transformers"):
        trunk("test_convnext", norm=True)


def test_pixels_are_padded_and_levels_cut() -> None:
    """Zeros at the right and below; what lies there is not among the levels."""
    backbone = trunk("vit_small_patch16_dinov3", options=PLAIN).eval()
    given = images(50, 70)
    with torch.no_grad():
        (*_, found), (*_, whole) = backbone(given), backbone(F.pad(given, (0, 10, 0, 14)))
    assert found.shape[2:] == (4, 5)
    assert found.equal(whole)
    multiples = {"test_resnet": 1, "swin_tiny_patch4_window7_224": 4, "vit_small_patch14_dinov2": 14, "dla34": 32}
    for name, multiple in multiples.items():
        with torch.device("meta"):
            assert trunk(name).multiple == multiple


def test_any_number_of_bands() -> None:
    for name, options in FIVE.items():
        with torch.device("meta"):
            levels = trunk(name, in_channels=5, options=options)(torch.empty(1, 5, 64, 64))
        assert levels[0].shape[0] == 1


@pytest.mark.parametrize("stride", [8, 16])
def test_output_stride(stride: int) -> None:
    backbone = trunk("test_resnet", output_stride=stride)
    assert [level.stride for level in backbone.features] == [min(s, stride) for s in (2, 4, 8, 16, 32)]
    assert_levels(backbone(images(*ODD)), backbone.features, ODD)


def test_networks_of_one_size_say_so_and_what_would_work() -> None:
    with pytest.raises(ValueError, match=r"beit_base.* does not take images of any size.*img_size=\(224, 224\).*slide"):
        trunk("beit_base_patch16_224", options={"depth": 2, "embed_dim": 16, "num_heads": 2})
    backbone = trunk("beit_base_patch16_224", img_size=(64, 96), options={"depth": 4, "embed_dim": 16, "num_heads": 2})
    assert backbone.least_size == 96
    assert [level.shape[2:] for level in backbone(images(50, 70))] == [(4, 5)] * 4
    with pytest.raises(ValueError, match=r"takes images of 64 x 96 \(img_size\), found 80 x 96"):
        backbone(images(80, 96))


REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "inception_v4": ({}, "its convolutions cut off the border"),
    "legacy_xception": ({}, "its convolutions cut off the border"),
    "lambda_resnet26rpt_256": ({}, "does not take images of any size: its LambdaLayer is made for images of one size"),
    "levit_128": ({}, "cannot be a backbone here"),
    "resnet51": ({}, r"timm .* has no network 'resnet51'; did you mean .*resnet50"),
    "resnet50.nothing": ({}, "has no weights 'nothing'; timm .* has .*a1_in1k"),
    "hf-hub:somebody/network": ({}, "has no network"),
    "test_convnext": ({"out_indices": (4,)}, "out_indices must name levels of test_convnext from 0 to 3"),
    "test_resnet": ({"options": {"pretrained": True}}, "options cannot have pretrained"),
    "test_vit": ({"output_stride": 8}, "cannot be built with .*output_stride=8"),
    "test_efficientnet": ({"checkpoint_activations": True}, "has batch norms"),
    "test_mambaout": ({"options": {"no_such": 1}}, "cannot be built with no_such=1"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_cannot_be_is_refused_with_its_name(name: str) -> None:
    arguments, message = REFUSALS[name]
    with pytest.raises(ValueError, match=message):
        trunk(name, **arguments)


def test_dropping_is_that_of_timm() -> None:
    backbone = trunk("test_convnext", drop_path_rate=0.4)
    rates = [module.drop_prob for module in backbone.modules() if type(module).__name__ == "DropPath"]
    assert max(rates) == pytest.approx(0.4)
    given = images(64, 64)
    assert not backbone.train()(given)[-1].equal(backbone(given)[-1])
    assert backbone.eval()(given)[-1].equal(backbone(given)[-1])


def test_copies_and_devices_take_the_whole_network_along() -> None:
    """The network that computes is no child, but has the children's parameters, also in a copy."""
    import copy

    backbone = trunk("test_vit").eval()
    other = copy.deepcopy(backbone).double()
    given = images(32, 32)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
        before = backbone(given)[-1]
        assert other(given.double())[-1].eq(0).all()
    assert before.dtype == torch.float32
    assert before.any()


def test_without_timm_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"pip install 'intarsia\[timm\]'"):
        trunk("resnet50")


def test_nothing_imports_timm_before_a_network_is_built() -> None:
    code = (
        "import sys, intarsia.api, intarsia.config.checking.check as c, intarsia.recipes as r\n"
        "from intarsia.config.language.reader import Config\n"
        "from intarsia.config.lowering.lower import lower\n"
        "r.short_names(); r.trunk('upernet_timm:resnet50')\n"
        "model = dict(type='EncoderDecoder', backbone=dict(type='TIMM', model_name='resnet50', pretrained=True),\n"
        "  decode_head=dict(type='FCNHead', in_channels=2048, in_index=-1, channels=8, num_classes=3))\n"
        "config = Config.from_values(dict(model=model), file='x')\n"
        "assert c.check(config, shapes=False) == []\n"
        "assert lower(config).pretrained == (('backbone', 'timm://resnet50'),)\n"
        "assert 'timm' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- Every family -------------------------------------------------------------------------------------------------

SMALL = {"depth": 2, "embed_dim": 48, "num_heads": 2}
NETWORKS: dict[str, dict[str, Any]] = {
    "beit_base_patch16_224": {"img_size": 96, "options": SMALL},
    "eca_halonext26ts": {},
    "test_byobnet": {},
    "cait_xxs24_224": {"img_size": 96, "options": {"depth": 3}},
    "coat_tiny": {"img_size": 128},
    "convit_tiny": {"img_size": 96},
    "convmixer_768_32": {},
    "test_convnext": {},
    "cpubone_nano": {},
    "csatv2": {},
    "cs3darknet_focus_s": {},
    "cspnext_tiny": {},
    "davit_tiny": {},
    "deepseek_vit_412m": {"options": SMALL},
    "deit_tiny_patch16_224": {},
    "densenet121": {},
    "dla34": {},
    "dpn48b": {},
    "edgenext_xx_small": {},
    "efficientformerv2_s0": {"img_size": 96},
    "test_efficientnet": {},
    "efficientvim_m1": {},
    "efficientvit_b0": {},
    "efficientvit_m0": {},
    "vit_tiny_patch16_dinov3_qkvb": {},
    "fasternet_t0": {},
    "fastvit_t8": {},
    "focalnet_tiny_srf": {},
    "gcvit_xxtiny": {"img_size": 128},
    "gemma4_vit_167m": {"options": SMALL},
    "ghostnet_050": {},
    "hardcorenas_b": {},
    "hgnetv2_b0": {},
    "hiera_tiny_224": {"img_size": 128},
    "sam2_hiera_tiny": {},
    "hrnet_w18_small": {},
    "iformer_t": {},
    "inception_next_atto": {},
    "lcnetv2_small": {},
    "lowformer_b0": {},
    "test_mambaout": {},
    "test_coatnet": {"img_size": 128},
    "poolformerv2_s12": {},
    "gmlp_ti16_224": {"img_size": 96},
    "mobilenetv3_small_050": {},
    "mobilenetv5_base": {},
    "mobilevit_xxs": {},
    "mvitv2_tiny": {},
    "naflexvit_base_patch16_gap": {"options": SMALL},
    "nasnetalarge": {},
    "nest_tiny": {"img_size": 224},
    "nextvit_small": {},
    "test_nfnet": {},
    "pnasnet5large": {},
    "pvt_v2_b0": {},
    "qwen3_vit_88m": {"options": SMALL},
    "rdnet_tiny": {},
    "regnetx_004_tv": {},
    "repghostnet_050": {},
    "repvit_m1": {},
    "res2net50_14w_8s": {},
    "resnest14d": {},
    "test_resnet": {},
    "resnetv2_18": {},
    "rexnet_100": {},
    "selecsls42": {},
    "legacy_seresnet18": {},
    "sequencer2d_s": {},
    "shvit_s1": {},
    "skresnet18": {},
    "starnet_s050": {},
    "swiftformer_xs": {},
    "swin_tiny_patch4_window7_224": {},
    "swinv2_tiny_window16_256": {},
    "swinv2_cr_tiny_224": {},
    "tiny_vit_5m_224": {},
    "tnt_s_legacy_patch16_224": {"img_size": 96},
    "tresnet_m": {},
    "twins_svt_small": {},
    "vgg11": {},
    "visformer_tiny": {"img_size": 96},
    "test_vit": {},
    "vit_tiny_r_s16_p8_224": {},
    "test_vit_relpos": {"img_size": 96},
    "samvit_base_patch16_224": {"options": SMALL},
    "vitamin_small_224": {"img_size": 128},
    "volo_d1_224": {"img_size": 128},
    "ese_vovnet19b_slim_dw": {},
    "xception41p": {},
    "xcit_nano_12_p8_224": {},
}
"""A small network of each file of timm, and the arguments that make it smaller still or give it its one size."""
UNUSED = {"efficientvim_m1": ("weights",)}
"""Parameters that only the classifier of a network uses, though they lie before it."""


def files_of(name: str) -> str:
    return str(timm.model_entrypoint(name).__module__).rpartition(".")[2]


def test_every_family_is_tried_or_refused() -> None:
    """A file that a newer timm adds needs a line, and perhaps one in `timm_sizes`."""
    if timm.__version__ != MEASURED_WITH:
        pytest.skip(f"the table is of timm {MEASURED_WITH}")
    files = {files_of(name) for name in timm.list_models()}
    assert {files_of(name) for name in NETWORKS} == files - set(REFUSED)
    assert {*FIXED, *MULTIPLES, *PATCHES, *ARGUMENTS, *REFUSED} <= files


@pytest.mark.parametrize("name", ["resnetaa34d", "seresnextaa101d_32x8d", "resnet50_clip", "haloregnetz_b"])
def test_networks_that_differ_from_others_of_their_file_take_an_odd_size(name: str) -> None:
    with torch.device("meta"):
        backbone = trunk(name)
        levels = backbone(images(75, 101))
    assert_levels(levels, backbone.features, (75, 101))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_family_trains_at_an_odd_size(name: str) -> None:
    """What takes one size is given images that are smaller than it."""
    backbone = trunk(name, **NETWORKS[name])
    size = (ODD[0], min(ODD[1], *backbone.size)) if backbone.size else ODD
    assert_trains(backbone, size, without=UNUSED.get(name, ()))
    published = set(timm.create_model(name, **NETWORKS[name].get("options", {})).state_dict())
    assert backbone.state_dict().keys() <= published
