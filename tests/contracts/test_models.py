"""What every trunk, head and network of the catalogue owes. A new one inherits it all by one line in a table below."""

from __future__ import annotations

import copy
import inspect
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from intarsia import catalog
from intarsia.contracts import FeatureSpec
from intarsia.layers.norm import BN
from intarsia.models.cascade import CascadeEncoderDecoder
from intarsia.models.encoder_decoder import EncoderDecoder

LEVELS = tuple(FeatureSpec(8 * (i + 1), 4 * 2**i) for i in range(4))
SIZES = ((64, 64), (65, 97))  # the second is odd, not square, and no multiple of any stride

BACKBONES: dict[str, dict[str, Any]] = {
    "BiSeNetV1": {"backbone": lambda: part("backbone", "ResNet", BACKBONES["ResNet"]), "out_channels": 32,
                  "spatial_channels": (8, 8, 8, 16), "context_channels": (16, 32, 64)},
    "BiSeNetV2": {"detail_channels": (8, 8, 16), "semantic_channels": (4, 8, 8, 16), "bga_channels": 16},
    "FastSCNN": {},
    "HRNet": {"channels": ((4,), (4, 8), (4, 8, 16), (4, 8, 16, 32)), "num_modules": (1, 1, 2, 1),
              "num_blocks": ((1,), (1, 1), (1, 1, 1), (1, 1, 1, 1))},
    "MixVisionTransformer": {"embed_dims": 8, "num_layers": (1, 1, 1, 1), "num_heads": (1, 2, 3, 4)},
    "ResNeXt": {"depth": 50, "base_channels": 16, "base_width": 2, "groups": 4, "stem_channels": 16},
    "ResNet": {"depth": 18, "base_channels": 8, "stem_channels": 8},
    "ResNetV1c": {"depth": 50, "base_channels": 4, "stem_channels": 8, "strides": (1, 2, 1, 1),
                  "dilations": (1, 1, 2, 4), "contract_dilation": True},
    "ResNetV1d": {"depth": 18, "base_channels": 8, "stem_channels": 8, "strides": (1, 2, 2, 1),
                  "dilations": (1, 1, 1, 2)},
    "SwinTransformer": {"embed_dims": 8, "depths": (2, 2, 1, 1), "num_heads": (1, 2, 2, 4), "drop_path_rate": 0.0},
}  # fmt: skip
HEADS: dict[str, dict[str, Any]] = {
    "ASPPHead": {"in_channels": 32, "channels": 8, "num_classes": 5, "dilations": (1, 2, 3), "norm": BN},
    "DepthwiseSeparableASPPHead": {"in_channels": 32, "channels": 8, "num_classes": 5, "c1_in_channels": 8,
                                   "c1_channels": 4, "dilations": (1, 2, 3), "norm": BN},
    "DepthwiseSeparableFCNHead": {"in_channels": 32, "channels": 8, "num_classes": 5, "norm": BN},
    "FCNHead": {"in_channels": 16, "channels": 8, "num_classes": 5, "in_index": 1, "norm": BN},
    "OCRHead": {"in_channels": (8, 16, 24, 32), "channels": 8, "ocr_channels": 4, "num_classes": 5,
                "in_index": (0, 1, 2, 3), "input_transform": "resize_concat", "norm": BN},
    "PSPHead": {"in_channels": 32, "channels": 8, "num_classes": 5, "norm": BN},
    "SegformerHead": {"in_channels": (8, 16, 24, 32), "channels": 8, "num_classes": 5, "norm": BN},
    "UPerHead": {"in_channels": (8, 16, 24, 32), "channels": 8, "num_classes": 5, "norm": BN},
}  # fmt: skip
REFINING = ("OCRHead",)
"""Heads that also read the logits of the head before, at the size of the first level."""
WITHOUT_GRADIENT = {
    (
        "BiSeNetV2",
        "semantic.stage4_CEBlock.gap.1.bias",
    ): "a shift between two batch norms, undone by the second",
}
"""Parameters that the method itself leaves without a gradient in training, and why."""
MODELS: dict[str, Callable[[], nn.Module]] = {
    "CascadeEncoderDecoder": lambda: CascadeEncoderDecoder(
        backbone=part("backbone", "ResNet", BACKBONES["ResNet"]),
        decode_head=[
            part("head", "FCNHead", {**HEADS["FCNHead"], "in_channels": 32, "in_index": 2}),
            part("head", "OCRHead", {**HEADS["OCRHead"], "in_channels": (8, 16, 32, 64)}),
        ],
    ),
    "EncoderDecoder": lambda: EncoderDecoder(
        backbone=part("backbone", "ResNet", BACKBONES["ResNet"]),
        decode_head=part("head", "FCNHead", {**HEADS["FCNHead"], "in_channels": 64, "in_index": -1}),
        auxiliary_head=[part("head", "FCNHead", {**HEADS["FCNHead"], "in_channels": 32, "in_index": 2})],
    ),
}


def part(kind: str, name: str, arguments: dict[str, Any]) -> Any:
    """A part from a line of the tables; a function among the arguments builds a part of it."""
    built = {key: value() if isinstance(value, FunctionType) else value for key, value in arguments.items()}
    return catalog.resolve(kind, name)(**built)


@dataclass(frozen=True)
class Case:
    """A part, how to build it, and whether it reads feature maps (a head) or an image."""

    kind: str
    name: str

    def build(self) -> nn.Module:
        """The part with every parameter moved off its initial value: a scale of 0 would hide what lies behind it."""
        torch.manual_seed(0)
        if self.kind == "model":
            module = MODELS[self.name]()
        else:
            module = part(self.kind, self.name, (BACKBONES if self.kind == "backbone" else HEADS)[self.name])
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
        return module

    def inputs(self, size: tuple[int, int], batch: int = 2) -> tuple[Any, ...]:
        generator = torch.Generator().manual_seed(1)
        if self.kind != "head":
            return (torch.randn(batch, 3, *size, generator=generator),)
        shapes = [(batch, level.channels, *(-(-side // level.stride) for side in size)) for level in LEVELS]
        levels = [torch.randn(shape, generator=generator) for shape in shapes]
        if self.name not in REFINING:
            return (levels,)
        classes = HEADS[self.name]["num_classes"]
        return levels, torch.randn(batch, classes, *levels[0].shape[2:], generator=generator)


CASES = [
    Case(kind, name) for kind, table in (("backbone", BACKBONES), ("head", HEADS), ("model", MODELS)) for name in table
]
every_part = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def flat(output: Tensor | Sequence[Tensor]) -> list[Tensor]:
    return [output] if isinstance(output, Tensor) else list(output)


def all_outputs(case: Case, module: nn.Module, inputs: tuple[Any, ...]) -> list[Tensor]:
    """What the part gives in training; of a network, the logits of every head."""
    return list(module.training_outputs(*inputs).values()) if case.kind == "model" else flat(module(*inputs))  # type: ignore[operator]


def test_every_part_of_the_catalogue_is_tested_here() -> None:
    for kind, table in (("backbone", BACKBONES), ("head", HEADS), ("model", MODELS)):
        assert sorted(table) == sorted(catalog.TABLE[kind]), f"give every {kind} a line in this file"


@every_part
def test_constructor_is_explicit(case: Case) -> None:
    parameters = inspect.signature(catalog.resolve(case.kind, case.name)).parameters.values()
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    assert all(parameter.kind not in variadic for parameter in parameters)
    assert all(parameter.annotation is not inspect.Parameter.empty for parameter in parameters)


@every_part
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_outputs_have_the_sizes_that_are_promised(case: Case, size: tuple[int, int]) -> None:
    module = case.build().eval()
    with torch.no_grad():
        outputs = flat(module(*case.inputs(size)))
    if case.kind == "backbone":
        expected = [
            (2, level.channels, *(-(-side // level.stride) for side in size))
            for level in module.features  # type: ignore[union-attr]
        ]
        assert [tuple(output.shape) for output in outputs] == expected
    else:
        head = module.decode_head if case.kind == "model" else module
        head = head[-1] if isinstance(head, nn.ModuleList) else head
        assert [output.shape[:2] for output in outputs] == [(2, head.num_classes)]  # type: ignore[union-attr]
    assert all(output.isfinite().all() for output in outputs)


@every_part
def test_every_parameter_gets_a_gradient(case: Case) -> None:
    module = case.build().train()
    outputs = all_outputs(case, module, case.inputs((64, 96)))
    torch.stack([(output * torch.randn_like(output)).sum() for output in outputs]).sum().backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > (-1 if (case.name, name) in WITHOUT_GRADIENT else 0), name


@every_part
def test_export_with_any_batch_size(case: Case) -> None:
    module = case.build().eval()
    inputs = case.inputs((64, 96))
    batch = torch.export.Dim("batch", min=1, max=16)
    shapes: tuple[Any, ...] = ([{0: batch} for _ in LEVELS],) if case.kind == "head" else ({0: batch},)
    shapes += ({0: batch},) if case.name in REFINING else ()
    exported = torch.export.export(module, inputs, dynamic_shapes=shapes).module()
    other = case.inputs((64, 96), batch=3)
    with torch.no_grad():
        for found, expected in zip(flat(exported(*other)), flat(module(*other)), strict=True):
            torch.testing.assert_close(found, expected)


@every_part
def test_captured_as_one_graph(case: Case) -> None:
    module = case.build().eval()
    torch.compiler.reset()
    compiled = torch.compile(module, fullgraph=True, backend="eager", dynamic=False)
    inputs = case.inputs((65, 97))
    with torch.no_grad():
        for found, expected in zip(flat(compiled(*inputs)), flat(module(*inputs)), strict=True):
            torch.testing.assert_close(found, expected)


@every_part
def test_state_survives_a_file(case: Case, tmp_path: Path) -> None:
    module = case.build().train()
    module(*case.inputs((64, 64)))  # running statistics away from their start
    torch.save(module.state_dict(), tmp_path / "state.pth")
    torch.manual_seed(7)
    other = case.build().train()
    other.load_state_dict(torch.load(tmp_path / "state.pth", weights_only=True))
    inputs = case.inputs((65, 97))
    with torch.no_grad():
        for found, expected in zip(flat(other.eval()(*inputs)), flat(module.eval()(*inputs)), strict=True):
            assert found.equal(expected)


@every_part
def test_bfloat16_stays_finite(case: Case) -> None:
    module = case.build().train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = all_outputs(case, module, case.inputs((64, 96)))
    torch.stack([output.float().square().mean() for output in outputs]).sum().backward()
    assert all(output.isfinite().all() for output in outputs)
    assert all(parameter.grad.isfinite().all() for parameter in module.parameters() if parameter.grad is not None)


@pytest.mark.parametrize("name", BACKBONES)
def test_checkpointing_changes_no_number(name: str) -> None:
    """Neither outputs, nor gradients, nor what batch norms remember."""
    case = Case("backbone", name)
    plain = case.build().train()
    saving = copy.deepcopy(plain)
    saving.checkpoint_activations = True
    (images,) = case.inputs((64, 96))
    for module in (plain, saving):
        torch.stack([output.square().mean() for output in module(images)]).sum().backward()
    for (key, a), b in zip(plain.named_parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=lambda text, key=key: f"{key}: {text}")
    for (key, a), b in zip(plain.named_buffers(), saving.buffers(), strict=True):
        assert a.equal(b), key


@pytest.mark.parametrize(("name", "missing"), list(itertools.product(sorted(set(BACKBONES) - {"HRNet"}), [(), (9,)])))
def test_levels_that_do_not_exist_are_refused(name: str, missing: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="out_indices must name"):
        part("backbone", name, {**BACKBONES[name], "out_indices": missing})
