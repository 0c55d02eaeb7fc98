"""A task with a teacher: its terms against ones computed otherwise, and what the teacher must not get."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from simulated_gpu import DEVICE, simulated_gpu
from torch import Tensor, nn

from intarsia.contracts import Batch, HeadOutput, PointLogits, Views
from intarsia.distributed.sync_batch_norm import SynchronisedBatchNorm
from intarsia.losses.cross_entropy import CrossEntropyLoss
from intarsia.spec import PreprocessSpec
from intarsia.tasks.mask_classification import MaskClassification
from intarsia.tasks.preprocess import Preprocess
from intarsia.tasks.semantic import HeadLoss, HeadTerm, SemanticSegmentation
from intarsia.tasks.taught import Distillation, PseudoLabels, Taught, class_scores, statistics_kept

SIZE, PADDED = (14, 22), (16, 24)
SPEC = PreprocessSpec((127.0,) * 3, (60.0,) * 3, label_pad_value=255, train_size=PADDED)


class Network(nn.Module):
    """A small network with an auxiliary head, at half the size of the images."""

    output_names = ("decode", "aux")

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.decode_head = nn.Conv2d(6, 4, 1)
        self.auxiliary_head = nn.Conv2d(6, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.decode_head(self.norm(self.backbone(images)).relu()) * 2

    def training_outputs(self, images: Tensor) -> dict[str, HeadOutput]:
        features = self.norm(self.backbone(images)).relu()
        return {"decode": self.decode_head(features) * 2, "aux": self.auxiliary_head(features)}


def make_task() -> SemanticSegmentation:
    torch.manual_seed(0)
    losses = [
        HeadLoss(name, [HeadTerm("loss_ce", CrossEntropyLoss(), weight)], 255, False)
        for name, weight in (("decode", 1.0), ("aux", 0.4))
    ]
    return SemanticSegmentation(Network(), preprocess=Preprocess(SPEC), losses=losses, num_classes=4, ignore_index=255)


def make_batch() -> Batch:
    random = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (2, 3, *SIZE), generator=random, dtype=torch.uint8)
    labels = torch.randint(0, 4, (2, *SIZE), generator=random).byte()
    labels[:, :2] = 255
    return Batch(images, labels, (SIZE, (10, 20)), ())


def views() -> Views:
    random = torch.Generator().manual_seed(3)
    weak, strong = (torch.randint(0, 256, (3, 3, *SIZE), generator=random, dtype=torch.uint8) for _ in range(2))
    valid = torch.ones(3, *SIZE, dtype=torch.bool)
    valid[1, 11:] = False
    mixed = torch.zeros(3, *SIZE, dtype=torch.bool)
    mixed[0, 2:9, 5:15] = True
    mixed[2, :4] = True
    return Views(weak, strong, (SIZE, (11, 22), SIZE), valid, mixed, amount=0.25)


def batch() -> Batch:
    return replace(make_batch(), unlabelled=views())


def taught(confidence: float = 0.4, **options: object) -> Taught:
    return Taught(make_task(), pseudo_labels=PseudoLabels(confidence, 2.0), **options)


def other_task(seed: int = 5) -> SemanticSegmentation:
    """A teacher with other weights, and another preprocessing."""
    task = make_task()
    task.preprocess = Preprocess(PreprocessSpec((90.0,) * 3, (30.0,) * 3, eval_size_divisor=12))
    random = torch.Generator().manual_seed(seed)
    for parameter in task.parameters():
        parameter.data.add_(torch.randn(parameter.shape, generator=random) * 0.1)
    return task


def by_name(task: Taught, given: Batch) -> dict[str, Tensor]:
    terms = task.training_terms(given)
    assert len({term.name for term in terms}) == len(terms)
    return {term.name: term.value for term in terms}


def enlarged(logits: Tensor, padded: tuple[int, int]) -> Tensor:
    return F.interpolate(logits, padded, mode="bilinear", align_corners=False)[..., : SIZE[0], : SIZE[1]]


def test_the_term_of_pseudo_labels_against_the_same_image_by_image() -> None:
    task, given = taught(), batch()
    student, teacher = copy.deepcopy(task._task[0]), copy.deepcopy(task._task[0]).eval()
    found = by_name(task, given)

    seen = given.unlabelled
    with torch.no_grad():
        answer = enlarged(teacher.model(teacher.preprocess(seen.weak, seen.sizes, train=False)), SIZE).softmax(1)
    student.training_terms(make_batch())  # statistics of norms change before the strong view is seen, not after
    logits = enlarged(student.model(student.preprocess(seen.strong, seen.sizes, train=True)), PADDED)
    total, confident, valid = 0.0, 0, 0
    for image in range(3):
        for y in range(SIZE[0]):
            for x in range(SIZE[1]):
                source = (image + 1) % 3 if seen.mixed[image, y, x] else image
                if not seen.valid[source, y, x]:
                    continue
                valid += 1
                likeliest = int(answer[source, :, y, x].argmax())
                if answer[source, likeliest, y, x] >= 0.4:
                    confident += 1
                    total -= logits[image, :, y, x].log_softmax(0)[likeliest].item()
    assert 0.02 < confident / valid < 0.98
    assert found["unlabelled.loss"].item() == pytest.approx(0.25 * total / valid, rel=1e-4)
    assert float(found["unlabelled.confident"]) == pytest.approx(confident / valid, rel=1e-5)


def test_weights_of_the_terms() -> None:
    task = taught(teacher=other_task(), distillation=Distillation(weight=0.5))
    weights = {term.name: term.weight for term in task.training_terms(batch())}
    assert weights["unlabelled.loss"] == 2
    assert weights["unlabelled.confident"] == 0
    assert weights["teacher.loss"] == 0.5


@pytest.mark.parametrize("loss", ["pixels", "channels"])
def test_the_term_of_distillation(loss: str) -> None:
    teacher, given = other_task(), make_batch()
    how = Distillation(loss=loss, temperature=2.0)
    task = Taught(make_task(), teacher=copy.deepcopy(teacher), distillation=how)
    student = copy.deepcopy(task._task[0])
    found = by_name(task, given)["teacher.loss"]

    teacher.eval()
    with torch.no_grad():
        answer = teacher.model(teacher.preprocess(given.images, given.sizes, train=False))
        theirs = enlarged(answer, (24, 24)) / 2
    inputs = student.preprocess(given.images, given.sizes, train=True)
    ours = enlarged(student.model.training_outputs(inputs)["decode"], PADDED) / 2
    inside = [(slice(0, height), slice(0, width)) for height, width in given.sizes]
    values = []
    for mine, other, (rows, columns) in zip(ours, theirs, inside, strict=True):
        a, b = mine[:, rows, columns].flatten(1), other[:, rows, columns].flatten(1)  # (K, places)
        axis = 0 if loss == "pixels" else 1
        p, q = a.log_softmax(axis), b.log_softmax(axis)
        values.append((q.exp() * (q - p)).sum(axis))
    assert found.item() == pytest.approx(4 * torch.cat(values).mean().item(), rel=1e-4)


def test_no_gradient_reaches_the_teacher_and_nothing_of_it_is_changed() -> None:
    for teacher in (None, other_task()):
        task = taught(teacher=teacher, distillation=teacher and Distillation())
        held = task.teacher
        before = copy.deepcopy(held.state_dict())
        task.train()
        sum(term.value * term.weight for term in task.training_terms(batch())).backward()
        assert all(parameter.grad is None for parameter in held.parameters())
        assert not held.training
        assert all(torch.equal(before[name], value) for name, value in held.state_dict().items())
        assert all(parameter.grad is not None for parameter in task.model.parameters())


def test_running_statistics_are_those_of_the_labelled_images_alone() -> None:
    plain, task = make_task(), taught()
    plain.training_terms(make_batch())
    task.training_terms(batch())
    norm = task.model.norm
    assert norm.track_running_stats
    assert norm.num_batches_tracked == 1
    assert all(map(torch.equal, norm.buffers(), plain.model.norm.buffers()))
    norm.eval()
    with statistics_kept(task.model):
        assert norm.track_running_stats  # a frozen norm goes on with what it knows


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, SynchronisedBatchNorm])
def test_norms_that_keep_their_statistics_average_over_their_batch(kind: type[nn.Module], monkeypatch: Any) -> None:
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor: None)  # of one process
    images = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)) * 2 + 1
    norm, usual = kind(3), nn.BatchNorm2d(3)
    with statistics_kept(norm):
        torch.testing.assert_close(norm(images), usual(images))
    assert torch.equal(norm.running_mean, torch.zeros(3))
    assert norm.num_batches_tracked == 0
    norm(images)
    torch.testing.assert_close(norm.running_mean, usual.running_mean)


def test_for_everyone_else_it_is_the_task() -> None:
    plain, task = make_task(), taught()
    assert list(task.state_dict()) == list(plain.state_dict())
    assert {name for name, _ in task.named_parameters()} == {name for name, _ in plain.named_parameters()}
    assert (task.num_classes, task.ignore_index) == (4, 255)
    expected = {term.name: term.value for term in plain.training_terms(make_batch())}
    found = by_name(task, make_batch())  # without unlabelled images
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    inner = task._task[0]
    assert not task.eval().training
    assert not inner.training  # a predictor holds that one, and asks it
    assert task.train().training
    assert inner.training
    logits = task.eval().logits(make_batch().images, make_batch().sizes)
    assert torch.equal(logits, plain.eval().logits(make_batch().images, make_batch().sizes))
    labels = make_batch().labels
    assert torch.equal(task.validation_loss(logits, labels), plain.validation_loss(logits, labels))
    wrong = make_batch()
    wrong.labels[0, 0, 0] = 9
    assert "9" in task.label_problem(wrong)


def test_a_copy_has_a_teacher_of_its_own() -> None:
    task = taught()
    other = copy.deepcopy(task)
    other.teacher.model.decode_head.bias.data.fill_(9)
    assert not (task.teacher.model.decode_head.bias == 9).any()
    assert other._task[0].model is other.model


def test_the_average_is_shown_to_the_teacher() -> None:
    task = taught()
    averages = {name: torch.full_like(value, 0.5) for name, value in task.model.state_dict().items()}

    def show(network: nn.Module) -> None:
        for name, tensor in (*network.named_parameters(), *network.named_buffers()):
            tensor.data = averages[name]

    task.follow(show)
    averages["decode_head.bias"].fill_(3)
    assert (task.teacher.model.decode_head.bias == 3).all()
    assert not (task.model.decode_head.bias == 3).any()


def test_classes_in_another_order() -> None:
    order = [2, 0, 3, 1]
    teacher = other_task()
    turned = copy.deepcopy(teacher)
    convolution = turned.model.decode_head
    for parameter in (convolution.weight, convolution.bias):
        parameter.data = parameter.data[order]
    expected = by_name(Taught(make_task(), teacher=turned, distillation=Distillation()), make_batch())
    found = by_name(Taught(make_task(), teacher=teacher, order=order, distillation=Distillation()), make_batch())
    torch.testing.assert_close(found["teacher.loss"], expected["teacher.loss"])
    unordered = by_name(Taught(make_task(), teacher=teacher, distillation=Distillation()), make_batch())
    assert not torch.allclose(unordered["teacher.loss"], expected["teacher.loss"])


def test_one_logit_is_two_classes() -> None:
    logits = torch.randn(2, 1, 4, 6)
    scores = class_scores(logits, (8, 12), (7, 10), align_corners=False)
    assert scores.shape == (2, 2, 7, 10)
    expected = F.interpolate(logits, (8, 12), mode="bilinear")[:, 0, :7, :10].sigmoid()
    torch.testing.assert_close(scores.softmax(1)[:, 1], expected)


class Amounts(nn.Module):
    """Of masks: how much of each class is in each pixel, four classes."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.mix(images).exp()


def test_a_mask_classifier_as_teacher() -> None:
    torch.manual_seed(0)
    preprocess = Preprocess(PreprocessSpec((90.0,) * 3, (30.0,) * 3))
    teacher = MaskClassification(
        Amounts(), preprocess=preprocess, objective=lambda layers, labels: [], num_classes=4, ignore_index=255
    )
    given = make_batch()
    task = Taught(make_task(), teacher=teacher, distillation=Distillation())
    scores = task._asked(given.images, given.sizes)
    amounts = teacher.logits(given.images, given.sizes)
    torch.testing.assert_close(scores.softmax(1), amounts / amounts.sum(1, keepdim=True))


def test_a_head_that_is_trained_at_points_is_asked_for_all_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    task = Taught(make_task(), teacher=other_task(), distillation=Distillation()).eval()  # statistics stay
    expected = by_name(task, make_batch())["teacher.loss"]
    inner = task._task[0]
    before = inner.terms_and_outputs

    def at_points(given: Batch) -> tuple[list[object], dict[str, object]]:
        terms, _ = before(given)
        return terms, {"decode": PointLogits(torch.zeros(2, 4, 3), torch.zeros(2, 3, 2))}

    monkeypatch.setattr(inner, "terms_and_outputs", at_points)
    torch.testing.assert_close(by_name(task, make_batch())["teacher.loss"], expected)


def test_half_precision_leaves_the_losses_in_float32() -> None:
    task = taught(teacher=other_task(), distillation=Distillation())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = by_name(task, batch())
    assert found["unlabelled.loss"].dtype == found["teacher.loss"].dtype == torch.float32
    exact = by_name(taught(teacher=other_task(), distillation=Distillation()), batch())
    assert float(found["teacher.loss"]) == pytest.approx(float(exact["teacher.loss"]), rel=0.1)


def test_distillation_needs_a_teacher() -> None:
    with pytest.raises(ValueError, match="needs a teacher"):
        Taught(make_task(), distillation=Distillation())


def test_no_step_waits_for_a_gpu() -> None:
    """Teacher, order of the classes and images without labels are there after the first step."""

    def taught() -> Taught:
        return Taught(
            make_task(), teacher=make_task(), order=[2, 0, 3, 1], distillation=Distillation(),
            pseudo_labels=PseudoLabels("adaptive"),
        )  # fmt: skip

    here = by_name(taught(), replace(make_batch(), unlabelled=views()))
    with simulated_gpu() as waits:
        task = taught()
        task.to(DEVICE)
        batch = replace(make_batch(), unlabelled=views()).to(DEVICE)
        with torch.no_grad():
            task.training_terms(batch)  # sends the teacher
            waits.found.clear()
            there = by_name(task, batch)
            task.end_step(lambda sums: sums)
        assert waits.found == []
        for name, value in here.items():
            torch.testing.assert_close(there[name].cpu(), value.detach())
