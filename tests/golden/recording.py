"""Records of our own, in the form of the reference's, which `comparing.py` reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import building
import comparing
import filling
import numpy as np
from torch import Tensor

from intarsia.contracts import Task


def record(model: Mapping[str, Any], size: tuple[int, int, int, int], samples: int) -> dict[str, Any]:
    """Everything that a record says, of the `model` section of a config and an input (N, C, H, W)."""
    task = building.task(model).double()
    comparing.prepare(task.model)
    images = filling.images(*size)
    logits, outputs = comparing.run(task.model, images, [name for name, _ in task.model.named_children()])
    stages = {stage: tensor for child, output in outputs.items() for stage, tensor in _stages(child, output)}
    return {
        "dtype": "float64",
        "params": sum(parameter.numel() for parameter in task.model.parameters()),
        "input": list(size),
        "losses": comparing.training_losses(task, images, {}),
        "grads": {name: _gradients(task, name) for name, _ in task.model.named_children()},
        "logits": digest("logits", comparing.at_size_of(images, logits, task), samples),
        "stages": {stage: digest(stage, tensor, samples) for stage, tensor in stages.items()},
    }


def digest(name: str, tensor: Tensor, samples: int) -> dict[str, Any]:
    """What a record keeps of a tensor; errors are relative to `scale`."""
    flat = tensor.detach().double().flatten().numpy()
    return {
        "shape": list(tensor.shape),
        "mean": flat.mean(),
        "std": flat.std(),
        "values": flat[filling.positions(name, flat.size, samples)].tolist(),
        "scale": np.abs(flat).max(),
    }


def _stages(name: str, output: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors of an output by the names of a record: "neck", or "backbone:2", or "decode_head:0.7"."""
    if isinstance(output, Tensor):
        yield name, output
        return
    for i, item in enumerate(output):
        yield from _stages(f"{name}.{i}" if ":" in name else f"{name}:{i}", item)


def _gradients(task: Task, child: str) -> dict[str, Any]:
    parameters = list(task.model.get_submodule(child).parameters())
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = sum(gradient.square().sum().item() for gradient in gradients) ** 0.5
    return {"norm": norm, "with_grad": len(gradients), "without_grad": len(parameters) - len(gradients)}
