"""The task: terms by name, labels of any integer type, precision, accuracy, samplers."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.backbones.resnet import ResNet
from intarsia.contracts import Batch, SampleMeta
from intarsia.layers.levels import resize
from intarsia.layers.norm import BN
from intarsia.losses.cross_entropy import CrossEntropyLoss
from intarsia.methods.fcn import FCNHead
from intarsia.models.encoder_decoder import EncoderDecoder
from intarsia.spec import PreprocessSpec
from intarsia.tasks.preprocess import Preprocess
from intarsia.tasks.semantic import HeadLoss, SemanticSegmentation, pixel_accuracy

SPEC = PreprocessSpec((127.0,) * 3, (60.0,) * 3, label_pad_value=255, train_size=(64, 96))


def head(in_channels: int, in_index: int) -> FCNHead:
    return FCNHead(in_channels=in_channels, channels=8, num_classes=4, in_index=in_index, num_convs=1, norm=BN)


def make_task(**options: object) -> SemanticSegmentation:
    torch.manual_seed(0)
    model = EncoderDecoder(
        backbone=ResNet(18, base_channels=8, stem_channels=8), decode_head=head(64, 3), auxiliary_head=head(32, 2)
    )
    losses = [
        HeadLoss("decode", [("loss_ce", CrossEntropyLoss(class_weight=(1.0, 2.0, 3.0, 4.0)), 1.0),
                            ("loss_bce", CrossEntropyLoss(use_sigmoid=True), 0.5)], 255, False, **options),
        HeadLoss("aux", [("loss_ce", CrossEntropyLoss(), 0.4)], 255, True),
    ]  # fmt: skip
    return SemanticSegmentation(model, preprocess=Preprocess(SPEC), losses=losses, num_classes=4, ignore_index=255)


def make_batch(dtype: torch.dtype = torch.uint8) -> Batch:
    random = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (2, 3, 60, 90), generator=random, dtype=torch.uint8)
    labels = torch.randint(0, 4, (2, 60, 90), generator=random)
    labels[:, :5] = 255
    return Batch(images, labels.to(dtype), ((60, 90), (50, 70)), ())


def test_a_label_that_is_no_class_names_its_image() -> None:
    batch = make_batch()
    batch.labels[1, 20, 30] = 9
    batch = replace(batch, metas=(SampleMeta(name="first.png"), SampleMeta(name="second.png")))
    task = make_task()
    with pytest.raises(ValueError, match=r"the labels of second\.png have the value 9, but there are 4 classes"):
        task.training_terms(batch)
    assert "second.png" in task.label_problem(batch)
    assert make_task().label_problem(make_batch()) == ""


def test_padding_that_is_no_class_is_found() -> None:
    task = make_task()
    task.ignore_index = 0
    with pytest.raises(ValueError, match=r"the value 255, but there are 4 classes.*0 is ignored.*padding"):
        task.training_terms(make_batch())


@pytest.mark.parametrize(
    ("names", "message"),
    [(("decode",), r"EncoderDecoder: no loss is for the output 'aux' .*; there are losses for decode\."),
     (("decode", "aux_0"), "there are losses for 'aux_0', but the network has no such output; it has decode, aux"),
     (("decodes", "aux"), "there are losses for 'decodes', but"), ((), "no loss is for the output 'decode'")],
)  # fmt: skip
def test_losses_and_outputs_claim_each_other(names: tuple[str, ...], message: str) -> None:
    model = make_task().model
    losses = [HeadLoss(name, [("loss_ce", CrossEntropyLoss(), 1.0)], 255, False) for name in names]
    with pytest.raises(ValueError, match=message):
        SemanticSegmentation(model, preprocess=Preprocess(SPEC), losses=losses, num_classes=4, ignore_index=255)


def test_a_model_of_ones_own_is_asked_in_the_first_step() -> None:
    """It need not say beforehand what its outputs are called; stages belong to their head."""

    class Own(nn.Module):
        def __init__(self, inner: nn.Module, names: tuple[str, ...]) -> None:
            super().__init__()
            self.inner, self.names = inner, names

        def training_outputs(self, images: Tensor) -> dict[str, Tensor]:
            return dict.fromkeys(self.names, self.inner(images))

    losses = [HeadLoss("main", [("loss_ce", CrossEntropyLoss(), 1.0)], 255, False)]
    options = {"preprocess": Preprocess(SPEC), "losses": losses, "num_classes": 4, "ignore_index": 255}
    inner = make_task().model
    good = SemanticSegmentation(Own(inner, ("main", "main.s1")), **options)
    assert [term.name for term in good.training_terms(make_batch())] == [
        "main.loss_ce", "main.acc_seg", "main.loss_ce.s1", "main.acc_seg.s1",
    ]  # fmt: skip
    for names in (("main", "maintenance"), ("other",)):
        with pytest.raises(ValueError, match="Own: "):
            SemanticSegmentation(Own(inner, names), **options).training_terms(make_batch())


def test_terms_by_name_and_weight() -> None:
    terms = make_task().training_terms(make_batch())
    assert [(term.name, term.weight) for term in terms] == [
        ("decode.loss_ce", 1.0), ("decode.loss_bce", 0.5), ("decode.acc_seg", 0.0),
        ("aux.loss_ce", 0.4), ("aux.acc_seg", 0.0),
    ]  # fmt: skip
    assert all(term.value.shape == () and term.value.dtype == torch.float32 for term in terms)
    assert not any(term.value.requires_grad for term in terms if term.name.endswith("acc_seg"))


@pytest.mark.parametrize("dtype", [torch.int16, torch.int32, torch.int64])
def test_labels_of_any_width(dtype: torch.dtype) -> None:
    task = make_task().eval()
    for found, expected in zip(task.training_terms(make_batch(dtype)), task.training_terms(make_batch()), strict=True):
        assert found.value.equal(expected.value)


def test_same_batch_same_terms() -> None:
    """A pure function of the batch, running statistics and dropout aside."""
    task = make_task().eval()
    batch = make_batch()
    first, second = (task.training_terms(batch) for _ in range(2))
    assert all(a.value.equal(b.value) for a, b in zip(first, second, strict=True))
    assert batch.images.equal(make_batch().images)
    assert batch.labels.equal(make_batch().labels)


def test_padding_contributes_nothing_to_the_loss_over_labelled_pixels() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 4, 3, 4)
    labels = torch.randint(0, 4, (1, 12, 16))
    wide = F.pad(labels, (0, 16, 0, 12), value=255)
    up = F.interpolate(logits, size=(24, 32), mode="bilinear")
    loss = CrossEntropyLoss(avg_non_ignore=True)
    torch.testing.assert_close(loss(up, wide), loss(up[..., :12, :16], labels))


def test_logits_are_the_decode_heads_at_its_own_stride() -> None:
    task = make_task().eval()
    batch = make_batch()
    logits = task.logits(batch.images, batch.sizes)
    assert logits.shape == (2, 4, 2, 3)
    assert logits.equal(task.model(task.preprocess(batch.images, batch.sizes, train=False)))


def test_validation_loss_is_that_of_the_decode_head() -> None:
    task = make_task().eval()
    logits, labels = torch.randn(2, 4, 4, 6), make_batch().labels
    up = F.interpolate(logits, size=(60, 90), mode="bilinear")
    (_, weighted, a), (_, sigmoid, b) = task.losses[0].losses
    expected = a * weighted(up, labels.long()) + b * sigmoid(up, labels.long())
    torch.testing.assert_close(task.validation_loss(logits, labels), expected)


def test_losses_are_in_single_precision_under_autocast() -> None:
    task = make_task().train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = task.training_terms(make_batch())
    assert all(term.value.dtype == torch.float32 and term.value.isfinite() for term in terms)
    torch.stack([term.value * term.weight for term in terms]).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in task.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_logits_are_enlarged_in_single_precision(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """In 16 bits, every value between two logits would be rounded to one of the few near them."""
    enlarged: list[torch.dtype] = []
    produced: list[torch.dtype] = []

    def noted(logits: Tensor, *arguments: Any, **options: Any) -> Tensor:
        enlarged.append(logits.dtype)
        return resize(logits, *arguments, **options)

    monkeypatch.setattr("intarsia.tasks.semantic.resize", noted)
    task = make_task().train()
    task.model.decode_head.register_forward_hook(lambda module, inputs, output: produced.append(output.dtype))
    with torch.autocast("cpu", dtype=dtype):
        task.training_terms(make_batch())
    assert produced == [dtype]
    assert enlarged == [torch.float32] * 2


def test_a_batch_without_a_single_label_trains_nothing_and_breaks_nothing() -> None:
    task = make_task().train()
    batch = make_batch()
    nothing = Batch(batch.images, torch.full_like(batch.labels, 255), batch.sizes, ())
    terms = task.training_terms(nothing)
    assert [term.value.item() for term in terms] == [0.0] * 5
    torch.stack([term.value * term.weight for term in terms]).sum().backward()
    assert all(p.grad is None or p.grad.abs().max() == 0 for p in task.parameters())


def test_state_is_the_models_and_everything_moves_along() -> None:
    task = make_task()
    assert {name.partition(".")[0] for name in task.state_dict()} == {"model"}
    weights = [module.class_weight for module in task.modules() if getattr(module, "class_weight", None) is not None]
    moved = copy.deepcopy(task).to("meta")
    assert len(weights) == 1
    assert moved.losses[0].losses[0][1].class_weight.device.type == "meta"


def test_a_sampler_chooses_pixels_for_the_losses_but_not_for_the_accuracy() -> None:
    def upper_half(logits: Tensor, target: Tensor) -> Tensor:
        assert logits.shape[2:] == target.shape[1:]
        weight = logits.new_ones(target.shape)
        weight[:, target.shape[1] // 2 :] = 0
        return weight

    plain, sampled = ({t.name: t.value for t in make_task(**options).eval().training_terms(make_batch())}
                      for options in ({}, {"sampler": upper_half}))  # fmt: skip
    assert not plain["decode.loss_ce"].equal(sampled["decode.loss_ce"])
    assert plain["decode.acc_seg"].equal(sampled["decode.acc_seg"])
    assert plain["aux.loss_ce"].equal(sampled["aux.loss_ce"])


def test_a_sampler_beside_a_loss_of_regions_is_refused() -> None:
    def region_loss(logits: Tensor, target: Tensor) -> Tensor:
        return logits.sum()

    with pytest.raises(ValueError, match=r"head decode has a sampler .* its loss loss_region"):
        HeadLoss("decode", [("loss_region", region_loss, 1.0)], 255, False, sampler=lambda logits, target: target)


def test_training_without_labels_is_refused() -> None:
    batch = make_batch()
    for labels, found in ((None, "has none"), (tuple(batch.labels), "of their own sizes")):
        with pytest.raises(ValueError, match=found):
            make_task().training_terms(Batch(batch.images, labels, batch.sizes, ()))


def test_accuracy_of_many_classes_and_of_one_logit() -> None:
    labels = torch.tensor([[[0, 1, 1, 255]]])
    logits = nn.functional.one_hot(torch.tensor([[[0, 1, 0, 0]]]), 2).permute(0, 3, 1, 2).float()
    assert pixel_accuracy(logits, labels, ignore_index=255).item() == pytest.approx(200 / 3)
    single = torch.tensor([[[[-1.0, 2.0, -3.0, 4.0]]]])
    assert pixel_accuracy(single, labels, ignore_index=255).item() == pytest.approx(200 / 3)
    assert pixel_accuracy(logits, torch.full_like(labels, 255), ignore_index=255).item() == 0
