"""A teacher where a pixel may have several classes: each is a question of its own, against sums computed otherwise."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from test_taught import PADDED, SIZE, SPEC, Network, by_name, enlarged, make_batch, views

from intarsia.contracts import Batch
from intarsia.losses.cross_entropy import CrossEntropyLoss
from intarsia.losses.each_class import EachClass
from intarsia.tasks.preprocess import Preprocess
from intarsia.tasks.semantic import HeadLoss, HeadTerm, SemanticSegmentation
from intarsia.tasks.taught import Distillation, PseudoLabels, Taught, yes_and_no


def make_task(seed: int = 0) -> SemanticSegmentation:
    torch.manual_seed(seed)
    losses = [
        HeadLoss(name, [HeadTerm("loss_ce", EachClass([CrossEntropyLoss(use_sigmoid=True)]), weight)], 255, False)
        for name, weight in (("decode", 1.0), ("aux", 0.4))
    ]
    preprocess = Preprocess(SPEC)
    return SemanticSegmentation(
        Network(), preprocess=preprocess, losses=losses, num_classes=4, ignore_index=255, multi_label=True
    )


def batch() -> Batch:
    """Labels are sets of four classes."""
    given = make_batch()
    random = torch.Generator().manual_seed(8)
    labels = torch.randint(0, 16, given.labels.shape, generator=random).byte()
    return replace(given, labels=labels, unlabelled=views())


def test_the_softmax_of_no_and_yes_is_the_sigmoid() -> None:
    scores = torch.randn(2, 3, 4, 5)
    pairs = yes_and_no(scores).softmax(1)
    assert torch.allclose(pairs[:, 1].view(2, 3, 4, 5), scores.sigmoid())


def test_pseudo_labels_are_of_each_class() -> None:
    """The teacher may be sure that a pixel has a class, or has not, and say nothing of the others."""
    task, given = Taught(make_task(), pseudo_labels=PseudoLabels(0.6, 2.0)), batch()
    student, teacher = copy.deepcopy(task._task[0]), copy.deepcopy(task._task[0]).eval()
    found = by_name(task, given)

    seen = given.unlabelled
    assert seen is not None
    with torch.no_grad():
        answer = enlarged(teacher.model(teacher.preprocess(seen.weak, seen.sizes, train=False)), SIZE).sigmoid()
    student.training_terms(replace(given, unlabelled=None))
    logits = enlarged(student.model(student.preprocess(seen.strong, seen.sizes, train=True)), PADDED)
    total, confident, count = 0.0, [0, 0], 0
    for image in range(3):
        for y in range(SIZE[0]):
            for x in range(SIZE[1]):
                source = (image + 1) % 3 if seen.mixed[image, y, x] else image
                if not seen.valid[source, y, x]:
                    continue
                for k in range(4):
                    count += 1
                    yes = float(answer[source, k, y, x])
                    if max(yes, 1 - yes) >= 0.6:
                        said = torch.tensor(float(yes > 0.5))
                        confident[int(said)] += 1
                        total += float(F.binary_cross_entropy_with_logits(logits[image, k, y, x], said))
    assert min(confident) > 20
    assert sum(confident) < 0.98 * count
    assert found["unlabelled.loss"].item() == pytest.approx(0.25 * total / count, rel=1e-4)
    assert float(found["unlabelled.confident"]) == pytest.approx(sum(confident) / count, rel=1e-5)


@pytest.mark.parametrize("loss", ["pixels", "channels"])
def test_distillation_is_of_each_class(loss: str) -> None:
    teacher, given = make_task(5), replace(batch(), unlabelled=None)
    how = Distillation(loss=loss, temperature=2.0)  # type: ignore[arg-type]
    order = [2, 0, 3, 1]
    task = Taught(make_task(), teacher=copy.deepcopy(teacher), order=order, distillation=how)
    student = copy.deepcopy(task._task[0])
    found = by_name(task, given)["teacher.loss"]

    teacher.eval()
    with torch.no_grad():
        answer = teacher.model(teacher.preprocess(given.images, given.sizes, train=False))
        theirs = enlarged(answer, SIZE)[:, order] / 2
    inputs = student.preprocess(given.images, given.sizes, train=True)
    ours = enlarged(student.model.training_outputs(inputs)["decode"], PADDED) / 2
    values = []
    for mine, other, (height, width) in zip(ours, theirs, given.sizes, strict=True):
        a, b = mine[:, :height, :width].flatten(1), other[:, :height, :width].flatten(1)  # (K, places)
        if loss == "channels":
            p, q = a.log_softmax(1), b.log_softmax(1)
            values.append((q.exp() * (q - p)).sum(1))
        else:
            q = b.sigmoid()
            no, yes = (1 - q).log() - (-a).sigmoid().log(), q.log() - a.sigmoid().log()
            values.append((q * yes + (1 - q) * no).flatten())
    assert found.item() == pytest.approx(4 * torch.cat(values).mean().item(), rel=1e-4)


def test_the_student_learns_and_the_teacher_does_not() -> None:
    task = Taught(
        make_task(), teacher=make_task(5), distillation=Distillation(), pseudo_labels=PseudoLabels(0.6)
    ).train()
    sum(term.value * term.weight for term in task.training_terms(batch())).backward()
    assert all(parameter.grad is None for parameter in task._teacher[0].parameters())
    assert all(parameter.grad is not None for parameter in task.parameters() if parameter.requires_grad)
