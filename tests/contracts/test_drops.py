"""Every part drops what it says, where it says, at the rate it says, and in training only.

Rates are read off the layers; that a layer is used, and where, is seen by letting it drop everything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from cases import LEVELS, Case, Use, build, opened
from promises import SIZE, trained
from test_models import NAMING, READS, REFINING, TABLES
from torch import Tensor, nn

from intarsia import catalog
from intarsia.backbones.mit import Block, MixFFN, MixVisionTransformer
from intarsia.backbones.swin import ShiftedWindows, SwinBlock, SwinTransformer, WindowAttention
from intarsia.layers.activation import GELU
from intarsia.layers.attention import MultiheadAttention
from intarsia.layers.classifier import channel_dropout
from intarsia.layers.cross_attention import Attention
from intarsia.layers.drop_path import DropPath
from intarsia.layers.feed_forward import FeedForward
from intarsia.layers.norm import Norm
from intarsia.layers.spatial_reduction_attention import SpatialReductionAttention
from intarsia.methods import mask2former, maskformer

EVERYTHING = 1 - 1e-9
"""What drops at this rate drops for certain. A rate of 1 would divide 0 by 0."""
LN = Norm("LN")


@dataclass(frozen=True)
class Drops:
    """Arguments that set rates, and the rates that follow: of layers by name, and of attention weights in order."""

    layers: Mapping[str, float]
    attention: tuple[float, ...] = ()
    arguments: Mapping[str, Any] | None = None


CLASSIFIER = Drops({"dropout": 0.1})
"""MMSegmentation's BaseDecodeHead: a tenth of the channels before the classifier."""
BEHIND_TWO_BRANCHES = r"(drop_path|transformer_decoder\.layers\.\d\.dropout)$"
"""Stochastic depth, and the decoders' dropout behind either attention: one layer of a block, used twice."""
ONE_BRANCH = {"ConvNeXt"}
"""Blocks that have no second one."""
OF_EACH_OUTPUT = {"SideAdapterCLIPHead": r"drop_path$|^rec_with_attnbias"}
"""Layers that are used once for each output that training looks at, of which there are two."""
DECODER_LAYER = ("dropout", "ffn.layers.0.2", "ffn.layers.2")
NOTHING = Drops({})
PERCEPTRON = {"ffn.layers.0.2": 0.3, "ffn.layers.2": 0.3}

DROPS: dict[str, dict[str, Drops]] = {
    "backbone": {
        **dict.fromkeys(("BiSeNetV1", "BiSeNetV2", "FastSCNN", "HRNet", "ResNeXt", "ResNet", "ResNetV1c", "ResNetV1d"),
                        NOTHING),
        "BEiT": Drops(
            {f"layers.{i}.drop_path": i / 10 for i in range(2)}, attention=(0.3,) * 2,
            arguments={"attn_drop_rate": 0.3, "drop_path_rate": 0.1}),
        "MAE": Drops(
            {f"layers.{i}.drop_path": i / 10 for i in range(2)}, attention=(0.3,) * 2,
            arguments={"attn_drop_rate": 0.3, "drop_path_rate": 0.1}),
        "ConvNeXt": Drops(
            {f"stages.{stage}.{block}.drop_path": i / 10
             for i, (stage, block) in enumerate([(0, 0), (1, 0), (2, 0), (2, 1), (3, 0)])},
            arguments={"drop_path_rate": 0.4}),
        "PCPVT": Drops(
            {f"position_encoding_drops.{i}": 0.2 for i in range(4)} |
            {f"layers.{stage}.{block}.{name}": rate
             for i, (stage, block) in enumerate([(0, 0), (1, 0), (1, 1), (2, 0), (3, 0)])
             for name, rate in [("attn.dropout", 0.2), ("ffn.layers.0.2", 0.2), ("ffn.layers.2", 0.2),
                                ("drop_path", i / 10)]},
            attention=(0.3,) * 5,
            arguments={"drop_rate": 0.2, "attn_drop_rate": 0.3, "drop_path_rate": 0.4}),
        "PoolFormer": Drops(
            {f"network.{stage}.{block}.{name}": rate
             for i, (stage, block) in enumerate([(0, 0), (2, 0), (4, 0), (4, 1), (6, 0)])
             for name, rate in [("mlp.drop1", 0.2), ("mlp.drop2", 0.2), ("drop_path", i / 10)]},
            arguments={"drop_rate": 0.2, "drop_path_rate": 0.4}),
        "SVT": Drops(
            {f"position_encoding_drops.{i}": 0.2 for i in range(4)} |
            {f"layers.{stage}.{block}.{name}": rate
             for i, (stage, block) in enumerate([(0, 0), (0, 1), (1, 0), (2, 0), (2, 1), (3, 0)])
             for name, rate in [("attn.dropout", 0.2), ("ffn.layers.0.2", 0.2), ("ffn.layers.2", 0.2),
                                ("drop_path", i / 10)]},
            attention=(0.3,) * 6,
            arguments={"drop_rate": 0.2, "attn_drop_rate": 0.3, "drop_path_rate": 0.5}),
        "CGNet": NOTHING,
        "ERFNet": Drops({f"encoder.{i}.convs_layers.9": 0.2 for i in (2, 4, 5, 6, 7)},
                        arguments={"dropout_ratio": 0.2}),
        "MSCAN": Drops(
            {f"block{stage}.{block}.{name}": rate
             for i, (stage, block) in enumerate([(1, 0), (2, 0), (3, 0), (3, 1), (4, 0)])
             for name, rate in [("mlp.drop1", 0.2), ("mlp.drop2", 0.2), ("drop_path", i / 10)]},
            arguments={"drop_rate": 0.2, "drop_path_rate": 0.4}),
        "MobileNetV2": NOTHING,
        "MobileNetV3": NOTHING,
        "ResNeSt": NOTHING,
        "PlainConvEncoder": NOTHING,
        "ResidualEncoder": NOTHING,
        "UNet": NOTHING,
        "VPD": Drops({}, attention=(0.0,) * 33),
        "MixVisionTransformer": Drops(
            {f"layers.{stage}.1.{block}.{name}": rate
             for i, (stage, block) in enumerate([(0, 0), (0, 1), (1, 0), (2, 0), (2, 1), (3, 0)])
             for name, rate in [("attn.dropout", 0.2), ("ffn.layers.3", 0.2), ("ffn.layers.5", 0.2),
                                ("drop_path", i / 10)]},
            attention=(0.3,) * 6,
            arguments={"num_layers": (2, 1, 2, 1), "drop_rate": 0.2, "attn_drop_rate": 0.3, "drop_path_rate": 0.5}),
        "DDRNet": NOTHING,
        "GCNet": NOTHING,
        "ICNet": NOTHING,
        "PIDNet": NOTHING,
        "STDCContextPathNet": NOTHING,
        "RegSeg": NOTHING,
        "SCTNet": Drops(
            {f"{block}.{name}": rate for block in ("layer3_2", "layer4", "layer5")
             for name, rate in [("mlp_l.hidden_drop", 0.2), ("mlp_l.drop", 0.2), ("drop_path", 0.3)]},
            arguments={"drop_rate": 0.2, "drop_path_rate": 0.3}),
        "STDCNet": NOTHING,
        "SwinTransformer": Drops(
            {"drop_after_pos": 0.2} |
            {f"stages.{stage}.blocks.{block}.{name}": rate
             for i, (stage, block) in enumerate([(0, 0), (0, 1), (1, 0), (2, 0), (3, 0)])
             for name, rate in [("dropout", 0.2), ("ffn.layers.0.2", 0.2), ("ffn.layers.2", 0.2),
                                ("drop_path", i / 10)]},
            attention=(0.3,) * 5,
            arguments={"drop_rate": 0.2, "attn_drop_rate": 0.3, "drop_path_rate": 0.4}),
        "HFBackbone": Drops({}, attention=(0.0,) * 4),
        "TIMM": NOTHING,
        "TIMMBackbone": NOTHING,
        "ViTAdapter": Drops({}, attention=(0.0,) * 6),
        "VisionTransformer": Drops(
            {"drop_after_pos": 0.2} |
            {f"layers.{i}.{name}": rate for i in range(4)
             for name, rate in [("attn.dropout", 0.2), ("ffn.layers.0.2", 0.2), ("ffn.layers.2", 0.2),
                                ("drop_path", i / 10)]},
            attention=(0.3,) * 4,
            arguments={"drop_rate": 0.2, "attn_drop_rate": 0.3, "drop_path_rate": 0.3}),
    },
    "neck": {
        "FPN": NOTHING,
        "ICNeck": NOTHING,
        "Feature2Pyramid": NOTHING,
        "JPU": NOTHING,
        "MLANeck": NOTHING,
        "MultiLevelNeck": NOTHING,
        "SimpleFeaturePyramid": NOTHING,
    },
    "head": {
        **dict.fromkeys(("ASPPHead", "DepthwiseSeparableASPPHead", "DepthwiseSeparableFCNHead", "FCNHead", "FPNHead",
                         "PSPHead", "PointHead", "SegformerHead", "UPerHead"), CLASSIFIER),
        "DDRHead": CLASSIFIER,
        "RegSegHead": CLASSIFIER,
        "EfficientViTHead": CLASSIFIER,
        "SCTHead": CLASSIFIER,
        **dict.fromkeys(("VWCityHead", "VWHead"), Drops(CLASSIFIER.layers, attention=(0.0,) * 3)),
        "GCNetHead": CLASSIFIER,
        **dict.fromkeys(("LinknetHead", "MANetHead", "PANHead", "PPLiteSegHead", "UNetHead",
                         "UNetPlusPlusHead"), CLASSIFIER),
        **dict.fromkeys(("SmpASPPHead", "SmpDPTHead", "SmpFPNHead", "SmpPSPHead"), CLASSIFIER),
        "NNUNetHead": NOTHING,
        "ANNHead": Drops({"dropout": 0.1, "fusion_dropout": 0.1}, attention=(0.0,) * 4),
        "CCHead": CLASSIFIER,
        "DAHead": Drops({"dropout": 0.1, "pam_dropout": 0.1, "cam_dropout": 0.1}, attention=(0.0,)),
        "DNLHead": Drops({"dropout": 0.1}, attention=(0.0,)),
        "GCHead": CLASSIFIER,
        "ISAHead": Drops({"dropout": 0.1}, attention=(0.0,) * 2),
        "NLHead": Drops({"dropout": 0.1}, attention=(0.0,)),
        "DPTHead": CLASSIFIER,
        "LRASPPHead": CLASSIFIER,
        "LightHamHead": CLASSIFIER,
        "LinearHead": CLASSIFIER,
        "ImageClassHead": Drops({"dropout": 0.2}),
        "APCHead": CLASSIFIER,
        "DMHead": CLASSIFIER,
        "EMAHead": CLASSIFIER,
        "EncHead": CLASSIFIER,
        "PSAHead": CLASSIFIER,
        "OCRHead": Drops({"dropout": 0.1}, attention=(0.0,)),
        "PIDHead": CLASSIFIER,
        "STDCHead": CLASSIFIER,
        "SETRMLAHead": CLASSIFIER,
        "SETRUPHead": CLASSIFIER,
        "SideAdapterCLIPHead": Drops({}, attention=(0.0,) * 8),
        "VPDDepthHead": NOTHING,
        "EoMTHead": Drops({}, attention=(0.0,) * 2),
        "PMTHead": Drops({}, attention=(0.0,) * 2),
        "SegmenterMaskTransformerHead": Drops(
            {f"layers.{i}.{name}": rate for i in range(2)
             for name, rate in [("attn.dropout", 0.2), ("ffn.layers.0.2", 0.2), ("ffn.layers.2", 0.2),
                                ("drop_path", i / 10)]},
            attention=(0.3,) * 2,
            arguments={"drop_rate": 0.2, "attn_drop_rate": 0.3, "drop_path_rate": 0.1}),
        "IterativeDecodeHead": Drops(
            {"kernel_generate_head.dropout": 0.1, **{f"kernel_update_head.0.{k}": v for k, v in PERCEPTRON.items()}},
            attention=(0.3,),
            arguments={"kernel_update_head": [Use("head_part", "KernelUpdateHead", dropout=0.3)]}),
        "Mask2FormerHead": Drops(
            {f"transformer_decoder.layers.{i}.{name}": 0.3 for i in range(3) for name in DECODER_LAYER},
            attention=(0.3,) * 6, arguments={"dropout": 0.3}),
        "MaskFormerHead": Drops(
            {f"transformer_decoder.layers.{i}.{name}": 0.1 for i in range(2) for name in DECODER_LAYER},
            attention=(0.1,) * 4),
    },
    "text_encoder": {"CLIPTextEncoder": Drops({}, attention=(0.0,) * 2)},
    "head_part": {"KernelUpdateHead": Drops(PERCEPTRON, arguments={"dropout": 0.3}), "KernelUpdator": NOTHING},
}  # fmt: skip
CASES = [(kind, name) for kind, names in DROPS.items() for name in names]
CALLED = [(kind, name) for kind, name in CASES if kind != "head_part"]
UNUSED_LAYERS = [("backbone", "HFBackbone"), ("backbone", "TIMM"), ("backbone", "ViTAdapter")]
"""With layers that drop nothing behind what is used, or that attention reads the rate of alone (transformers 4); what
does drop is in tests/backbones/test_hf.py and test_timm.py."""


def built(kind: str, name: str) -> nn.Module:
    torch.manual_seed(0)
    arguments = DROPS[kind][name].arguments or {}
    part: nn.Module = build(kind, name, {**TABLES[kind][name], **arguments}, TABLES)
    return opened(part, READS.get(name, LEVELS)) if kind == "head" else part


def inputs(kind: str, name: str) -> tuple[Any, ...]:
    levels = READS.get(name, LEVELS)
    return Case(kind, name, TABLES, refining=name in REFINING, naming=name in NAMING, levels=levels).inputs(SIZE)


def dropping(part: nn.Module) -> dict[str, nn.Module]:
    """Layers that drop, by name."""
    kinds = (nn.modules.dropout._DropoutNd, DropPath)
    return {name: layer for name, layer in part.named_modules() if isinstance(layer, kinds)}


def rate_of(layer: nn.Module) -> float:
    return layer.rate if isinstance(layer, DropPath) else layer.p  # type: ignore[return-value]


def drop_everything(layer: nn.Module) -> None:
    setattr(layer, "rate" if isinstance(layer, DropPath) else "p", EVERYTHING if isinstance(layer, DropPath) else 1.0)


def drop_nothing(part: nn.Module) -> None:
    for layer in dropping(part).values():
        setattr(layer, "rate" if isinstance(layer, DropPath) else "p", 0.0)


@contextmanager
def attention_rates() -> Iterator[list[float]]:
    """Collects the rates at which attention weights are dropped."""
    rates: list[float] = []
    original = F.scaled_dot_product_attention

    def noted(*arguments: Any, **keywords: Any) -> Tensor:
        rates.append(keywords.get("dropout_p", 0.0))
        return original(*arguments, **keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "scaled_dot_product_attention", noted)
        yield rates


# --- Of every part --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), CASES, ids=lambda value: value)
def test_layers_drop_at_the_rates_of_the_arguments(kind: str, name: str) -> None:
    found = {layer: rate_of(module) for layer, module in dropping(built(kind, name)).items()}
    without_zeros = {layer: rate for layer, rate in found.items() if rate}
    assert without_zeros == pytest.approx({layer: rate for layer, rate in DROPS[kind][name].layers.items() if rate})
    assert set(DROPS[kind][name].layers) <= set(found)


@pytest.mark.parametrize(("kind", "name"), CALLED, ids=lambda value: value)
def test_attention_drops_weights_in_training_only(kind: str, name: str) -> None:
    part = built(kind, name)
    with attention_rates() as rates:
        trained(part.train(), inputs(kind, name))
    assert tuple(rates) == DROPS[kind][name].attention
    with attention_rates() as rates:
        part.eval()(*inputs(kind, name))
    assert set(rates) <= {0.0}


@pytest.mark.parametrize(("kind", "name"), [c for c in CALLED if c not in UNUSED_LAYERS], ids=lambda value: value)
def test_every_layer_that_drops_is_used(kind: str, name: str) -> None:
    part, calls = built(kind, name), []
    for layer_name, layer in dropping(part).items():
        layer.register_forward_hook(lambda layer, inputs, output, layer_name=layer_name: calls.append(layer_name))
    trained(part.train(), inputs(kind, name))
    twice = "$^" if name in ONE_BRANCH else BEHIND_TWO_BRANCHES
    twice = OF_EACH_OUTPUT.get(name, twice)
    expected = {layer: 2 if re.search(twice, layer) else 1 for layer in dropping(part)}
    assert {layer: calls.count(layer) for layer in {*calls, *expected}} == expected


@pytest.mark.parametrize(("kind", "name"), CALLED, ids=lambda value: value)
def test_only_what_drops_draws_random_numbers(kind: str, name: str) -> None:
    """In evaluation nothing does; in training what the table says, points of PointRend, SegNeXt's bases, EoMT masks."""
    part, given = built(kind, name), inputs(kind, name)

    def draws(call: Any) -> bool:
        before = torch.get_rng_state()
        call()
        return not before.equal(torch.get_rng_state())

    assert not draws(lambda: part.eval()(*given))
    drops = DROPS[kind][name]
    drawing = ("PointHead", "LightHamHead", "EoMTHead", "PMTHead")
    random = any(drops.layers.values()) or any(drops.attention) or name in drawing
    assert draws(lambda: trained(part.train(), given)) is random


def test_every_part_of_the_catalogue_has_a_line() -> None:
    for kind, table in DROPS.items():
        assert sorted(table) == sorted(catalog.TABLE[kind]), f"say what every {kind} drops"


# --- Heads ----------------------------------------------------------------------------------------------------------

CLASSIFIED_APART = {"DAHead": ("pam", "cam")}
"""Head -> stages that have a dropout and a classifier of their own."""
WITHOUT_CLASSIFIER = {
    "MaskFormerHead", "Mask2FormerHead", "IterativeDecodeHead", "SegmenterMaskTransformerHead",
    "SideAdapterCLIPHead", "VPDDepthHead", "EoMTHead", "PMTHead",
    "NNUNetHead", "ImageClassHead",
}  # fmt: skip
PIXEL_HEADS = sorted(set(TABLES["head"]) - WITHOUT_CLASSIFIER)


OTHER_CLASSIFIERS = ("DDRHead", "GCNetHead", "PIDHead", "PPLiteSegHead")
"""Heads that only training looks at in other places too, with classifiers of their own."""


def of_pixels(outputs: list[Tensor]) -> list[Tensor]:
    """Without the logits of whole images (N, K), which a layer of their own makes."""
    return [logits for logits in outputs if logits.ndim > 2]


@pytest.mark.parametrize("name", PIXEL_HEADS)
def test_heads_drop_what_the_classifier_reads(name: str) -> None:
    """With everything dropped, the bias of the classifier is left."""
    head: Any = built("head", name).train()
    for own in CLASSIFIED_APART.get(name, ()):
        drop_everything(getattr(head, f"{own}_dropout"))
        getattr(head, f"{own}_conv_seg").bias = head.conv_seg.bias
    drop_everything(head.dropout)
    classifier = head.fc_seg if name == "PointHead" else head.conv_seg
    nn.init.normal_(classifier.bias)
    outputs = of_pixels(trained(head, inputs("head", name)))
    for logits in outputs[:1] if name in OTHER_CLASSIFIERS else outputs:
        expected = classifier.bias.view(1, -1, *(1,) * (logits.ndim - 2)).expand_as(logits)
        torch.testing.assert_close(logits, expected)


@pytest.mark.parametrize("name", PIXEL_HEADS)
@pytest.mark.parametrize("ratio", [0.4, 0.0, -1])
def test_heads_drop_at_the_ratio_of_the_argument(name: str, ratio: float) -> None:
    head: Any = build("head", name, {**TABLES["head"][name], "dropout_ratio": ratio}, TABLES)
    assert head.dropout.p == ratio if ratio > 0 else isinstance(head.dropout, nn.Identity)


@pytest.mark.parametrize("points", [False, True])
def test_heads_drop_whole_channels(points: bool) -> None:
    layer: Any = built("head", "PointHead").dropout if points else channel_dropout(0.1)
    torch.manual_seed(0)
    maps = layer.train()(torch.ones(8, 64, 42) if points else torch.ones(8, 64, 6, 7))
    channels = maps.flatten(2)
    assert (channels == channels[:, :, :1]).all()
    assert sorted(channels.unique().tolist()) == pytest.approx([0.0, 1 / 0.9])


# --- Blocks of transformers -----------------------------------------------------------------------------------------


def mit_block() -> Block:
    return Block(8, 2, sr_ratio=2, mlp_ratio=2, qkv_bias=True, drop_rate=0.0, attn_drop_rate=0.0, drop_path_rate=0.0,
                 norm=LN, inner_norm=LN, activation=GELU)  # fmt: skip


def swin_block() -> SwinBlock:
    attention = WindowAttention(8, 2, window_size=4, qkv_bias=True, qk_scale=None, dropout=0.0)
    windows = ShiftedWindows(attention, window_size=4, shift=2)
    return SwinBlock(windows, 8, hidden=16, norm=LN, activation=GELU, dropout=0.0, drop_path=0.0)


def test_a_block_of_mit_without_its_branches() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 16, 8)

    def run(*layers: str) -> Tensor:
        """The block in training, with these layers dropping everything."""
        torch.manual_seed(1)
        block = mit_block().train()
        for name in layers:
            drop_everything(block.get_submodule(name))
        out: Tensor = block(x, 4, 4)
        return out

    torch.manual_seed(1)
    block = mit_block().train()
    attended = block.attn(block.norm1(x), 4, 4)
    assert run("drop_path").equal(x)
    assert run("attn.dropout", "ffn.layers.5").equal(x)
    assert run("attn.dropout").equal(x + block.ffn(block.norm2(x), 4, 4))
    assert run("ffn.layers.5").equal(x + attended)
    torch.testing.assert_close(run("ffn.layers.3"), x + attended + block.ffn.layers[4].bias)


def test_a_block_of_swin_without_its_branches() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 8, 8, 8)

    def run(*layers: str) -> Tensor:
        torch.manual_seed(1)
        block = swin_block().train()
        for name in layers:
            drop_everything(block.get_submodule(name))
        out: Tensor = block(x)
        return out

    torch.manual_seed(1)
    block = swin_block().train()
    attended = block.attn(block.norm1(x))
    assert run("drop_path").equal(x)
    assert run("dropout", "ffn.layers.2").equal(x)
    assert run("dropout").equal(x + block.ffn(block.norm2(x)))
    assert run("ffn.layers.2").equal(x + attended)
    torch.testing.assert_close(run("ffn.layers.0.2"), x + attended + block.ffn.layers[1].bias)


def test_swin_drops_tokens_behind_the_embedding() -> None:
    backbone = SwinTransformer(embed_dims=8, depths=(1,), num_heads=(2,), strides=(4,), out_indices=(0,), window_size=4,
                            use_abs_pos_embed=True, pretrain_img_size=32, drop_path_rate=0.0).train()  # fmt: skip
    drop_everything(backbone.drop_after_pos)
    images = torch.randn(2, 3, 32, 32)
    (found,) = backbone(images)
    expected = backbone.norm0(backbone.stages[0].blocks[0](torch.zeros(2, 8, 8, 8))).permute(0, 3, 1, 2)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("depths", "rates"), [((2, 2), [0, 0.1, 0.2, 0.3]), ((1,), [0]), ((1, 3), [0, 0.1, 0.2, 0.3])])
def test_depth_is_dropped_linearly_over_all_stages(depths: tuple[int, ...], rates: list[float]) -> None:
    stages = len(depths)
    swin = SwinTransformer(embed_dims=4, depths=depths, num_heads=(1,) * stages, strides=(4, 2)[:stages],
                           out_indices=(0,), drop_path_rate=0.3)  # fmt: skip
    mit = MixVisionTransformer(embed_dims=4, num_stages=stages, num_layers=depths, num_heads=(1,) * stages,
                               patch_sizes=(3,) * stages, strides=(2,) * stages, sr_ratios=(1,) * stages,
                               out_indices=(0,), drop_path_rate=0.3)  # fmt: skip
    for backbone in (swin, mit):
        found = [layer.rate for layer in backbone.modules() if isinstance(layer, DropPath)]
        assert found == pytest.approx(rates)


@pytest.mark.parametrize("method", [maskformer, mask2former])
def test_a_decoder_layer_without_its_branches(method: Any) -> None:
    torch.manual_seed(0)
    query, place, memory, positions = torch.randn(2, 5, 8), torch.randn(5, 8), torch.randn(2, 6, 8), torch.randn(6, 8)
    more = (torch.ones(2, 1, 5, 6, dtype=torch.bool),) if method is mask2former else ()

    def layer() -> Any:
        torch.manual_seed(1)
        return method.DecoderLayer(8, num_heads=2, hidden=16, dropout=0.0).train()

    def run(*layers: str) -> Tensor:
        made = layer()
        for name in layers:
            drop_everything(made.get_submodule(name))
        out: Tensor = made(query, place, memory, positions, *more)
        return out

    norms, ffn = layer().norms, layer().ffn
    before = norms[1](norms[0](query))
    assert run("dropout", "ffn.layers.2").equal(norms[2](before))
    assert run("dropout").equal(norms[2](before + ffn(before)))
    torch.testing.assert_close(run("dropout", "ffn.layers.0.2"), norms[2](before + ffn.layers[1].bias))
    assert not run("ffn.layers.2").equal(norms[2](before))
    with attention_rates() as rates:
        method.DecoderLayer(8, num_heads=2, hidden=16, dropout=0.4).train()(query, place, memory, positions, *more)
    assert rates == [0.4, 0.4]


def test_a_perceptron_drops_behind_either_layer() -> None:
    layer, x = FeedForward(8, 16, dropout=0.3).train(), torch.randn(2, 5, 8)
    assert [module.p for module in layer.modules() if isinstance(module, nn.Dropout)] == [0.3, 0.3]
    drop_nothing(layer)
    drop_everything(layer.layers[0][2])
    torch.testing.assert_close(layer(x), layer.layers[1].bias.expand(2, 5, 8))
    drop_nothing(layer)
    drop_everything(layer.layers[2])
    assert not layer(x).any()


def test_attention_layers_drop_only_in_training() -> None:
    x = torch.randn(1, 4, 8)
    windows = torch.randn(1, 1, 4, 8)
    calls = [
        (MultiheadAttention(8, 2, dropout=0.3), (x, x)),
        (Attention(8, 2, dropout=0.3), (x, x, x)),
        (SpatialReductionAttention(8, 2, sr_ratio=1, bias=True, attn_dropout=0.3, dropout=0.0, norm=LN), (x, 2, 2)),
        (WindowAttention(8, 2, window_size=2, qkv_bias=True, qk_scale=None, dropout=0.3), (windows, None)),
    ]
    for layer, arguments in calls:
        for training, rate in ((True, 0.3), (False, 0.0)):
            with attention_rates() as rates:
                layer.train(training)(*arguments)
            assert rates == [rate]


def test_mixed_perceptron_drops_behind_activation_and_behind_all() -> None:
    layer = MixFFN(8, 16, dropout=0.3, activation=GELU)
    assert {name: rate_of(module) for name, module in dropping(layer).items()} == {"layers.3": 0.3, "layers.5": 0.3}


# --- Masked attention -----------------------------------------------------------------------------------------------


def masks_of_attention(head: Any, given: tuple[Any, ...]) -> tuple[list[Tensor], list[Tensor]]:
    """What each layer of a Mask2Former may look at (N, 1, Q, S_i), and all that the head finds (N, Q, h, w)."""
    masks: list[Tensor] = []
    for layer in head.transformer_decoder.layers:
        layer.cross_attn.register_forward_hook(lambda *call: masks.append(call[2]["mask"]), with_kwargs=True)
        layer.self_attn.register_forward_hook(lambda *call: _without_mask(call[2]), with_kwargs=True)
    found = [predicted for _, predicted in head.eval()(*given)]
    assert len(found) == len(masks) + 1
    return masks, found


def _without_mask(keywords: Mapping[str, Any]) -> None:
    assert keywords.get("mask") is None, "queries see each other without a mask"


def test_every_layer_of_mask2former_looks_where_the_layer_before_saw_its_mask() -> None:
    head, given = built("head", "Mask2FormerHead"), inputs("head", "Mask2FormerHead")
    masks, found = masks_of_attention(head, given)
    sizes = [level.shape[2:] for level in reversed(given[0][1:])]  # coarsest first, in turn
    partly = 0
    for i, mask in enumerate(masks):
        inside = F.interpolate(found[i], sizes[i % 3], mode="bilinear").flatten(2) >= 0  # (N, Q, S_i)
        for seen, own in zip(mask.flatten(0, 2), inside.flatten(0, 1), strict=True):
            assert seen.equal(own if own.any() else torch.ones_like(own))
            partly += int(not own.all() and own.any().item())
    assert partly > 10, "masks of every kind are needed to see anything"


def test_a_query_without_a_mask_sees_everything() -> None:
    """Nothing to look at would be nan."""
    head: Any = built("head", "Mask2FormerHead")
    with torch.no_grad():
        head.pixel_decoder.mask_feature.weight.zero_()
        head.pixel_decoder.mask_feature.bias.fill_(-1.0)
        head.mask_embed[-1].weight.zero_()
        head.mask_embed[-1].bias.fill_(1.0)
    masks, found = masks_of_attention(head, inputs("head", "Mask2FormerHead"))
    assert all((logits < 0).all() for logits in found)
    assert all(mask.all() for mask in masks)
