"""Files of pretrained backbones as their libraries write them: loaded whole, with the same features, grids, bands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia import recipes
from intarsia.backbones.beit import BEiT
from intarsia.backbones.convnext import ConvNeXt
from intarsia.backbones.hrnet import HRNet
from intarsia.backbones.mae import MAE
from intarsia.backbones.mobilenet_v2 import MobileNetV2
from intarsia.backbones.resnet import ResNet
from intarsia.backbones.swin import SwinTransformer
from intarsia.backbones.vit import VisionTransformer
from intarsia.config.build import build_task
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.layers.norm import Norm
from intarsia.spec import RunSpec
from intarsia.weights.file import LoadReport, apply_state
from intarsia.weights.legacy_names import with_present_names
from intarsia.weights.maps import translated
from intarsia.weights.pretrained.fit import (
    FIRST_CONVOLUTIONS,
    Fitted,
    fit_to,
    may_lack,
    resize_absolute,
    resize_geometrically,
    resize_table,
    with_bands,
)
from intarsia.workflows.pretrained import _of_part, _usual
from tests.recipes.test_recipes import own


def spec_of(name: str) -> RunSpec:
    values = own(name, data={"train": {"type": "DescribedDataset", "file": "d.yaml", "split": "train"}})
    return lower(Config.from_values(values, file=name))


LN6, LN6_2D = Norm("LN", eps=1e-6), Norm("LN2d", eps=1e-6)
SIZES = {"depths": (1, 1, 2, 1), "channels": (8, 16, 24, 32)}


def filled(module: nn.Module, seed: int = 0) -> nn.Module:
    """With random numbers in every parameter and statistic, and in the mode of evaluation."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                noise = torch.randn(value.shape, generator=generator) * 0.2
                value.copy_(noise.abs() + 0.5 if "var" in name or ("norm" in name and "weight" in name) else noise)
    return module.eval()


def load(module: nn.Module, state: Mapping[str, Tensor], **options: Any) -> tuple[Fitted, LoadReport]:
    """As a training loads a file that a person has named: everything must fit."""
    ours = {name.removeprefix("backbone."): value for name, value in translated(state).items()}
    kind = type(module).__name__
    fitted = fit_to(ours, module, kind=kind, **options)
    report = apply_state(module, fitted.state, optional=may_lack(kind, list(module.state_dict())))
    module.eval()
    return fitted, report


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(5))


# --- Each family against the library that it comes from -----------------------------------------------------------


def test_resnet_of_torchvision(images: Tensor) -> None:
    torchvision = pytest.importorskip("torchvision")
    theirs = filled(torchvision.models.resnet50(weights=None))
    ours = ResNet(depth=50)
    fitted, _ = load(ours, theirs.state_dict())
    assert fitted.left_out == ()  # the map has left the classifier out
    with torch.no_grad():
        x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(images))))
        for stage, found in zip(
            (theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4), ours(images), strict=True
        ):
            x = stage(x)
            scale = x.abs().max()
            close(found / scale, x / scale)


def test_mobilenet_of_torchvision(images: Tensor) -> None:
    torchvision = pytest.importorskip("torchvision")
    theirs = filled(torchvision.models.mobilenet_v2(width_mult=0.25, num_classes=3))
    ours = MobileNetV2(widen_factor=0.25, out_indices=(1, 2, 4, 6))
    load(ours, theirs.state_dict())
    with torch.no_grad():
        close(ours(images)[-1], theirs.features[:18](images))


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_convnext(images: Tensor, library: str) -> None:
    ours = ConvNeXt(arch=SIZES, out_indices=(0, 1, 2, 3), norm=LN6_2D)
    if library == "timm":
        timm = pytest.importorskip("timm")
        theirs = filled(timm.models.convnext.ConvNeXt(depths=SIZES["depths"], dims=SIZES["channels"], num_classes=3))
        features = theirs.forward_intermediates
    else:
        convnext = pytest.importorskip("torchvision.models.convnext")
        widths = (*SIZES["channels"], None)
        settings = [convnext.CNBlockConfig(widths[i], widths[i + 1], depth) for i, depth in enumerate(SIZES["depths"])]
        theirs = filled(convnext.ConvNeXt(settings, num_classes=3))
        features = None
    _, report = load(ours, theirs.state_dict())
    assert sorted(report.missing) == [f"norm{i}.{name}" for i in range(4) for name in ("bias", "weight")]
    with torch.no_grad():
        last = (
            theirs.forward_intermediates(images, intermediates_only=True)[-1] if features else theirs.features(images)
        )
        close(ours(images)[-1], ours.norm3(last))


def test_convnext_of_its_authors() -> None:
    """Their names, made of ours."""
    source = filled(ConvNeXt(arch=SIZES, out_indices=(0, 1, 2, 3)))
    words = {"depthwise_conv": "dwconv", "pointwise_conv": "pwconv"}
    state = {name: value for name, value in source.state_dict().items() if not name.startswith("norm")}
    for ours, theirs in words.items():
        state = {name.replace(ours, theirs): value for name, value in state.items()}
    state |= {"norm.weight": torch.ones(32), "head.weight": torch.ones(3, 32)}
    target = ConvNeXt(arch=SIZES, out_indices=(0, 1, 2, 3))
    load(target, state)
    close(target.stages[2][1].pointwise_conv2.weight, source.stages[2][1].pointwise_conv2.weight)


def vit_of_timm(size: int = 64, **options: Any) -> nn.Module:
    timm = pytest.importorskip("timm")
    vision_transformer = timm.models.vision_transformer.VisionTransformer
    return filled(vision_transformer(img_size=size, embed_dim=16, depth=2, num_heads=2, num_classes=3, **options))


def test_vit_of_timm(images: Tensor) -> None:
    theirs = vit_of_timm()
    ours = VisionTransformer(
        img_size=64, embed_dims=16, num_layers=2, num_heads=2, final_norm=True, patch_bias=True, norm=LN6
    )
    load(ours, theirs.state_dict())
    with torch.no_grad():
        expected = theirs.forward_features(images)[:, 1:].transpose(1, 2).unflatten(2, (4, 4))
        close(ours(images)[0], expected)


def test_a_norm_before_the_classifier_is_left_out_by_name() -> None:
    ours = VisionTransformer(img_size=64, embed_dims=16, num_layers=2, num_heads=2, patch_bias=True, norm=LN6)
    fitted, _ = load(ours, vit_of_timm().state_dict())
    assert fitted.left_out == ("ln1.weight", "ln1.bias")


def test_positions_of_another_grid_and_form() -> None:
    theirs = vit_of_timm(size=64)
    ours = VisionTransformer(
        img_size=(96, 128), embed_dims=16, num_layers=2, num_heads=2, final_norm=True, patch_bias=True,
        interpolate_mode="bilinear",
    )  # fmt: skip
    fitted, _ = load(ours, theirs.state_dict())
    positions = theirs.state_dict()["pos_embed"]
    grid = positions[:, 1:].transpose(1, 2).unflatten(2, (4, 4))
    resized = F.interpolate(grid, size=(6, 8), mode="bilinear", align_corners=False)
    close(ours.pos_embed[:, :1], positions[:, :1])
    close(ours.pos_embed[:, 1:], resized.flatten(2).transpose(1, 2))
    assert "1 learned positions resized (pos_embed: [1, 17, 16] to [1, 49, 16])" in fitted.notes


def test_mae_reads_the_plain_transformer_and_starts_its_own_positions_afresh() -> None:
    theirs = vit_of_timm(size=64)
    ours = MAE(img_size=96, embed_dims=16, num_layers=2, num_heads=2)
    _, report = load(ours, theirs.state_dict())
    close(ours.layers[1].attn.qkv.weight, theirs.blocks[1].attn.qkv.weight)
    assert {name.rpartition(".")[2] for name in report.missing} == {
        "gamma_1", "gamma_2", "relative_position_bias_table", "relative_position_index",
    }  # fmt: skip
    close(ours.pos_embed, resize_absolute(theirs.pos_embed, 37, None))


def beit_of_timm(size: int = 64) -> nn.Module:
    timm = pytest.importorskip("timm")
    return filled(
        timm.models.beit.Beit(
            img_size=size, embed_dim=16, depth=2, num_heads=2, num_classes=3, use_abs_pos_emb=False,
            use_rel_pos_bias=True, init_values=0.1,
        )
    )  # fmt: skip


def test_beit_of_timm(images: Tensor) -> None:
    theirs = beit_of_timm()
    ours = BEiT(img_size=64, embed_dims=16, num_layers=2, num_heads=2, norm=LN6)
    load(ours, theirs.state_dict())
    with torch.no_grad():
        x = theirs.patch_embed(images)
        x = torch.cat([theirs.cls_token.expand(2, -1, -1), x], dim=1)
        for block in theirs.blocks:
            x = block(x)
        close(ours(images)[0], x[:, 1:].transpose(1, 2).unflatten(2, (4, 4)))


def test_beit_of_another_grid_and_with_one_table_for_all_layers() -> None:
    state = {name: value for name, value in beit_of_timm().state_dict().items() if "relative_position" not in name}
    table = torch.randn(7 * 7 + 3, 2)
    state["rel_pos_bias.relative_position_bias_table"] = table
    ours = BEiT(img_size=96, embed_dims=16, num_layers=2, num_heads=2)
    load(ours, state)
    for layer in ours.layers:
        close(layer.attn.relative_position_bias_table, resize_geometrically(table, 11 * 11 + 3))


def swin_of_timm(window: int) -> nn.Module:
    timm = pytest.importorskip("timm")
    return filled(
        timm.models.swin_transformer.SwinTransformer(
            img_size=64, patch_size=4, embed_dim=8, depths=(1, 1, 2, 1), num_heads=(1, 2, 2, 4), window_size=window,
            num_classes=3,
        )
    )  # fmt: skip


@pytest.mark.parametrize("window", [4, 8])
def test_swin_of_timm(window: int) -> None:
    theirs = swin_of_timm(window=4)
    ours = SwinTransformer(embed_dims=8, depths=(1, 1, 2, 1), num_heads=(1, 2, 2, 4), window_size=window)
    _, report = load(ours, theirs.state_dict())
    assert {name.partition(".")[0] for name in report.missing if "index" not in name} == {f"norm{i}" for i in range(4)}
    table = theirs.layers[2].blocks[1].attn.relative_position_bias_table
    found = ours.stages[2].blocks[1].attn.w_msa.relative_position_bias_table
    close(found, resize_table(table, (2 * window - 1) ** 2))
    index = ours.stages[2].blocks[1].attn.w_msa.relative_position_index
    assert index.shape == (window**2, window**2)
    assert int(index.max()) == (2 * window - 1) ** 2 - 1


# --- OpenMMLab's published layouts --------------------------------------------------------------------------------


def test_swin_as_openmmlab_publishes_it() -> None:
    """Its file has masks, a last norm, and no norms of levels (mmsegmentation issue 2509 lists them)."""
    sizes: dict[str, Any] = {
        "embed_dims": 8,
        "depths": (1, 2),
        "num_heads": (1, 2),
        "strides": (4, 2),
        "window_size": 4,
    }
    source = filled(SwinTransformer(**sizes, out_indices=(0, 1)))
    state = {name: value for name, value in source.state_dict().items() if not name.startswith("norm")}
    more = {"norm.weight": torch.ones(16), "norm.bias": torch.ones(16), "stages.1.blocks.1.attn_mask": torch.ones(4, 9)}
    target = SwinTransformer(**sizes, out_indices=(0, 1))
    fitted, report = load(target, state | more)
    assert set(fitted.left_out) == set(more)
    assert sorted(report.missing) == ["norm0.bias", "norm0.weight", "norm1.bias", "norm1.weight"]
    close(target.stages[1].blocks[1].attn.w_msa.qkv.weight, source.stages[1].blocks[1].attn.w_msa.qkv.weight)


def test_hrnet_as_openmmlab_publishes_it() -> None:
    """Its file has the classifier's modules (mmsegmentation issue 840 lists them)."""
    sizes: dict[str, Any] = {
        "channels": ((8,), (4, 8), (4, 8, 16), (4, 8, 16, 32)),
        "num_blocks": ((1,), (1, 1), (1, 1, 1), (1, 1, 1, 1)),
        "num_modules": (1, 1, 1, 1),
    }
    source = filled(HRNet(**sizes))
    more = {
        "incre_modules.0.0.conv1.weight": torch.ones(1), "downsamp_modules.0.0.weight": torch.ones(1),
        "final_layer.0.weight": torch.ones(1), "classifier.bias": torch.ones(1),
    }  # fmt: skip
    target = HRNet(**sizes)
    fitted, _ = load(target, source.state_dict() | more)
    assert set(fitted.left_out) == set(more)
    close(target.stage4[0].branches[3][0].conv1.weight, source.stage4[0].branches[3][0].conv1.weight)


OWN = {
    usual.written: (name, usual.parts[0])
    for name in reversed(recipes.short_names())
    if (usual := _usual(spec_of(name))) is not None
}
"""Name of pretrained weights -> a recipe that starts from them, and the part that does."""


@pytest.mark.parametrize("written", sorted(OWN))
@pytest.mark.parametrize("before", ["", "backbone."])
def test_every_backbone_of_the_recipes_is_read_whole_from_its_own_names(written: str, before: str) -> None:
    """OpenMMLab's files have the names of the network itself, with or without a word before them."""
    recipe, part = OWN[written]
    with torch.device("meta"):
        task = build_task(spec_of(recipe))
    module = task.model.get_submodule(part)
    file, _ = with_present_names({before + name: value for name, value in module.state_dict().items()})
    found, others = _of_part(translated(file), part)
    fitted = fit_to(found, module, kind=type(module).__name__)
    assert others == ()
    assert fitted.left_out == ()
    assert set(fitted.state) == set(module.state_dict())


@pytest.mark.parametrize("name", ["layer9.0.conv1.weight", "neck.conv.weight", "headless.weight"])
def test_an_unknown_name_is_an_error_with_both_sides(name: str) -> None:
    state = dict(filled(ResNet(depth=18)).state_dict())
    del state["layer1.0.conv1.weight"]
    with pytest.raises(ValueError, match=name) as caught:
        load(ResNet(depth=18), state | {name: torch.ones(1)})
    assert "layer1.0.conv1.weight" in str(caught.value)


def test_another_size_is_an_error() -> None:
    with pytest.raises(ValueError, match="of another shape"):
        load(ResNet(depth=18, base_channels=32), ResNet(depth=18).state_dict())


# --- Positions ----------------------------------------------------------------------------------------------------


def test_tables_keep_their_middle_and_their_edges() -> None:
    """A table that falls off linearly with distance, as the original's own resampling sees it."""
    side = np.arange(-6, 7, dtype=np.float64)
    field = torch.from_numpy(np.stack([side[:, None] + 2 * side], axis=-1).reshape(-1, 1))
    table = torch.cat([field, torch.tensor([[7.0], [8.0], [9.0]], dtype=torch.float64)])
    resized = resize_geometrically(table, 27 * 27 + 3)
    grid = resized[:-3].reshape(27, 27)
    close(resized[-3:], table[-3:])
    close(grid[13, 13], torch.zeros((), dtype=torch.float64))
    close(grid, -grid.flip(0, 1))
    # The old edge, 6 steps away, is where the new one is, 13 steps away.
    torch.testing.assert_close(grid[26, 13], torch.tensor(6.0, dtype=torch.float64), rtol=0, atol=1e-3)
    torch.testing.assert_close(grid[13, 26], torch.tensor(12.0, dtype=torch.float64), rtol=0, atol=1e-3)
    # Near the middle old steps are whole ones, further out they are longer.
    torch.testing.assert_close(grid[14, 13], torch.tensor(1.0, dtype=torch.float64), rtol=0, atol=0.05)
    assert float(grid[26, 13] - grid[25, 13]) < float(grid[14, 13] - grid[13, 13])
    assert resize_geometrically(table, table.shape[0]) is table


def test_swins_tables_are_resized_bicubically() -> None:
    table = torch.randn(49, 3)
    expected = F.interpolate(table.T.reshape(1, 3, 7, 7), size=(15, 15), mode="bicubic", align_corners=False)
    close(resize_table(table, 225), expected.reshape(3, 225).T)


# --- Bands --------------------------------------------------------------------------------------------------------


WEIGHT = torch.arange(2 * 3 * 4, dtype=torch.float32).reshape(2, 3, 2, 2)


@pytest.mark.parametrize("method", FIRST_CONVOLUTIONS)
def test_a_grey_image_gets_the_answer_of_three_equal_bands(method: Any) -> None:
    grey = torch.randn(1, 1, 5, 5)
    found = F.conv2d(grey, with_bands(WEIGHT, torch.zeros(2, 1, 2, 2), method))
    close(found, F.conv2d(grey.expand(-1, 3, -1, -1), WEIGHT))


@pytest.mark.parametrize("bands", [4, 6, 13])
def test_more_bands(bands: int) -> None:
    start = torch.randn(2, bands, 2, 2)
    repeated = with_bands(WEIGHT, start, "repeat")
    for band in range(bands):
        close(repeated[:, band], WEIGHT[:, band % 3] * 3 / bands)
    mean = with_bands(WEIGHT, start, "mean")
    close(mean, (WEIGHT.sum(dim=1, keepdim=True) / bands).expand(-1, bands, -1, -1))
    close(mean.sum(dim=1), WEIGHT.sum(dim=1))
    for method, new in (("zero", torch.zeros_like(start)), ("random", start)):
        found = with_bands(WEIGHT, start, method)  # type: ignore[arg-type]
        close(found[:, :3], WEIGHT)
        close(found[:, 3:], new[:, 3:])


@pytest.mark.parametrize("bands", [1, 2, 4, 8])
@pytest.mark.parametrize("method", FIRST_CONVOLUTIONS)
@pytest.mark.parametrize(
    "make",
    [
        lambda bands: ResNet(depth=18, in_channels=bands),
        lambda bands: MobileNetV2(in_channels=bands, widen_factor=0.25),
        lambda bands: ConvNeXt(in_channels=bands, arch=SIZES),
        lambda bands: VisionTransformer(in_channels=bands, img_size=32, embed_dims=8, num_layers=1, num_heads=2),
        lambda bands: SwinTransformer(
            in_channels=bands, embed_dims=8, depths=(1, 1), num_heads=(1, 2), strides=(4, 2), out_indices=(0, 1)
        ),
    ],
    ids=["resnet", "mobilenet", "convnext", "vit", "swin"],
)
def test_every_backbone_takes_other_bands(make: Any, bands: int, method: Any) -> None:
    source, target = filled(make(3)), make(bands)
    fitted, report = load(target, source.state_dict(), first_convolution=method)
    assert report.complete
    assert len(fitted.notes) == 1
    assert f"3 to {bands} bands ({method})" in fitted.notes[0]
    assert all(torch.isfinite(level).all() for level in target(torch.randn(1, bands, 64, 64)))


def test_an_unknown_method_lists_all() -> None:
    with pytest.raises(ValueError, match=r"repeat, mean, zero, random; found 'often'"):
        load(ResNet(depth=18), ResNet(depth=18).state_dict(), first_convolution="often")
