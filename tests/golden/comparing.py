"""Builds a network from a resolved config, fills it, and compares every number with recorded ones.

A record is what `shared/golden/README.md` describes; `figures.json` beside this file holds short ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import filling
import numpy as np
import torch
from torch import Tensor, nn

from intarsia.contracts import Batch
from intarsia.layers.levels import resize
from intarsia.tasks.semantic import SemanticSegmentation

DOUBLE = 1e-8
SINGLE = 1e-6


def prepare(module: nn.Module, prefix: str = "") -> None:
    """Filled weights, evaluation mode, but batch norms that use the batch and remember nothing of it."""
    filling.fill(module, prefix)
    module.eval()
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.train()
            norm.momentum = 0.0


def check_digest(name: str, found: Tensor, record: Mapping[str, Any], tolerance: float = DOUBLE) -> None:
    """Shape, mean, deviation and sampled values of a tensor; `tolerance` is relative to the largest sample."""
    assert list(found.shape) == record["shape"], name
    flat = found.detach().double().flatten().numpy()
    samples = flat[filling.positions(name, flat.size, len(record["values"]))]
    scale = np.abs(record["values"]).max()
    np.testing.assert_allclose(samples, record["values"], rtol=0, atol=tolerance * scale, err_msg=name)
    np.testing.assert_allclose(
        [flat.mean(), flat.std()], [record["mean"], record["std"]], rtol=0, atol=tolerance * scale
    )


def check_state(module: nn.Module, names: Iterable[str], shapes: Mapping[str, list[Any]]) -> None:
    """Names in order, and shapes; the record gives a shape and, for integers, the type."""
    state = module.state_dict()
    assert list(state) == list(names)
    for name, entry in state.items():
        expected = shapes[name] if entry.is_floating_point() else [*shapes[name]][:-1]
        assert list(entry.shape) == expected, name


def check_record(task: SemanticSegmentation, record: Mapping[str, Any]) -> None:
    """Everything a record says about a task that was built from the record's config."""
    model = task.model.double()
    if "state" in record:
        check_state(model, record["state"], record["state"])
    assert sum(parameter.numel() for parameter in model.parameters()) == record["params"]
    prepare(model)
    images = filling.images(*record["input"])
    with torch.no_grad():
        for i, level in enumerate(model.backbone(images)):
            check_digest(f"backbone:{i}", level, record["stages"][f"backbone:{i}"])
        align_corners = task.losses[0].align_corners
        check_digest("logits", resize(model(images), images.shape[2:], align_corners=align_corners), record["logits"])
    check_training(task, images, record)


def check_training(task: SemanticSegmentation, images: Tensor, record: Mapping[str, Any]) -> None:
    n, _, h, w = images.shape
    labels = filling.labels(n, h, w, task.num_classes)
    terms = task.training_terms(Batch(images, labels, ((h, w),) * n, ()))
    assert [term.name for term in terms] == list(record["losses"])
    # Through its target, which it keeps in float32, the original computes the sigmoid form in single precision, and
    # accuracies too. Its softmax form is double precision throughout.
    sigmoid = any(getattr(loss, "use_sigmoid", False) for head in task.losses for _, loss, _ in head.losses)
    tolerance = SINGLE if sigmoid else DOUBLE
    for term in terms:
        value = term.value.item() * (term.weight or 1.0)
        limit = SINGLE if term.name.endswith("acc_seg") else tolerance
        np.testing.assert_allclose(value, record["losses"][term.name], rtol=limit, err_msg=term.name)
    torch.stack([term.value * term.weight for term in terms if term.weight]).sum().backward()
    for child, expected in record["grads"].items():
        parameters = [p for name, p in task.model.named_parameters() if name.startswith(f"{child}.")]
        gradients = [p.grad.flatten() for p in parameters if p.grad is not None]
        assert (len(gradients), len(parameters) - len(gradients)) == (expected["with_grad"], expected["without_grad"])
        np.testing.assert_allclose(torch.cat(gradients).norm().item(), expected["norm"], rtol=tolerance, err_msg=child)
