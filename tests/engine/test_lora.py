"""LoRA: what is adapted, that it starts as nothing, what is trained, and that the file of a run is an ordinary one."""

from __future__ import annotations

import copy
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from standins import Pictures, tiny_run
from torch import Tensor, nn

from intarsia.backbones.mit import MixVisionTransformer
from intarsia.backbones.resnet import ResNet
from intarsia.backbones.swin import SwinTransformer
from intarsia.backbones.vit import VisionTransformer
from intarsia.engine.optim.lora import LowRank, adapt, ordinary_state
from intarsia.engine.training.checkpoint import load_checkpoint
from intarsia.engine.training.loop import train
from intarsia.engine.training.run import Run
from intarsia.engine.training.setup import prepare
from intarsia.losses.cross_entropy import CrossEntropyLoss
from intarsia.methods.linear_head import LinearHead
from intarsia.models.encoder_decoder import EncoderDecoder
from intarsia.spec import EmaSpec, LoraSpec, PreprocessSpec, SafeguardSpec
from intarsia.tasks.preprocess import Preprocess
from intarsia.tasks.semantic import HeadLoss, HeadTerm, SemanticSegmentation
from intarsia.weights.file import load_state

LORA = LoraSpec(2)


def timm(name: str) -> Any:
    pytest.importorskip("timm", reason="timm is not installed")
    from intarsia.backbones.timm import TIMM

    return TIMM(name, out_indices=(-1,))


def dinov2() -> Any:
    pytest.importorskip("transformers", reason="transformers is not installed")
    from intarsia.backbones.hf import HFBackbone

    sizes = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "patch_size": 8, "image_size": 32}
    return HFBackbone({"model_type": "dinov2", **sizes}, out_indices=(2,))


def plain() -> VisionTransformer:
    return VisionTransformer(
        img_size=(16, 16), patch_size=4, embed_dims=16, num_layers=2, num_heads=2, mlp_ratio=2, out_indices=1
    )


TRUNKS: dict[str, tuple[Any, int, str]] = {
    "timm ViT": (lambda: timm("test_vit"), 12, "blocks.0.attn.qkv"),
    "timm DINOv3": (lambda: timm("vit_small_patch16_dinov3_qkvb"), 24, "blocks.11.attn.proj"),
    "timm Swin": (lambda: timm("swin_tiny_patch4_window7_224"), 24, "layers.3.blocks.1.attn.qkv"),
    "timm PVTv2": (lambda: timm("pvt_v2_b0"), 24, "stages.0.blocks.0.attn.kv"),
    "transformers": (dinov2, 8, "encoder.layer.0.attention"),
    "ViT": (plain, 4, "layers.0.attn.attn"),
    "Swin": (
        lambda: SwinTransformer(embed_dims=8, depths=(2, 1, 1, 1), num_heads=(1, 2, 2, 4), window_size=2), 10,
        "stages.0.blocks.1.attn.w_msa.qkv",
    ),
    "MiT": (
        lambda: MixVisionTransformer(embed_dims=8, num_layers=(1, 1, 1, 1), num_heads=(1, 1, 1, 1)), 8,
        "layers.3.1.0.attn.attn.out_proj",
    ),
}  # fmt: skip
"""Trunk -> how many matrices it has, and the beginning of one's name."""


def network_of(trunk: nn.Module) -> EncoderDecoder:
    features: Any = trunk.features
    head = LinearHead(in_channels=features[-1].channels, num_classes=3)
    return EncoderDecoder(backbone=trunk, decode_head=head)


@pytest.mark.parametrize("name", TRUNKS)
def test_the_attention_of_any_trunk_starts_as_it_was_and_ends_as_an_ordinary_one(name: str) -> None:
    make, count, one = TRUNKS[name]
    torch.manual_seed(0)
    network = network_of(make()).eval()
    before, images = copy.deepcopy(network), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = network(images)
        products = adapt(network, LORA, seed=3)
        assert torch.equal(network(images), expected)
        assert len(products) == count
        assert any(key.startswith(f"backbone.{one}") and key.endswith("lora_A") for key in network.state_dict())
        for product in products:
            nn.init.normal_(product.lora_B)
        changed = network(images)
    assert not torch.allclose(changed, expected)
    state = ordinary_state(network)
    assert {key: tuple(value.shape) for key, value in state.items()} == {
        key: tuple(value.shape) for key, value in before.state_dict().items()
    }
    before.load_state_dict(state)
    with torch.no_grad():
        assert torch.equal(before(images), changed)


def test_products_are_a_function_of_seed_and_name_and_copies_have_them() -> None:
    torch.manual_seed(0)
    network = network_of(plain())
    other = copy.deepcopy(network)
    products = adapt(network, LORA, seed=3)
    torch.rand(7)
    assert all(a.lora_A.equal(b.lora_A) for a, b in zip(products, adapt(other, LORA, seed=3), strict=True))
    assert not products[0].lora_A[:, :2].equal(products[2].lora_A[:, :2])
    again = adapt(copy.deepcopy(network), LORA, seed=4)
    assert all(a.lora_A.equal(b.lora_A) and a is not b for a, b in zip(products, again, strict=True))


def test_scale_and_rank() -> None:
    weight = torch.randn(6, 4)
    product = LowRank(weight, 2, LoraSpec(2, alpha=8.0).scale, torch.Generator().manual_seed(0))
    assert product.lora_A.abs().max() <= 1 / 2
    nn.init.normal_(product.lora_B)
    torch.testing.assert_close(product(weight), weight + 4.0 * product.lora_B @ product.lora_A)
    exact = product(weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert product(weight).equal(exact)


@pytest.mark.parametrize(
    ("trunk", "spec", "message"),
    [
        (lambda: ResNet(depth=18), LORA, "nothing to adapt in ResNet: it has no attention, and no linear layer"),
        (plain, LoraSpec(16), r"rank 16 is no low rank of backbone\.layers\.0\.attn\.attn\.in_proj_weight, .* 48 x 16"),
        (plain, LoraSpec(2, layers=("*.mlp.*",)), r"no linear layer is called \*\.mlp\.\*; .* backbone\.layers\.0"),
    ],
)
def test_what_cannot_be_adapted(trunk: Any, spec: LoraSpec, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        adapt(network_of(trunk()), spec, seed=0)
    with pytest.raises(ValueError, match="LoRA adapts the backbone of a network; this one has 0"):
        adapt(nn.Sequential(nn.Linear(4, 4)), spec, seed=0)


def test_a_trunk_with_parts_that_have_learnt_nothing() -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    from intarsia.backbones.vit_adapter import ViTAdapter

    with pytest.raises(ValueError, match=r"spm, interactions, .* of ViTAdapter have learnt nothing yet"):
        adapt(network_of(ViTAdapter("test_vit", conv_channels=8, deform_num_heads=2)), LORA, seed=0)


def test_other_layers_by_name() -> None:
    network = network_of(plain())
    assert len(adapt(network, LoraSpec(2, layers=("*.ffn.*",)), seed=0)) == 4


# --- In a run -----------------------------------------------------------------------------------------------------


def lora_run(out: Path, **changes: Any) -> Run:
    torch.manual_seed(0)
    losses = [HeadLoss("decode", [HeadTerm("loss_ce", CrossEntropyLoss())], 255, False)]
    preprocess = Preprocess(PreprocessSpec((127.5,) * 3, (64.0,) * 3))
    task = SemanticSegmentation(
        network_of(plain()), preprocess=preprocess, losses=losses, num_classes=3, ignore_index=255
    )
    settings = {"safeguards": SafeguardSpec(lora=LORA), "steps": 8, "save_every": 4, "pictures": Pictures(9)}
    return tiny_run(out, task=task, **(settings | changes))


def test_the_optimizer_has_the_products_and_the_head(out: Path) -> None:
    run = lora_run(out)
    ready = prepare(run, run.module)
    inside = {id(tensor) for group in ready.optimizer.param_groups for tensor in group["params"]}
    names = {name for name, tensor in run.network.named_parameters() if id(tensor) in inside}
    assert names == {name for name, _ in run.network.named_parameters() if "lora_" in name or "decode_head" in name}
    assert len([name for name in names if "lora_" in name]) == 8
    assert all(tensor.requires_grad == (name in names) for name, tensor in run.network.named_parameters())


def test_the_file_of_a_run_is_an_ordinary_one_that_gives_what_was_evaluated(out: Path) -> None:
    run = lora_run(out, ema=EmaSpec(momentum=0.2))
    plainly = copy.deepcopy(run.network).eval()
    before = copy.deepcopy(plainly.state_dict())
    result = train(run)
    assert result.weights is not None
    assert result.report is not None
    state = load_state(result.weights)
    assert set(state) == set(before)
    moved = {name for name in state if not state[name].equal(before[name])}
    assert {name for name in moved if name.startswith("backbone")} == {
        f"backbone.layers.{i}.attn.attn.{name}" for i in (0, 1) for name in ("in_proj_weight", "out_proj.weight")
    }
    plainly.load_state_dict(state)
    run.network.load_state_dict(state)  # which is an ordinary one again
    images = torch.randn(2, 3, 12, 16)
    with torch.no_grad():
        assert run.network.eval()(images).equal(plainly(images))


def test_a_resumed_run_is_the_one_that_was_never_stopped(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"ema": EmaSpec(momentum=0.2), "evaluate_every": 4}
    train(lora_run(tmp_path / "whole", **changes))
    stopped = lora_run(tmp_path / "parts", **changes)
    before, count = stopped.task.training_terms, 0

    def training_terms(batch: Any) -> Any:
        nonlocal count
        count += 1
        if count == 5:
            os.kill(os.getpid(), signal.SIGUSR1)
        return before(batch)

    stopped.task.training_terms = training_terms  # type: ignore[method-assign]
    assert train(stopped).step == 5
    train(lora_run(tmp_path / "parts", resume=True, **changes))
    whole, parts = (load_checkpoint(tmp_path / name / "checkpoints/step_00000008.pt") for name in ("whole", "parts"))
    for section in ("task", "ema"):
        assert whole[section].keys() == parts[section].keys()
        assert all(torch.equal(whole[section][key], parts[section][key]) for key in whole[section])
    files = [load_state(tmp_path / name / "weights.safetensors") for name in ("whole", "parts")]
    assert all(torch.equal(files[0][key], files[1][key]) for key in files[0])


# --- As peft has it -----------------------------------------------------------------------------------------------


def test_the_same_as_peft() -> None:
    """peft 0.21 beside the network itself: the same matrices give the same logits and gradients, and merge alike."""
    peft = pytest.importorskip("peft", reason="peft is not installed")
    timm_ = pytest.importorskip("timm", reason="timm is not installed")
    torch.manual_seed(0)
    network = network_of(timm("test_vit")).eval()
    theirs_alone = timm_.create_model("test_vit", num_classes=0)
    theirs_alone.load_state_dict(network.backbone.state_dict(), strict=False)
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=r".*attn\.(qkv|proj)", lora_dropout=0.0)
    theirs = peft.get_peft_model(theirs_alone, config).eval()
    products = adapt(network, LoraSpec(4, alpha=8.0), seed=0)
    layers = [m for m in theirs.modules() if isinstance(m, peft.tuners.lora.Linear)]
    assert len(layers) == len(products) == 12
    with torch.no_grad():
        for layer, product in zip(layers, products, strict=True):
            nn.init.normal_(product.lora_B, std=0.1)
            layer.lora_A["default"].weight.copy_(product.lora_A)
            layer.lora_B["default"].weight.copy_(product.lora_B)
    images = torch.randn(2, 3, 160, 160)

    def of(model: Any) -> Tensor:
        found: Tensor = model.forward_intermediates(images, indices=[5], intermediates_only=True, output_fmt="NCHW")[0]
        return found

    mine, wanted = of(network.backbone.network[0]), of(theirs.base_model.model)
    torch.testing.assert_close(mine, wanted, rtol=1e-4, atol=1e-5)
    mine.square().mean().backward()
    wanted.square().mean().backward()
    for layer, product in zip(layers, products, strict=True):
        for name in ("lora_A", "lora_B"):
            given = getattr(layer, name)["default"].weight.grad
            torch.testing.assert_close(getattr(product, name).grad, given, rtol=1e-3, atol=1e-6)
    merged = theirs.merge_and_unload().state_dict()
    state = ordinary_state(network)
    for name, value in merged.items():
        if f"backbone.{name}" in state:
            torch.testing.assert_close(state[f"backbone.{name}"], value, rtol=1e-5, atol=1e-6)
