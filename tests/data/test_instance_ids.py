"""Label files whose numbers say objects besides classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from painted import SIZE, one, pairs, picture, save

from intarsia.data.description.read import read_description
from intarsia.data.description.write import write_description
from intarsia.data.doctor.examine import examine
from intarsia.data.instance_ids import ClassOf


def scene(seed: int, encode, *, void: int) -> np.ndarray:
    """A road below, void above, and two or three cars and people in between; `encode`: of class and object."""
    label = np.full(SIZE, void, np.int64)
    label[30:] = encode(7, None)
    rng = np.random.default_rng(seed)
    for kind, top in ((26, 2), (24, 14)):
        for number in range(rng.integers(2, 4)):
            label[top : top + 8, 20 * number + 1 : 20 * number + 12] = encode(kind, number)
    return label


def folder(root: Path, encode, *, void: int = 0) -> Path:
    for index in range(6):
        save(root / f"images/x{index}.png", picture(index))
        save(root / f"masks/x{index}.png", scene(index, encode, void=void).astype(np.uint16))
    return root


RULES = [
    ("value // 1000 or value", lambda kind, number: kind if number is None else 1000 * kind + number),
    ("value // 1000", lambda kind, number: 1000 * kind + (number or 0)),
    ("value // 256", lambda kind, number: 256 * kind + (0 if number is None else number + 1)),
    ("value % 256", lambda kind, number: kind + 256 * (0 if number is None else number + 1)),
]


@pytest.mark.parametrize(("rule", "encode"), RULES)
def test_the_doctor_finds_the_rule_and_training_reads_by_it(tmp_path: Path, rule, encode) -> None:
    findings = examine(folder(tmp_path / "data", encode))
    description = findings.proposal()
    assert str(description.class_of) == rule
    assert set(description.labels) == {0, 7, 24, 26}
    assert any(rule in note for note in findings.notes)
    write_description(description, tmp_path / "data.yaml")
    again = read_description(tmp_path / "data.yaml")
    assert again == description
    assert examine(tmp_path / "data.yaml").values == findings.values
    dataset = again.dataset("train")
    for index in range(len(dataset)):
        seed = int(dataset.name(index)[-1])
        classes = scene(seed, lambda kind, number: kind, void=0)
        values = {value: again.class_index(name) for value, name in again.labels.items()}
        expected = np.vectorize(values.get)(classes)
        assert np.array_equal(dataset.load(index).label, expected)


@pytest.mark.parametrize(
    "label",
    [
        lambda seed: np.arange(1200).reshape(30, 40),  # objects without classes
        lambda seed: np.random.default_rng(seed).integers(0, 40, (30, 40)) * 37,  # classes with large numbers
        lambda seed: np.random.default_rng(seed).choice([0, 1000, 2000, 3000], (30, 40)),
        lambda seed: np.random.default_rng(seed).integers(0, 3, (30, 40)),
    ],
)
def test_numbers_that_are_something_else_stay(tmp_path: Path, label) -> None:
    for index in range(4):
        save(tmp_path / f"images/x{index}.png", picture(index, (30, 40)))
        save(tmp_path / f"masks/x{index}.png", label(index).astype(np.uint16))
    description = examine(tmp_path).description
    assert description is None or description.class_of is None


def cells(counts: list[int]) -> list[np.ndarray]:
    """Label files of 16 bits with so many cells each, numbered from 1."""
    labels = []
    for seed, count in enumerate(counts):
        label = np.zeros(SIZE, np.uint16)
        for number, place in enumerate(np.random.default_rng(seed).permutation(24)[:count], 1):
            label[place // 6 * 12 + 2 :, place % 6 * 10 + 1 :][:8, :7] = number
        labels.append(label)
    return labels


def test_numbers_of_objects_alone_are_one_class(tmp_path: Path) -> None:
    """As Cellpose and StarDist have them: each number was a class of its own, with no word about it."""
    labels = cells([9, 5, 14, 0, 11])
    findings = examine(pairs(tmp_path / "data", labels))
    description = findings.proposal()
    assert str(description.class_of) == "value > 0"
    assert dict(description.labels or {}) == {0: "background", 1: "foreground"}
    assert "up to 14 in an image" in one(findings.warnings, "instance numbers").text
    write_description(description, tmp_path / "data.yaml")
    again = read_description(tmp_path / "data.yaml")
    assert again == description
    for split in again.splits:
        dataset = again.dataset(split)
        for index in range(len(dataset)):
            label = labels[int(dataset.name(index)[-1])]
            assert np.array_equal(dataset.load(index).label, label > 0)


@pytest.mark.parametrize("counts", [[5, 4, 3, 5], [12, 12, 12]])
def test_few_numbers_or_as_many_everywhere_may_be_classes(tmp_path: Path, counts) -> None:
    findings = examine(pairs(tmp_path, cells(counts)))
    assert findings.proposal().class_of is None
    assert 'class_of: "value > 0"' in one(findings.warnings, "instance numbers").advice


def test_named_numbers_are_classes(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("\n".join(f"kind {number}" for number in range(15)))
    found = examine(pairs(tmp_path, cells([9, 5, 14, 0, 11])))
    assert found.proposal().class_of is None
    assert len(found.proposal().classes) == 15


def test_colours_are_one_number() -> None:
    colours = np.array([[[3, 1, 0], [0, 0, 1]]], np.uint8)
    assert ClassOf.parse("value // 256").apply(colours).tolist() == [[1, 256]]
    assert ClassOf.parse("value//65536 or value").apply(colours).tolist() == [[259, 1]]


@pytest.mark.parametrize("text", ["", "value // 1", "value", "value % 256 or value", "value // 1000; 1", "import os"])
def test_other_rules_are_refused_with_their_line(tmp_path: Path, text) -> None:
    (tmp_path / "data.yaml").write_text(
        f'classes: [a, b]\nclass_of: "{text}"\nsplits: {{train: {{images: i, labels: l}}}}\n'
    )
    with pytest.raises(ValueError, match=r"data\.yaml:2: class_of: expected `value // 1000`"):
        read_description(tmp_path / "data.yaml")
