"""The task: terms by name, labels of any integer type, precision, accuracy, samplers."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.backbones.resnet import ResNet
from intarsia.contracts import Batch, ImageLogits, Sample, SampleMeta
from intarsia.data.collate import collate
from intarsia.data.transforms.scale import SegRescale
from intarsia.layers.levels import resize
from intarsia.layers.norm import BN
from intarsia.losses.accuracy import pixel_accuracy
from intarsia.losses.cross_entropy import CrossEntropyLoss
from intarsia.losses.dice import DiceLoss
from intarsia.losses.focal import FocalLoss
from intarsia.losses.ohem import OHEMPixelSampler
from intarsia.methods.fcn import FCNHead
from intarsia.models.encoder_decoder import EncoderDecoder
from intarsia.spec import PreprocessSpec
from intarsia.tasks.preprocess import Preprocess
from intarsia.tasks.semantic import HeadLoss, HeadTerm, SemanticSegmentation

SPEC = PreprocessSpec((127.0,) * 3, (60.0,) * 3, label_pad_value=255, train_size=(64, 96))


def head(in_channels: int, in_index: int) -> FCNHead:
    return FCNHead(in_channels=in_channels, channels=8, num_classes=4, in_index=in_index, num_convs=1, norm=BN)


def make_task(**options: object) -> SemanticSegmentation:
    torch.manual_seed(0)
    model = EncoderDecoder(
        backbone=ResNet(18, base_channels=8, stem_channels=8), decode_head=head(64, 3), auxiliary_head=head(32, 2)
    )
    losses = [
        HeadLoss("decode", [HeadTerm("loss_ce", CrossEntropyLoss(class_weight=(1.0, 2.0, 3.0, 4.0)), 1.0),
                            HeadTerm("loss_bce", CrossEntropyLoss(use_sigmoid=True), 0.5)], 255, False, **options),
        HeadLoss("aux", [HeadTerm("loss_ce", CrossEntropyLoss(), 0.4)], 255, True),
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
    losses = [HeadLoss(name, [HeadTerm("loss_ce", CrossEntropyLoss(), 1.0)], 255, False) for name in names]
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

    losses = [HeadLoss("main", [HeadTerm("loss_ce", CrossEntropyLoss(), 1.0)], 255, False)]
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
    weighted, sigmoid = task.losses[0].terms
    expected = sum(term.weight * term.loss(up, labels.long()) for term in (weighted, sigmoid))
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

    monkeypatch.setattr("intarsia.losses.resized_logits.resize", noted)
    task = make_task().train()
    task.model.decode_head.register_forward_hook(lambda module, inputs, output: produced.append(output.dtype))
    with torch.autocast("cpu", dtype=dtype):
        task.training_terms(make_batch())
    assert produced == [dtype]
    assert enlarged == [torch.float32] * 2


def in_pieces_and_plain(task: SemanticSegmentation, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """Terms and gradients of the same step, once without enlarged logits, once with them; and how often there were."""
    found = []
    for least in (0, 10**9):
        enlarged: list[int] = []
        monkeypatch.setattr("intarsia.losses.resized_logits._LEAST", least)
        monkeypatch.setattr(
            "intarsia.losses.resized_logits.resize",
            lambda x, *args, seen=enlarged, **options: (seen.append(x.shape[1]), resize(x, *args, **options))[1],
        )
        terms = task.training_terms(make_batch())
        task.zero_grad()
        torch.stack([term.value * term.weight for term in terms]).sum().backward()
        gradients = {name: p.grad for name, p in task.named_parameters() if p.grad is not None}
        found.append(({term.name: term.value.detach() for term in terms}, gradients, enlarged))
    return found[0], found[1]


@pytest.mark.parametrize(("sampler", "dice"), [(None, "last"), (OHEMPixelSampler(thresh=0.3, min_kept=500), ""),
                                               (None, "first")])  # fmt: skip
def test_logits_that_nobody_sorts_are_never_enlarged(sampler: Any, dice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that cross entropy looks at, and Dice beside it."""
    task = make_task(sampler=sampler).eval()
    if dice:
        decode, one = task.losses[0], HeadTerm("loss_dice", DiceLoss(use_sigmoid=False), 1.0)
        decode = replace(decode, terms=[one, *decode.terms] if dice == "first" else [*decode.terms, one])
        task.losses = (decode, task.losses[1])
    (terms, gradients, enlarged), (plain_terms, plain_gradients, plain_enlarged) = in_pieces_and_plain(
        task, monkeypatch
    )
    assert enlarged == []
    assert plain_enlarged == [4, 4]
    torch.testing.assert_close(terms, plain_terms, rtol=1e-6, atol=1e-7)
    assert gradients.keys() == plain_gradients.keys()
    for name, gradient in gradients.items():
        largest = float(plain_gradients[name].abs().max())
        torch.testing.assert_close(gradient, plain_gradients[name], rtol=0, atol=2e-5 * largest, msg=name)
    logits, labels = torch.randn(2, 4, 4, 6), make_batch().labels
    monkeypatch.setattr("intarsia.losses.resized_logits._LEAST", 0)
    in_pieces = task.validation_loss(logits, labels)
    monkeypatch.setattr("intarsia.losses.resized_logits._LEAST", 10**9)
    torch.testing.assert_close(in_pieces, task.validation_loss(logits, labels), rtol=1e-6, atol=0)


def test_logits_that_another_loss_looks_at_are_enlarged(monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task().eval()
    decode = replace(task.losses[0], terms=[*task.losses[0].terms, HeadTerm("loss_focal", FocalLoss(), 1.0)])
    task.losses = (decode, task.losses[1])
    (_, _, enlarged), _ = in_pieces_and_plain(task, monkeypatch)
    assert enlarged == [4], "those of the decode head alone"


def test_a_target_that_looks_at_no_logits_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it is shown them as they are; of another output it sees what it always sees."""
    monkeypatch.setattr("intarsia.losses.resized_logits._LEAST", 0)
    shown: list[tuple[int, ...]] = []

    class SureEdges:
        reads_logits = False

        def __call__(self, labels: Tensor, logits: Tensor, outputs: Any, maps: Any) -> Tensor:
            shown.extend([tuple(logits.shape), tuple(outputs["edge"].shape)])
            return labels.where(outputs["edge"][:, 0] > 0, 255)

    generator = torch.Generator().manual_seed(0)
    logits, edges = (torch.randn(shape, generator=generator) for shape in ((2, 4, 8, 12), (2, 1, 8, 12)))
    loss = CrossEntropyLoss(avg_non_ignore=True)
    terms = [HeadTerm("loss_sure", loss, 1.0, "", SureEdges()), HeadTerm("acc_main", None, 0.0, ""),
             HeadTerm("loss_edge", CrossEntropyLoss(use_sigmoid=True), 1.0, "edge", SureEdges())]  # fmt: skip
    task = several(terms, decode=logits, decode__edge=edges)
    batch = make_batch()
    batch.labels[batch.labels == 3], batch.labels[batch.labels == 2] = 1, 0
    labels = task.preprocess.training_labels(batch)
    found = {term.name: term.value for term in task.training_terms(batch)}
    whole, sure = (F.interpolate(x, size=(64, 96), mode="bilinear") for x in (logits, edges))
    assert shown == [(2, 4, 8, 12), (2, 1, 64, 96), (2, 1, 64, 96), (2, 1, 64, 96)]
    torch.testing.assert_close(found["decode.loss_sure"], loss(whole, labels.where(sure[:, 0] > 0, 255)))
    assert found["decode.acc_main"].equal(pixel_accuracy(whole, labels, ignore_index=255))


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
    assert moved.losses[0].terms[0].loss.class_weight.device.type == "meta"


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
        HeadLoss(
            "decode", [HeadTerm("loss_region", region_loss, 1.0)], 255, False, sampler=lambda logits, target: target
        )


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


# --- Heads with several outputs -----------------------------------------------------------------------------------


class Outputs(nn.Module):
    """A network that gives what it was given, under names."""

    def __init__(self, **outputs: Tensor | ImageLogits) -> None:
        super().__init__()
        self.outputs = outputs

    def training_outputs(self, images: Tensor) -> dict[str, Any]:
        return {name.replace("__", "."): output for name, output in self.outputs.items()}


class Edges:
    """The batch's map of edges, and nothing where another output is not positive."""

    def __call__(self, labels: Tensor, logits: Tensor, outputs: Any, maps: Any) -> Tensor:
        assert logits.shape[2:] == labels.shape[1:]
        return torch.where(outputs[""][:, 1] > 0, maps["edge"], 255).long()


class Present:
    """(N, 1, K): whether each class occurs."""

    def __call__(self, labels: Tensor, logits: Tensor, outputs: Any, maps: Any) -> Tensor:
        classes = torch.arange(logits.shape[3])
        return (labels[:, None, None] == classes[:, None, None]).any(dim=(3, 4)).long()


def several(terms: list[HeadTerm], **outputs: Tensor | ImageLogits) -> SemanticSegmentation:
    return SemanticSegmentation(
        Outputs(**outputs),
        preprocess=Preprocess(SPEC),
        losses=[HeadLoss("decode", terms, 255, False, accuracy=False)],
        num_classes=4,
        ignore_index=255,
    )


def test_terms_name_their_output_and_what_it_is_compared_with() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, edges, of_images = (
        torch.randn(shape, generator=generator) for shape in ((2, 4, 8, 12), (2, 1, 8, 12), (2, 4))
    )
    loss, sigmoid = CrossEntropyLoss(), CrossEntropyLoss(use_sigmoid=True)
    terms = [
        HeadTerm("loss_edge", sigmoid, 2.0, "edge", Edges()),
        HeadTerm("loss_main", loss, 1.0, ""),
        HeadTerm("loss_se", sigmoid, 0.2, "se", Present()),
        HeadTerm("acc_main", None, 0.0, ""),
    ]
    batch = replace(make_batch(), maps={"edge": torch.randint(0, 2, (2, 60, 90), dtype=torch.uint8)})
    task = several(terms, decode=logits, decode__edge=edges, decode__se=ImageLogits(of_images))
    found = {term.name: term for term in task.training_terms(batch)}
    assert [(name, term.weight) for name, term in found.items()] == [
        ("decode.loss_edge", 2.0), ("decode.loss_main", 1.0), ("decode.loss_se", 0.2), ("decode.acc_main", 0.0),
    ]  # fmt: skip
    labels = task.preprocess.training_labels(batch)
    whole = F.interpolate(logits, size=(64, 96), mode="bilinear")
    padded = F.pad(batch.maps["edge"].long(), (0, 6, 0, 4), value=255)
    padded[1, 50:], padded[1, :, 70:] = 255, 255
    target = torch.where(whole[:, 1] > 0, padded, 255)
    shows = torch.tensor([[float((image == k).any()) for k in range(4)] for image in labels])
    expected = {
        "decode.loss_edge": sigmoid(F.interpolate(edges, size=(64, 96), mode="bilinear"), target),
        "decode.loss_main": loss(whole, labels),
        "decode.loss_se": F.binary_cross_entropy_with_logits(of_images, shows),
        "decode.acc_main": pixel_accuracy(whole, labels, ignore_index=255),
    }
    for name, value in expected.items():
        torch.testing.assert_close(found[name].value, value)
    up = F.interpolate(logits, size=(60, 90), mode="bilinear")
    torch.testing.assert_close(task.validation_loss(logits, batch.labels), loss(up, batch.labels.long()))


def test_outputs_and_terms_that_name_them_claim_each_other() -> None:
    logits = torch.randn(2, 4, 8, 12)
    terms = [HeadTerm("loss_main", CrossEntropyLoss(), 1.0, ""), HeadTerm("loss_side", CrossEntropyLoss(), 1.0, "side")]
    for outputs in ({"decode": logits}, {"decode": logits, "decode__side": logits, "decode__other": logits}):
        with pytest.raises(ValueError, match="terms of 'decode' are for its outputs '', 'side', but it gives"):
            several(terms, **outputs).training_terms(make_batch())


def test_the_accuracy_of_a_stage_is_of_what_it_learns() -> None:
    batch = replace(make_batch(), maps={"edge": torch.zeros(2, 60, 90, dtype=torch.uint8)})
    term = HeadTerm("loss_ce", CrossEntropyLoss(use_sigmoid=True), 1.0, target=Edges())
    model = Outputs(decode=torch.tensor([-1.0, 1.0]).view(1, 2, 1, 1).expand(2, 2, 8, 12))
    task = SemanticSegmentation(
        model, preprocess=Preprocess(SPEC), losses=[HeadLoss("decode", [term], 255, False)], num_classes=4,
        ignore_index=255,
    )  # fmt: skip
    found = {term.name: term.value.item() for term in task.training_terms(batch)}
    assert found["decode.acc_seg"] == 0.0
    assert set(found) == {"decode.loss_ce", "decode.acc_seg"}


def test_a_sampler_beside_a_loss_of_something_else_is_refused() -> None:
    term = HeadTerm("loss_edge", CrossEntropyLoss(), target=Edges())
    with pytest.raises(ValueError, match=r"head decode has a sampler .* loss_edge is compared with Edges"):
        HeadLoss("decode", [term], 255, False, sampler=lambda logits, target: target)


def test_an_accuracy_has_no_weight() -> None:
    with pytest.raises(ValueError, match="its weight must be 0"):
        HeadTerm("acc_seg", None, 1.0)


# --- Rescaled labels ----------------------------------------------------------------------------------------------


def test_rescaled_labels_are_what_logits_are_compared_with() -> None:
    """Padded by as many pixels as their images, not by a quarter of them: so the original's preprocessor does it."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (60, 90, 3), np.uint8)
    label = rng.integers(0, 4, (60, 90)).astype(np.uint8)
    sample = SegRescale(0.25)(Sample(image, label, meta=SampleMeta(name="a")), rng)
    batch = collate([sample, sample])
    assert isinstance(batch.labels, torch.Tensor)
    assert batch.labels.shape == (2, 15, 23)
    task = make_task()
    assert task.preprocess.training_labels(batch).shape == (2, 15 + 64 - 60, 23 + 96 - 90)
    torch.manual_seed(0)
    terms = {term.name: term.value for term in task.train().training_terms(batch)}
    model = make_task().train().model
    torch.manual_seed(0)
    outputs = model.training_outputs(task.preprocess(batch.images, batch.sizes, train=True))
    small = cv2.resize(label, (23, 15), interpolation=cv2.INTER_NEAREST)
    target = F.pad(torch.from_numpy(small).long(), (0, 96 - 90, 0, 64 - 60), value=255).expand(2, -1, -1)
    resized = F.interpolate(outputs["aux"], (19, 29), mode="bilinear", align_corners=True)
    expected = F.cross_entropy(resized, target, ignore_index=255, reduction="sum") / target.numel()
    torch.testing.assert_close(terms["aux.loss_ce"], expected)


def test_rescaled_labels_of_several_sizes_are_padded_like_their_images() -> None:
    samples = [Sample(np.zeros((*size, 3), np.uint8), np.ones(size, np.uint8)) for size in ((64, 96), (60, 92))]
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="they have 16 x 24, 19 x 27 pixels: make all images of one size"):
        collate([SegRescale(0.25)(sample, rng) for sample in samples])
    half = [replace(sample, label=label) for sample, label in zip(
        samples, (np.ones((16, 24), np.uint8), np.ones((12, 20), np.uint8)), strict=True)]  # fmt: skip
    batch = collate(half)
    found = Preprocess(SPEC).training_labels(batch)
    assert found.shape == (2, 16, 24)
    assert (found[0] == 1).all()
    assert (found[1, :12, :20] == 1).all()
    assert (found[1, 12:] == 255).all()
    assert (found[1, :, 20:] == 255).all()
