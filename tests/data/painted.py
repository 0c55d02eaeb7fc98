"""Small pictures and labels for tests of the data doctor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from intarsia.data.doctor.findings import Finding, Findings

SIZE = (48, 64)


def save(path: Path, array: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def picture(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def areas(seed: int, classes: int = 3, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A rectangle for each class on 0; no class is covered by others, and places differ from seed to seed."""
    label = np.zeros(size, np.uint8)
    width = size[1] // classes
    for number in range(1, classes):
        top = int(np.random.default_rng((seed, number)).integers(0, size[0] // 2))
        label[top : top + size[0] // 3, number * width + 1 : (number + 1) * width - 1] = number
    return label


def pairs(root: Path, labels: list[np.ndarray], *, suffix: str = ".png", **options: object) -> Path:
    """``images/x0.png`` with ``masks/x0.png`` and so on."""
    for index, label in enumerate(labels):
        save(root / f"images/x{index}.png", picture(index))
        save(root / f"masks/x{index}{suffix}", label, **options)
    return root


def one(findings: tuple[Finding, ...], kind: str) -> Finding:
    matching = [finding for finding in findings if finding.kind == kind]
    assert len(matching) == 1, f"expected one {kind!r}, found {[(f.kind, f.text) for f in findings]}"
    return matching[0]


def kinds(findings: tuple[Finding, ...]) -> set[str]:
    return {finding.kind for finding in findings}


def table(found: Findings) -> dict[object, str]:
    labels = found.proposal().labels
    assert labels is not None
    return dict(labels)
