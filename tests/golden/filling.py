"""Weights, images and labels as functions of their names: the protocol of the reference numbers, without the reference.

Whoever fills a network this way holds the weights that the reference network held (`shared/golden/README.md`); the test
beside this file compares both writings.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

SCALE = {"running_mean": (0.0, 0.1), "weight": (1.0, 0.1)}  # of one-dimensional tensors; everything else is (0, 0.1)


def stream(name: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))


def values(name: str, shape: Sequence[int]) -> npt.NDArray[np.float64]:
    noise = np.asarray(stream(name).standard_normal(tuple(shape)))
    leaf = name.rpartition(".")[2]
    if leaf == "running_var":
        return np.asarray(1.0 + 0.1 * np.tanh(noise))
    if leaf != "running_mean" and noise.ndim > 1:
        return np.asarray(noise / np.sqrt(max(math.prod(shape[1:]), 1)))
    centre, spread = SCALE.get(leaf, (0.0, 0.1))
    return np.asarray(centre + spread * noise)


def fill(module: nn.Module, prefix: str = "") -> None:
    """Sets every floating entry of the state dict, under its name behind `prefix`."""
    for name, entry in module.state_dict().items():
        if entry.is_floating_point():
            entry.copy_(torch.from_numpy(values(prefix + name, entry.shape)))


def images(n: int, c: int, h: int, w: int) -> Tensor:
    return torch.from_numpy(stream("image").standard_normal((n, c, h, w)))


def labels(n: int, h: int, w: int, num_classes: int, *, name: str = "label", cell: int = 8) -> Tensor:
    """(n, h, w) blocks of cell x cell pixels, about one in ten ignored (255)."""
    random = stream(name)
    blocks = random.integers(0, num_classes, (n, -(-h // cell), -(-w // cell)))
    blocks[random.random(blocks.shape) < 0.1] = 255
    return torch.from_numpy(np.kron(blocks, np.ones((cell, cell), dtype=np.int64))[:, :h, :w].astype(np.int64))


def edges(n: int, h: int, w: int) -> Tensor:
    """(n, h, w) where an edge is, for methods that learn edges."""
    return labels(n, h, w, 2, name="edge", cell=4) == 1


def positions(name: str, size: int, count: int) -> npt.NDArray[np.int64]:
    """Where in a flattened tensor the samples of a digest lie."""
    return stream("index:" + name).integers(0, size, count)
