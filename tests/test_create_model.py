"""`intarsia.create_model` and `intarsia.save`: networks for anybody's own loop, and back into weights files."""

from __future__ import annotations

import copy
import io
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from simulated_gpu import DEVICE, simulated_gpu
from torch import Tensor, nn

import intarsia
from intarsia.layers.levels import resize
from intarsia.recipes.trunk_heads import HEADS
from intarsia.weights.file import WeightsMeta, apply_state, load_state, read_meta
from intarsia.weights.maps import translated

pytest.importorskip("timm", reason="timm is not installed")

PYRAMID, PLAIN = "test_convnext.r160_in1k", "test_vit"
NAMES = ("sky", "road", "car")


def made(name: str = "unet", trunk: str | None = PYRAMID, **arguments: Any) -> intarsia.SegmentationModel:
    """A model with random weights that say different things of pixels."""
    torch.manual_seed(0)
    return intarsia.create_model(
        name, trunk=trunk, **{"num_classes": len(NAMES), "pretrained": False, **arguments}
    ).eval()


def images(bands: int = 3, height: int = 61, width: int = 70, count: int = 2) -> Tensor:
    return torch.randn(count, bands, height, width, generator=torch.Generator().manual_seed(1))


# --- Any head, any size, any bands --------------------------------------------------------------------------------


@pytest.mark.parametrize("head", HEADS)
def test_every_decoder_on_a_trunk(head: str) -> None:
    """Four bands and odd sizes; training mode gives the same one tensor."""
    try:
        model = made(head, bands=4)
    except ValueError:
        model = made(head, PLAIN, bands=4)  # heads that are for plain transformers
    for mode in (False, True):
        found = model.train(mode)(images(4, 97, 130))
        assert isinstance(found, Tensor)
        assert found.shape == (2, len(NAMES), 97, 130)
        assert found.dtype == torch.float32
    assert model.bands == 4


@pytest.mark.parametrize("name", ["fast_scnn", "segformer_mit-b0", "segformer_mit-b0_8xb2-160k_ade20k-512x512"])
def test_other_recipes_by_their_names(name: str) -> None:
    found = made(name, None)(images(height=45, width=77))
    assert found.shape == (2, len(NAMES), 45, 77)
    assert made(name, None, num_classes=1)(images()).shape == (2, 1, 61, 70)


@pytest.mark.parametrize(
    "trunk", [f"timm://{PYRAMID}", f"timm/{PYRAMID}", f"hf-hub:timm/{PYRAMID}", f"hf://timm/{PYRAMID}"]
)
def test_a_trunk_by_its_name_on_the_hub(trunk: str) -> None:
    assert made(trunk=trunk).facts.recipe == f"unet_timm:{PYRAMID}"


def test_a_published_recipe_has_its_own_classes() -> None:
    assert made("segformer_mit-b0_8xb2-160k_ade20k-512x512", None, num_classes=None).num_classes == 150


def test_images_smaller_than_the_coarsest_level() -> None:
    assert made("upernet")(images(height=5, width=3)).shape == (2, 3, 5, 3)


def test_masks_give_how_much_of_each_class_is_in_a_pixel() -> None:
    model = made("eomt", PLAIN)
    found = model(images())
    assert not model.gives_logits
    assert made().gives_logits
    assert (found >= 0).all()
    assert found.sum(dim=1).max() > 0
    assert found.requires_grad
    with pytest.raises(ValueError, match="finds masks"):
        model.training_outputs(images())


def test_logits_are_those_that_evaluation_has(tmp_path: Path) -> None:
    """Of an image of odd size, from the head's stride on: what `predict` computes of the saved file."""
    pixels = np.random.default_rng(0).integers(0, 256, (75, 90, 3), dtype=np.uint8)
    for name, trunk in (("segformer", PYRAMID), ("unet", PYRAMID), ("eomt", PLAIN)):
        model = made(name, trunk)
        file = intarsia.save(model, tmp_path / f"{name}.safetensors", classes=NAMES)
        found = torch.as_tensor(intarsia.load(file, device="cpu").predict(pixels, logits=True).logits)
        stored = torch.from_numpy(pixels).permute(2, 0, 1)
        with torch.no_grad():
            torch.testing.assert_close(model(model.normalise(stored)[None])[0], found, rtol=1e-5, atol=1e-5)


# --- As a module of torch -----------------------------------------------------------------------------------------


def test_names_of_the_state_are_those_of_weights_files() -> None:
    model = made("upernet", auxiliary=True)
    assert [name for name, _ in model.named_children()] == ["backbone", "decode_head", "auxiliary_head", "preprocess"]
    assert {name.partition(".")[0] for name in model.state_dict()} == {"backbone", "decode_head", "auxiliary_head"}
    assert "auxiliary_head" not in dict(made("upernet").named_children())
    assert model.backbone is model.network.backbone


def unpickled(model: nn.Module) -> Any:
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("copied", [copy.deepcopy, unpickled])
def test_copies_are_whole_and_their_own(copied: Any) -> None:
    model = made().freeze("backbone.stem")
    other, before = copied(model), model(images())
    assert other(images()).equal(before)
    with torch.no_grad():
        other.decode_head.conv_seg.bias.add_(1.0)
    torch.testing.assert_close(other(images()), before + 1.0)
    assert model(images()).equal(before)
    assert not other.backbone.stem.training
    assert other.double()(images().double()).dtype == torch.float64
    assert next(model.parameters()).dtype == torch.float32


def test_a_head_that_is_replaced_is_used() -> None:
    model = made("linear")

    class Nothing(nn.Module):
        def forward(self, features: Any) -> Tensor:
            return features[0][:, :3] * 0

    model.decode_head = Nothing()
    assert not model(images()).any()
    assert not list(model.decode_head.parameters())


def test_state_goes_through_torch_save() -> None:
    model, other = made(), made()
    with torch.no_grad():
        for value in other.parameters():
            value.zero_()
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert other(images()).equal(model(images()))


def test_torch_exports_and_compiles_it() -> None:
    model = made("segformer", bands=4)
    with torch.no_grad():
        expected = model(images(4))
        torch.testing.assert_close(torch.export.export(model, (images(4),)).module()(images(4)), expected)
        compiled = torch.compile(model, backend="eager")
        torch.testing.assert_close(compiled(images(4)), expected)
    file = io.BytesIO()
    torch.save(compiled.state_dict(), file)


def test_autocast_leaves_logits_in_full_precision() -> None:
    model = made("segformer")
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        assert model(images()).dtype == torch.float32
    assert model.bfloat16()(images().bfloat16()).dtype == torch.float32


def test_an_accelerator_is_not_waited_for() -> None:
    """Normalised inside or outside, all that the model computes with is where it was moved to."""
    for inside in (False, True):
        model = made("segformer", normalise=inside)
        stored = torch.randint(0, 256, (2, 3, 40, 50), dtype=torch.uint8)
        with torch.no_grad():
            expected = model(stored if inside else model.normalise(stored))
        with simulated_gpu() as waits, torch.no_grad():
            model.to(DEVICE)
            given = stored.to(DEVICE)
            waits.found.clear()
            found = model(given if inside else model.normalise(given))
            assert found.device == DEVICE
            assert not waits.found
            torch.testing.assert_close(found.cpu(), expected)


def test_auxiliary_heads_are_there_when_asked_for() -> None:
    model = made("upernet", auxiliary=True)
    outputs = model.training_outputs(images())
    assert list(outputs) == ["decode", "aux"]
    assert {tuple(value.shape) for value in outputs.values()} == {(2, 3, 61, 70)}
    assert outputs["decode"].equal(model(images()))


def test_a_loop_of_ones_own_lowers_the_loss() -> None:
    """As Lightning would run it: a module holds the model, its parameters go into an optimizer."""

    class Lesson(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = made()

        def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
            logits = self.model(batch[0])
            return intarsia.losses.cross_entropy(logits, batch[1]) + intarsia.losses.dice(logits, batch[1])

    lesson = Lesson().train()
    pixels = images(height=40, width=48)
    labels = (pixels[:, 0] > 0).long() + (pixels[:, 0] > 1).long()
    labels[:, :3] = 255
    optimizer = torch.optim.AdamW(lesson.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        loss = lesson.training_step((pixels, labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(value.grad is not None for value in lesson.parameters())
    assert losses[-1] < 0.8 * losses[0]


def test_lightnings_fabric_takes_it(tmp_path: Path) -> None:
    """It is set up, trained for a step, and saved as it came back."""
    fabric = pytest.importorskip("lightning_fabric").Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    model = made()
    before = copy.deepcopy(model.state_dict())
    wrapped, optimizer = fabric.setup(model.train(), torch.optim.SGD(model.parameters(), lr=0.1))
    loss = intarsia.losses.cross_entropy(wrapped(images()), torch.ones(2, 61, 70, dtype=torch.uint8))
    fabric.backward(loss)
    optimizer.step()
    state = load_state(intarsia.save(wrapped, tmp_path / "w.safetensors", classes=NAMES))
    assert state.keys() == before.keys()
    assert not any(state[name].equal(before[name]) for name in ("backbone.stem.0.weight", "decode_head.conv_seg.bias"))


def test_processes_share_it(tmp_path: Path) -> None:
    """DistributedDataParallel finds every parameter in use, also where a recipe has auxiliary heads."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1)
    try:
        for name in ("upernet", "unet"):
            model = made(name).train()
            shared = nn.parallel.DistributedDataParallel(model)
            for _ in range(2):  # a parameter that was not used is found out in the second step
                shared(images()).square().mean().backward()
            assert all(value.grad is not None for value in model.parameters())
            assert intarsia.save(shared, tmp_path / "w.safetensors", classes=NAMES).exists()
    finally:
        torch.distributed.destroy_process_group()


# --- Normalisation ------------------------------------------------------------------------------------------------


def test_normalised_outside_and_inside_are_the_same() -> None:
    stored = (images().abs() * 60).clamp(max=255).round().to(torch.uint8)
    outside, inside = made(), made(normalise=True)
    expected = (stored.float() - torch.tensor(outside.mean).view(-1, 1, 1)) / torch.tensor(outside.std).view(-1, 1, 1)
    torch.testing.assert_close(outside.normalise(stored), expected)
    torch.testing.assert_close(inside(stored), outside(expected))
    assert outside.normalise(stored[0]).equal(outside.normalise(stored)[0])
    with pytest.raises(ValueError, match=r"found torch\.uint8: give model\.normalise\(images\)"):
        outside(stored)
    with pytest.raises(ValueError, match="normalises its images itself"):
        inside.normalise(stored)


def test_channels_in_another_order_inside() -> None:
    """A network that sees blue first is given, and asked for, red first all the same."""
    from dataclasses import replace

    from intarsia.tasks.preprocess import Preprocess

    model = made(normalise=True)
    spec = model.preprocess.spec
    expected = model(images())
    swapped = copy.deepcopy(model)
    swapped.preprocess = Preprocess(replace(spec, channel_order="bgr", mean=spec.mean[::-1], std=spec.std[::-1]))
    assert swapped.mean == model.mean
    swapped.backbone.stem[0].weight.data = model.backbone.stem[0].weight.data.flip(1)
    torch.testing.assert_close(swapped(images()), expected)
    swapped.set_normalisation((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    assert swapped.mean == (1.0, 2.0, 3.0)
    assert swapped.preprocess.spec.mean == (3.0, 2.0, 1.0)


def test_who_knows_how_images_are_normalised() -> None:
    assert made().mean == (123.675, 116.28, 103.53)  # of the recipe
    assert made(mean=(1, 2, 3), std=(4, 5, 6)).mean == (1.0, 2.0, 3.0)
    unknown = made(bands=4)
    assert unknown.mean is None
    assert unknown.std is None
    with pytest.raises(ValueError, match=r"nobody has said how images of 4 bands are normalised.*mean=\(\.\.\.\)"):
        unknown.normalise(images(4))
    with pytest.raises(ValueError, match="normalise=True needs mean"):
        made(bands=4, normalise=True)
    with pytest.raises(ValueError, match="one number for each of the 4 bands"):
        unknown.set_normalisation((1.0,), (1.0,))
    with pytest.raises(ValueError, match="mean and std are given together"):
        made(mean=(1, 2, 3))


# --- What is not trained ------------------------------------------------------------------------------------------


def test_freezing() -> None:
    model = made().train()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert all(norm.training for norm in norms)
    model.freeze("decode_head.*blocks*", "*.bias").train()
    held = [module for name, module in model.named_modules() if "decode_head.blocks" in name and module in norms]
    assert held
    assert not any(norm.training for norm in held)
    assert not any(value.requires_grad for name, value in model.named_parameters() if name.endswith("bias"))
    before = copy.deepcopy(model.state_dict())
    model(images())
    frozen = {name for name in before if name.startswith("decode_head.blocks")}
    assert frozen
    assert all(model.state_dict()[name].equal(before[name]) for name in frozen)
    model.unfreeze("decode_head.blocks.0")
    assert model.decode_head.blocks[0].training
    assert any(norm.training for norm in held)
    assert not all(norm.training for norm in held)
    model.unfreeze()
    assert all(value.requires_grad for value in model.parameters())
    assert all(norm.training for norm in norms)


def test_what_never_was_trained_stays_so() -> None:
    model = made()
    name, fixed = next(iter(model.named_parameters()))
    fixed.requires_grad_(False)
    again = intarsia.SegmentationModel(
        model.network, preprocess=model.preprocess, normalises=False, num_classes=3, align_corners=False
    )
    again.freeze("backbone").unfreeze()
    assert [key for key, value in again.named_parameters() if not value.requires_grad] == [name]


def test_names_that_there_are_not_list_those_that_there_are() -> None:
    model = made()
    with pytest.raises(ValueError, match=r"'encoder' matches no.*There are: backbone, decode_head, preprocess"):
        model.freeze("encoder")
    with pytest.raises(ValueError, match=r"Did you mean 'backbone'.*There are"):
        model.unfreeze("backbon")
    with pytest.raises(ValueError, match="leave nothing to train"):
        model.freeze("*")


# --- Weights files ------------------------------------------------------------------------------------------------


def test_a_trained_state_goes_through_a_file(tmp_path: Path) -> None:
    model = made(bands=4, mean=(1, 2, 3, 4), std=(5, 5, 5, 5))
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.01)
    file = intarsia.save(
        model, tmp_path / "mine.safetensors", classes=NAMES, palette=[(1, 2, 3), (4, 5, 6), (7, 8, 9)], step=12,
        labels={0: "sky", 1: "road", 2: "car", 9: "ignore"}, licence="MIT",
    )  # fmt: skip
    meta = read_meta(file)
    assert (meta.classes, meta.palette[1], meta.step, meta.licence) == (NAMES, (4, 5, 6), 12, "MIT")
    assert meta.labels == {"0": "sky", "1": "road", "2": "car", "9": "ignore"}
    assert meta.version == intarsia.__version__
    again = intarsia.create_model(file).eval()
    assert (again.num_classes, again.bands, again.mean) == (3, 4, (1.0, 2.0, 3.0, 4.0))
    assert again(images(4)).equal(model(images(4)))
    predictor = intarsia.load(file, device="cpu")
    assert (predictor.classes, predictor.reader.spec.bands) == (NAMES, "raw")
    pixels = np.random.default_rng(0).normal(size=(20, 30, 4)).astype(np.float32)
    assert predictor.predict(pixels).label.shape == (20, 30)


def test_wrapped_models_are_saved_too(tmp_path: Path) -> None:
    class Wrapper(nn.Module):  # as DistributedDataParallel holds what it wraps
        def __init__(self, module: nn.Module) -> None:
            super().__init__()
            self.module = module

    model = made()
    file = intarsia.save(Wrapper(torch.compile(model, backend="eager")), tmp_path / "w.safetensors", classes=NAMES)
    assert load_state(file).keys() == model.state_dict().keys()
    with pytest.raises(ValueError, match=r"a model of intarsia\.create_model, found a Conv2d"):
        intarsia.save(nn.Conv2d(3, 3, 1), tmp_path / "x.safetensors", classes=NAMES)


def test_no_file_is_written_that_could_not_be_read(tmp_path: Path) -> None:
    """What is no part of the description was written, and first missed when the file was wanted."""
    file, arguments = tmp_path / "w.safetensors", {"classes": NAMES}
    other = made()
    other.decode_head.conv_seg = nn.Conv2d(16, 7, 3, padding=1)
    with pytest.raises(
        ValueError, match=r"decode_head\.conv_seg\.bias: \(7,\), as described \(3,\); .*num_classes=\.\.\."
    ):
        intarsia.save(other, file, **arguments)
    other.num_classes = 7
    intarsia.save(other, file, classes=list("abcdefg"))
    assert intarsia.create_model(file).eval()(images()).equal(other(images()))
    file.unlink()
    more = made()
    more.extra = nn.Conv2d(3, 3, 1)
    with pytest.raises(ValueError, match=r"extra\.bias: \(3,\), as described not there; extra\.weight.* go around the"):
        intarsia.save(more, file, **arguments)
    thin = made()
    nn.utils.parametrizations.weight_norm(thin.decode_head.conv_seg)
    with pytest.raises(ValueError, match=r"conv_seg\.weight: missing, as described .*remove_parametrizations"):
        intarsia.save(thin, file, **arguments)
    assert not file.exists()
    nn.utils.parametrize.remove_parametrizations(thin.decode_head.conv_seg, "weight")
    assert intarsia.create_model(intarsia.save(thin, file, **arguments)).num_classes == 3


def test_one_class_is_a_foreground(tmp_path: Path) -> None:
    model = made(num_classes=1)
    assert model(images()).shape == (2, 1, 61, 70)
    file = intarsia.save(model, tmp_path / "one.safetensors", classes=["crack"])
    assert intarsia.load(file, device="cpu").classes == ("background", "crack")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": ["a", "b"]}, r"3 classes \(num_classes\), but classes has 2 names: a, b"),
        ({"classes": ["a", "b", "a"]}, "a name of its own"),
        ({"classes": NAMES, "palette": [(0, 0, 0)]}, "palette has 1 colours for 3 classes"),
        ({"classes": NAMES, "labels": {0: "tree"}}, "labels has tree, which is no class; there are sky, road, car"),
        ({"classes": NAMES, "mean": (1, 2, 3)}, "mean and std are given together"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        intarsia.save(made(), tmp_path / "w.safetensors", **arguments)


def test_bands_that_nobody_has_described_are_refused_and_told_how(tmp_path: Path) -> None:
    model = made(bands=2)
    with pytest.raises(ValueError, match="how the images of 2 bands were normalised"):
        intarsia.save(model, tmp_path / "w.safetensors", classes=NAMES)
    file = intarsia.save(model, tmp_path / "w.safetensors", classes=NAMES, mean=(0, 0), std=(255, 255))
    assert intarsia.create_model(file).std == (255.0, 255.0)
    assert model.mean is None
    assert made(bands=2, weights=file, pretrained="auto").std == (255.0, 255.0)
    inside = made(bands=2, mean=(0, 0), std=(9, 9), normalise=True)
    with pytest.raises(ValueError, match=r"normalises its images itself.*leave mean and std out"):
        intarsia.save(inside, tmp_path / "w.safetensors", classes=NAMES, mean=(0, 0), std=(255, 255))
    with pytest.raises(ValueError, match="one number for each of the 2 bands"):
        intarsia.save(model, tmp_path / "w.safetensors", classes=NAMES, mean=(0,), std=(255,))


def test_weights_of_another_number_of_classes(tmp_path: Path) -> None:
    file = intarsia.save(made(), tmp_path / "w.safetensors", classes=NAMES)
    with pytest.raises(ValueError, match=r"has num_classes=3, asked for is 5.*allow_partial=True"):
        intarsia.create_model(file, num_classes=5)
    with pytest.raises(ValueError, match="trained for 3 classes, the model has 5"):
        made(num_classes=5, weights=file, pretrained="auto")
    other = made(num_classes=5, weights=file, pretrained="auto", allow_partial=True)
    state = load_state(file)
    assert other.backbone.state_dict()["stem.0.weight"].equal(state["backbone.stem.0.weight"])


def test_a_folder_does_not_hide_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("unet", "fast_scnn", "run"):
        Path(name).mkdir()
    intarsia.save(made(), "run/weights.safetensors", classes=NAMES)
    assert made("unet").facts.recipe == f"unet_timm:{PYRAMID}"
    assert made("fast_scnn", None).facts.recipe == "fast_scnn"
    assert made("run", None, num_classes=None).facts.recipe == ""
    with pytest.raises(ValueError, match="says which network it is: leave trunk out"):
        made("run/weights.safetensors")


def test_an_ignored_index_of_ones_own(tmp_path: Path) -> None:
    meta: WeightsMeta = read_meta(intarsia.save(made(), tmp_path / "w.safetensors", classes=NAMES, ignore_index=99))
    assert meta.ignore_index == 99
    assert meta.config["model"]["decode_head"]["ignore_index"] == 99


# --- What it starts from ------------------------------------------------------------------------------------------


def test_pretrained_weights_of_a_trunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trunk = made("segformer").backbone.state_dict()
    torch.save({name: value + 1 for name, value in trunk.items()}, tmp_path / "trunk.pth")
    model = made("unet", pretrained=str(tmp_path / "trunk.pth"))
    assert model.backbone.state_dict()["stem.0.weight"].equal(trunk["stem.0.weight"] + 1)
    assert model.facts.loaded[0]["part"] == "backbone"
    assert "trunk.pth" in str(read_meta(intarsia.save(model, tmp_path / "w.safetensors", classes=NAMES)).pretrained[0])
    monkeypatch.setenv("INTARSIA_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(ValueError, match=r"pretrained=True: .*none are known for a FastSCNN.*pretrained=False"):
        made("fast_scnn", None, pretrained=True)


def test_random_weights_are_those_of_torchs_generator() -> None:
    assert made()(images()).equal(made()(images()))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("manet", {}, r"manet is a decoder: say on which network, trunk='resnet34'"),
        ("unett", {"trunk": PYRAMID}, r"no decoder 'unett' for a trunk. Did you mean 'unet'\? There are: upernet"),
        ("Unet++", {"trunk": PYRAMID}, r"Did you mean 'unetplusplus'\?"),
        ("unet", {"trunk": "somebody/network"}, "trunk is the name of a network of timm.*hf://OWNER/NAME"),
        (
            "deeplabv3plus",
            {"trunk": "dla34"},
            "to stride 16: .*dla34 cannot be built with output_stride=16; take upernet",
        ),
        ("eomt", {"trunk": PYRAMID}, "eomt runs in the last blocks of a plain transformer: .*; take mask2former$"),
        ("unet", {"trunk": "facebook/dinov2-small"}, r"did you mean 'hf://facebook/dinov2-small'\?"),
        ("unet", {"trunk": "tu-resnet18"}, "without 'tu-': trunk='resnet18'$"),
        ("unet", {"trunk": "mit_b0"}, "intarsia.smp takes it, .*'mit_b0', ...\\); timm has no such network"),
        ("unet", {"trunk": "se_resnet50"}, "intarsia.smp takes it, .* the network itself is trunk='legacy_seresnet50'"),
        ("unet", {"trunk": "swin_tiny"}, "no network 'swin_tiny'; did you mean swin_tiny_patch4_window7_224"),
        ("unet", {"trunk": "dinov3"}, "no network 'dinov3'; did you mean .*_dinov3"),
        ("unet", {"trunk": nn.Conv2d(3, 3, 1)}, r"trunk is a name, .* found a Conv2d: .*docs/own-parts\.md"),
        ("unet_timm:resnet18", {"trunk": PYRAMID}, "unet_timm:resnet18 says on which network it is: leave trunk out"),
        ("state.pth", {}, r"'state\.pth' has tensors and does not say of which network: .*weights=FILE"),
        (None, {}, "expected the name of a decoder .* found a NoneType"),
        ("unet", {"trunk": PYRAMID, "num_classes": "3"}, r"num_classes is a whole number, found '3' \(str\)"),
        ("unet", {"trunk": PYRAMID, "num_classes": 3.0}, "num_classes is a whole number"),
        ("unet", {"trunk": PYRAMID, "num_classes": NAMES}, "num_classes is a whole number"),
        ("unet", {"trunk": PYRAMID, "bands": True}, r"bands is a whole number, found True \(bool\)"),
        (
            "unet",
            {"trunk": PYRAMID, "mean": 0, "std": 255},
            "one number for each of the 3 bands, std above 0; found mean=0",
        ),
        ("unet", {"trunk": PYRAMID, "mean": (0, 0, 0), "std": (1, -1, 1)}, "std above 0"),
        ("unet", {"trunk": PYRAMID, "mean": (0, float("nan"), 0), "std": (1, 1, 1)}, "std above 0"),
        ("unet", {"trunk": "resnet35"}, "timm .* has no network 'resnet35'; did you mean"),
        ("unet", {"trunk": PYRAMID, "num_classes": None}, "num_classes is missing"),
        ("unet", {"trunk": PYRAMID, "bands": 0}, "bands is 1 or more, found 0"),
        ("unet", {"trunk": PYRAMID, "num_classes": -1}, "num_classes is 1 or more, found -1"),
        ("segformer_mitb0", {}, "unknown recipe 'segformer_mitb0'. Did you mean"),
        ("segformer_mit-b0_8xb2-160k_ade20k-512x512", {"bands": 4}, "published recipe, of images of 3 bands"),
        ("unet", {"trunk": PYRAMID, "weights": "a.pth", "pretrained": True}, "give one of them"),
        ("vpd_sd_4xb8-25k_nyu-480x480", {}, "a model of depth"),
    ],
    ids=str,
)
def test_what_cannot_be_made_is_said(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        intarsia.create_model(name, **{"num_classes": 3, "pretrained": "auto", **arguments})


def test_what_is_given_to_forward_is_checked() -> None:
    with pytest.raises(ValueError, match=r"expected images \(N, 3, H, W\), found \(3, 8, 8\)"):
        made()(torch.zeros(3, 8, 8))
    with pytest.raises(ValueError, match=r"expected images \(N, 3, H, W\), found \(2, 4, 61, 70\)$"):
        made()(images(4))
    with pytest.raises(ValueError, match=r"channels stand before height and width: images\.permute\(0, 3, 1, 2\)"):
        made()(torch.zeros(1, 8, 8, 3))
    for given in (np.zeros((8, 8, 3), np.uint8), [torch.zeros(3, 8, 8)]):
        for call in (made(), made().normalise):
            with pytest.raises(ValueError, match=r"expected a tensor of images \(N, 3, H, W\).*intarsia\.load"):
                call(given)
    with pytest.raises(ValueError, match=r"expected images \(N, 3, H, W\), found \(1, 8, 8, 3\)"):
        made().normalise(torch.zeros(8, 8, 3))


def test_numbers_of_numpy_are_numbers() -> None:
    model = made(num_classes=np.int64(3), bands=np.int32(4), depth=np.int64(3), decoder_channels=np.array([16, 8, 8]))
    assert model(images(4)).shape == (2, 3, 61, 70)
    assert made(mean=np.zeros(3), std=torch.full((3,), 255.0)).std == (255.0, 255.0, 255.0)
    assert made(pretrained=None)(images()).equal(made()(images()))


def test_figures_of_another_scale_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of ImageNet stand in most code for images in 0..1; of stored ones they would normalise to thousands."""
    usual = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    said = r"those of images in 0\.\.1.* mean=\(123\.675, 116\.28, 103\.53\) and std=\(58\.395, 57\.12, 57\.375\)"
    made(**usual)
    assert re.search(said, "".join(capsys.readouterr()))
    intarsia.save(made(), tmp_path / "w.safetensors", classes=NAMES, **usual)
    assert re.search(said, "".join(capsys.readouterr()))
    for other in ({"mean": (0, 0, 0), "std": (1, 1, 1)}, {"mean": (123.7, 116, 103), "std": (58, 57, 57)}):
        made(**other)
        assert "0..1" not in "".join(capsys.readouterr())


def test_a_network_of_another_default_type() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        model = made()
        assert model(images().double()).dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("names", [(), (["backbone"],)], ids=str)
def test_freezing_wants_names(names: tuple[Any, ...]) -> None:
    """Nothing was frozen, without a word; and of a list it was an error of Python's."""
    with pytest.raises(ValueError, match=r"freeze.*\('backbone'"):
        made().freeze(*names)
    with pytest.raises(ValueError, match=r"'encoder' matches no module or parameter\. There are: backbone"):
        made().freeze("encoder")


# --- As in segmentation_models.pytorch ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "head"), [("Unet", "unet"), ("UnetPlusPlus", "unetplusplus"), ("Linknet", "linknet"), ("MAnet", "manet")]
)
def test_weights_of_segmentation_models_pytorch_give_its_logits(kind: str, head: str, tmp_path: Path) -> None:
    smp = pytest.importorskip("segmentation_models_pytorch", reason="segmentation_models_pytorch is not installed")
    theirs = learnt(getattr(smp, kind)(encoder_name="resnet18", encoder_weights=None, in_channels=4, classes=3))
    torch.save(theirs.state_dict(), tmp_path / "smp.pth")
    ours = made(head, "resnet18", bands=4, weights=tmp_path / "smp.pth", pretrained="auto")
    assert_same_logits(ours, theirs, images(4, 64, 96))


def test_an_encoder_that_computes_otherwise_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The tensors fit timm's EfficientNet, whose levels are others."""
    smp = pytest.importorskip("segmentation_models_pytorch", reason="segmentation_models_pytorch is not installed")
    for encoder, trunk, words in (
        (
            "efficientnet-b0",
            "tf_efficientnet_b0",
            "an EfficientNet of segmentation_models.pytorch, which has other levels",
        ),
        ("resnet18", "resnet18", ""),
        ("tu-tf_efficientnet_b0", "tf_efficientnet_b0", ""),
    ):
        state = smp.FPN(encoder_name=encoder, encoder_weights=None, classes=3).state_dict()
        torch.save(state, tmp_path / "smp.pth")
        made("fpn", trunk, weights=tmp_path / "smp.pth", pretrained="auto")
        said = capsys.readouterr().err
        assert words in said
        assert bool(words) == ("other levels" in said)


def learnt(model: nn.Module) -> nn.Module:
    """A model whose norms have seen images, so that they pass on what comes."""
    torch.manual_seed(0)
    for norm in (part for part in model.modules() if isinstance(part, nn.BatchNorm2d)):
        nn.init.normal_(norm.running_mean, std=0.1)  # type: ignore[arg-type]
        nn.init.uniform_(norm.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return model.eval()


def assert_same_logits(ours: nn.Module, theirs: nn.Module, shown: Tensor) -> None:
    with torch.no_grad():
        found, expected = ours(shown), theirs(shown)
    largest = float(expected.abs().max())
    assert expected.std() > 1e-3 * largest > 0, "all logits are alike, so they prove nothing"
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * largest)


SHAPES: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "unet 3, scse": (
        "Unet",
        "unet",
        {"encoder_depth": 3, "decoder_channels": (32, 32, 16), "decoder_attention_type": "scse"},
        {"depth": 3, "decoder_channels": (32, 32, 16), "decoder_attention_type": "scse"},
    ),
    "unet 4, scse, bilinear": (
        "Unet",
        "unet",
        {
            "encoder_depth": 4,
            "decoder_channels": (256, 128, 64, 32),
            "decoder_attention_type": "scse",
            "decoder_interpolation": "bilinear",
        },
        {"depth": 4, "decoder_attention_type": "scse", "decoder_interpolation": "bilinear"},
    ),
    "unet 4 without norms": (
        "Unet",
        "unet",
        {"encoder_depth": 4, "decoder_channels": (32, 16, 8, 8), "decoder_use_norm": False},
        {"depth": 4, "decoder_channels": [32, 16, 8, 8], "decoder_norm": "none"},
    ),
    "unet++ 3, scse": (
        "UnetPlusPlus",
        "unetplusplus",
        {"encoder_depth": 3, "decoder_channels": (16, 16, 16), "decoder_attention_type": "scse"},
        {"depth": 3, "decoder_channels": (16, 16, 16), "decoder_attention_type": "scse"},
    ),
    "manet 4": (
        "MAnet",
        "manet",
        {"encoder_depth": 4, "decoder_channels": (16, 16, 8, 8)},
        {"depth": 4, "decoder_channels": (16, 16, 8, 8)},
    ),
    "linknet 3": ("Linknet", "linknet", {"encoder_depth": 3}, {"depth": 3}),
    "fpn": ("FPN", "fpn", {"decoder_segmentation_channels": 64}, {"decoder_channels": 64}),
    "pan": ("PAN", "pan", {}, {}),
    "pan 48": ("PAN", "pan", {"decoder_channels": 48}, {"decoder_channels": 48}),
}
"""Model of that library, decoder here, arguments of both."""


@pytest.mark.parametrize("case", SHAPES)
def test_decoders_of_other_shapes_give_the_logits_of_that_library(case: str) -> None:
    smp = pytest.importorskip("segmentation_models_pytorch", reason="segmentation_models_pytorch is not installed")
    kind, head, arguments, options = SHAPES[case]
    theirs = learnt(getattr(smp, kind)(encoder_name="resnet18", encoder_weights=None, classes=3, **arguments))
    ours = made(head, "resnet18", **options)
    apply_state(ours, translated(theirs.state_dict()))
    assert_same_logits(ours, theirs, images(height=128, width=160))


def test_shapes_of_decoders_are_kept_with_the_weights(tmp_path: Path) -> None:
    """Of a trunk without a level of stride 2: two levels, three blocks."""
    model = made("unet", depth=3, decoder_channels=(16, 16, 16), decoder_attention_type="scse")
    assert len(model.decode_head.in_channels) == 2
    file = intarsia.save(model, tmp_path / "w.safetensors", classes=NAMES)
    assert intarsia.create_model(file).eval()(images()).equal(model(images()))
    wide = made("upernet", PYRAMID, decoder_channels=48, decoder_norm={"type": "GN", "num_groups": 8})
    assert wide.decode_head.conv_seg.in_channels == 48
    assert any(isinstance(part, nn.GroupNorm) for part in wide.decode_head.modules())


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("unet", {"depth": 2}, "depth of unet is 3 to 5, found 2"),
        ("unet", {"depth": 6}, "depth of unet is 3 to 5, found 6"),
        ("upernet", {"depth": 4}, "upernet does not take depth: it takes decoder_channels, decoder_norm. Those that"),
        ("manet", {"decoder_attention_type": "scse"}, "manet does not take .* are unet, unetplusplus$"),
        ("lraspp", {"decoder_norm": "IN"}, "lraspp does not take decoder_norm: its shape is that of its paper"),
        ("unet", {"decoder_channels": (8, 8)}, "are 5 numbers here, one for each block, the coarsest first; found"),
        ("unet", {"decoder_channels": 8}, "are 5 numbers here"),
        ("unet", {"decoder_channels": (8, 8, 8, 8, 0)}, r"are 1 or more in each block, found \(8, 8, 8, 8, 0\)"),
        ("unet", {"decoder_channels": (8, 8, 8, 8, 8.0)}, r"decoder_channels is a whole number, found 8\.0"),
        ("unet", {"depth": "4"}, r"depth is a whole number, found '4' \(str\)"),
        ("unet", {"decoder_norm": "instancenorm"}, r"no decoder_norm 'instancenorm'. Did you mean 'IN'\?"),
        ("unet", {"decoder_norm": "GN"}, r"how many groups: dict\(type='GN', num_groups=32\)"),
        ("unet", {"decoder_norm": False}, "decoder_norm is a name .*; found False"),
        ("unet", {"decoder_attention_type": "se"}, "attention.*'se'"),
        ("upernet", {"decoder_channels": (8, 8)}, r"decoder_channels of upernet is one number, .* found \(8, 8\)"),
        ("linknet", {"decoder_norm": "none"}, "linknet has no form without norms"),
        ("unet", {"trunk": PLAIN, "depth": 4}, "depth is for pyramids: the levels of test_vit, a plain"),
        ("segformer_mit-b0", {"trunk": None, "decoder_channels": 8}, r"is for decoders on a trunk \(create_model"),
    ],
    ids=str,
)
def test_what_a_decoder_does_not_take_is_said(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(name, **{"trunk": PYRAMID, **arguments})


def test_a_head_at_its_own_stride_is_enlarged_as_losses_do() -> None:
    model = made("segformer")
    with torch.no_grad():
        coarse = model.network(images(height=64, width=64))
        assert coarse.shape[2:] == (16, 16)
        assert model(images(height=64, width=64)).equal(resize(coarse, (64, 64)))
        assert model(images(height=64, width=64)).equal(F.interpolate(coarse, (64, 64), mode="bilinear"))
