"""Fills a network, runs it, and measures how far every number is from recorded ones.

A record is what `shared/golden/README.md` describes; `figures/` beside this file holds short ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import filling
import numpy as np
import torch
from torch import Tensor, nn

from intarsia.contracts import Batch, LossTerm, MaskPredictions, Task
from intarsia.layers.levels import resize
from intarsia.layers.matrix_decomposition import NonnegativeFactorisation
from intarsia.losses.boundary import BoundaryLoss
from intarsia.tasks.semantic import HeadLoss

DOUBLE = 1e-8
SINGLE = 1e-6
"""Of a single operation in float32 within a network in float64."""
SINGLE_THROUGHOUT = 1.5e-4
"""Of a record made in float32 from the same network in float64. PointRend's is 1.2e-4 off in a neck that another record
has bit by bit; run in float32 here too, it would be off by the rounding of this machine as well.
"""

OTHERWISE_IN_TRAINING = (NonnegativeFactorisation,)
"""Layers that compute something else in training, besides norms and what drops, which records have as in evaluation."""

Column = Literal["state names", "logits", "stages", "losses", "gradients"]
COLUMNS: tuple[Column, ...] = ("state names", "logits", "stages", "losses", "gradients")


@dataclass(frozen=True)
class Finding:
    """One thing that was compared: how far it is from the record, relative; infinite where no number says how far."""

    column: Column
    name: str
    error: float
    tolerance: float
    detail: str = ""

    @property
    def holds(self) -> bool:
        return self.error <= self.tolerance

    def __str__(self) -> str:
        amount = f"relative error {self.error:.1e}, {self.tolerance:.0e} allowed" if math.isfinite(self.error) else ""
        return f"{self.column}, {self.name}: " + "; ".join(filter(None, [amount, self.detail]))


def compare(task: Task, record: Mapping[str, Any]) -> list[Finding]:
    """Everything that a record says, about a task that was built from the record's config."""
    tolerance = DOUBLE if record.get("dtype", "float64") == "float64" else SINGLE_THROUGHOUT
    model = task.double().model
    findings = [*compare_state(model, record.get("state")), compare_size(model, record["params"])]
    prepare(model)
    images = filling.images(*record["input"])
    logits, outputs = run(model, images, {stage.partition(":")[0] for stage in record["stages"]})
    findings += compare_digest("logits", "logits", at_size_of(images, logits, task), record["logits"], tolerance)
    for stage, digest in record["stages"].items():
        findings += compare_digest("stages", stage, stage_of(outputs, stage), digest, tolerance)
    if "losses" in record or "loss_names" in record:
        findings += compare_training(task, images, record, tolerance)
    return findings


def at_size_of(images: Tensor, logits: Tensor, task: Task) -> Tensor:
    """Logits of a model as a record has them, at the size of the images."""
    decode = [head for head in head_losses(task) if head.head.startswith("decode")]
    return resize(logits, images.shape[2:], align_corners=bool(decode) and decode[-1].align_corners)


def head_losses(task: Task) -> tuple[HeadLoss, ...]:
    """What each head is trained on; mask classifiers, whose logits have the images' size, have no such list."""
    return getattr(task, "losses", ())


def different(findings: Iterable[Finding]) -> str:
    """The findings that do not hold, a line each; empty if all do."""
    return "\n".join(str(finding) for finding in findings if not finding.holds)


# --- State --------------------------------------------------------------------------------------------------------


def compare_state(module: nn.Module, shapes: Mapping[str, list[Any]] | None) -> Iterator[Finding]:
    """Names in order, and shapes; the record gives a shape and, for integers, the type."""
    if shapes is None:
        return
    state = module.state_dict()
    missing, unexpected = [n for n in shapes if n not in state], [n for n in state if n not in shapes]
    if missing or unexpected:
        yield unequal("state names", "names", f"missing {_some(missing)}, unexpected {_some(unexpected)}")
    elif list(state) != list(shapes):
        first = next((a, b) for a, b in zip(state, shapes, strict=True) if a != b)
        yield unequal("state names", "order", f"found {first[0]} where {first[1]} was expected")
    else:
        yield equal("state names", "names")
    for name, entry in state.items():
        expected = shapes.get(name, list(entry.shape))
        expected = expected if entry.is_floating_point() else [size for size in expected if not isinstance(size, str)]
        if list(entry.shape) != expected:
            yield unequal("state names", name, f"expected the shape {expected}, found {list(entry.shape)}")


def compare_size(module: nn.Module, expected: int) -> Finding:
    found = sum(parameter.numel() for parameter in module.parameters())
    if found != expected:
        return unequal("state names", "parameters", f"expected {expected:,}, found {found:,}")
    return equal("state names", "parameters")


def _some(names: list[str]) -> str:
    return f"{', '.join(names[:3])}{' ...' if len(names) > 3 else ''} ({len(names)})" if names else "none"


# --- Outputs ------------------------------------------------------------------------------------------------------


def prepare(module: nn.Module, prefix: str = "") -> None:
    """Filled weights, evaluation mode, but batch norms that use the batch and remember nothing of it."""
    filling.fill(module, prefix)
    module.eval()
    for norm in module.modules():
        if isinstance(norm, nn.modules.batchnorm._BatchNorm):
            norm.train()
            norm.momentum = 0.0


def run(model: nn.Module, images: Tensor, children: Iterable[str]) -> tuple[Tensor, dict[str, Any]]:
    """What the model gives, and on the way each of the named children."""
    outputs: dict[str, Any] = {}

    def keep(name: str) -> Callable[[nn.Module, Any, Any], None]:
        return lambda module, inputs, output: outputs.update({name: _as_recorded(output)})

    hooks = [child.register_forward_hook(keep(name)) for name, child in model.named_children() if name in children]
    torch.manual_seed(0)
    with torch.no_grad():
        logits: Tensor = model(images)
    for hook in hooks:
        hook.remove()
    return logits, outputs


def _as_recorded(output: Any) -> Any:
    """Lists of tensors, copied: what follows may write into them. Of queries, the classes of all layers come first."""
    if isinstance(output, Tensor):
        return output.clone()
    layers = isinstance(output, tuple) and all(isinstance(item, MaskPredictions) for item in output)
    return [_as_recorded(item) for item in (zip(*output, strict=True) if layers else output)]


def stage_of(outputs: Mapping[str, Any], stage: str) -> Tensor | None:
    """The tensor that a record calls "backbone:2", "decode_head:0.7" or "text_encoder", if there is one.

    A list where the record has a single tensor is stacked; of several shapes, it is the last, since in evaluation the
    original leaves out the levels that only training looks at.
    """
    child, _, path = stage.partition(":")
    found = outputs.get(child)
    for index in path.split(".") if path else ():
        if not isinstance(found, list) or int(index) >= len(found):
            return None
        found = found[int(index)]
    if not isinstance(found, list):
        return found
    return torch.stack(found) if len({level.shape for level in found}) == 1 else found[-1]


def compare_digest(
    column: Column, name: str, found: Tensor | None, record: Mapping[str, Any], tolerance: float = DOUBLE
) -> Iterator[Finding]:
    """Shape, mean, deviation and sampled values of a tensor; errors are relative to the record's largest sample."""
    if found is None or list(found.shape) != record["shape"]:
        shape = "nothing" if found is None else list(found.shape)
        yield unequal(column, name, f"expected the shape {record['shape']}, found {shape}")
        return
    flat = found.detach().double().flatten().numpy()
    scale = record.get("scale") or np.abs(record["values"]).max()
    samples = flat[filling.positions(name, flat.size, len(record["values"]))]
    pairs = {"values": (samples, record["values"]), "mean": (flat.mean(), record["mean"])}
    for kind, (values, expected) in {**pairs, "deviation": (flat.std(), record["std"])}.items():
        error = np.abs(values - np.asarray(expected)).max() / scale
        yield Finding(column, f"{kind} of {name}", _finite(error), tolerance)


# --- Training -----------------------------------------------------------------------------------------------------


def training_terms(task: Task, images: Tensor, record: Mapping[str, Any]) -> list[LossTerm]:
    """The terms of one step, whose gradients the parameters then have. Random points are those of the seed 0."""
    n, _, h, w = images.shape
    labels = filling.labels(n, h, w, task.num_classes)
    if record.get("labels_without_ignored"):
        labels = labels.where(labels != task.ignore_index, 0)
    for module in task.model.modules():
        if isinstance(module, OTHERWISE_IN_TRAINING):
            module.train()
    torch.manual_seed(0)
    terms = task.training_terms(Batch(images, labels, ((h, w),) * n, (), {"edge": filling.edges(n, h, w)}))
    total = torch.stack([term.value * term.weight for term in terms if term.weight]).sum()
    total.backward()
    return terms


def training_losses(task: Task, images: Tensor, record: Mapping[str, Any]) -> dict[str, float]:
    """The terms as a record has them: weighted, but accuracies as they are."""
    return {term.name: term.value.item() * (term.weight or 1.0) for term in training_terms(task, images, record)}


def compare_training(task: Task, images: Tensor, record: Mapping[str, Any], tolerance: float) -> Iterator[Finding]:
    if "losses" not in record:
        yield from finite_training(task, training_terms(task, images, record), record["loss_names"])
        return
    # Through its target, which it keeps in float32, the original computes the sigmoid form in single precision, and
    # accuracies too. Its softmax form is double precision throughout. Of the boundary loss, the value alone is rounded.
    sigmoid = any(getattr(term.loss, "use_sigmoid", False) for head in head_losses(task) for term in head.terms)
    tolerance = max(tolerance, SINGLE) if sigmoid else tolerance
    rounded = {f"{head.head}.{term.name}" for head in head_losses(task) for term in head.terms if is_rounded(term.loss)}
    found = training_losses(task, images, record)
    yield names_of_terms(list(found), list(record["losses"]))
    for name, value in found.items():
        if (expected := record["losses"].get(name)) is not None:
            single = name in rounded or name.partition(".s")[0].endswith("acc_seg")
            limit = max(tolerance, SINGLE) if single else tolerance
            yield Finding("losses", name, relative(value, expected), limit, f"{value} instead of {expected}")
    for child, expected in record["grads"].items():
        yield from compare_gradients(task.model, child, expected, tolerance)


def is_rounded(loss: Any) -> bool:
    """Whether the original gives the value of a loss in single precision, even of logits in double precision."""
    return isinstance(loss, BoundaryLoss)


def compare_gradients(model: nn.Module, child: str, expected: Mapping[str, Any], tolerance: float) -> Iterator[Finding]:
    parameters = [p for name, p in model.named_parameters() if name.startswith(f"{child}.")]
    gradients = [p.grad.flatten() for p in parameters if p.grad is not None]
    counts = len(gradients), len(parameters) - len(gradients)
    if counts != (expected["with_grad"], expected["without_grad"]):
        wanted = f"{expected['with_grad']} with and {expected['without_grad']} without"
        yield unequal("gradients", child, f"expected {wanted} a gradient, found {counts[0]} and {counts[1]}")
    norm = torch.cat(gradients).norm().item() if gradients else 0.0
    yield Finding("gradients", child, relative(norm, expected["norm"]), tolerance, f"{norm} and {expected['norm']}")


def finite_training(task: Task, terms: list[LossTerm], names: list[str]) -> Iterator[Finding]:
    """What can be said where the reference draws random points: the terms by name, everything finite."""
    yield names_of_terms(sorted(term.name for term in terms), sorted(names))
    for term in terms:
        if not term.value.isfinite():
            yield unequal("losses", term.name, f"is {term.value.item()}")
    for name, parameter in task.model.named_parameters():
        if parameter.grad is None or not parameter.grad.isfinite().all():
            yield unequal("gradients", name, "is missing or not finite")
    yield equal("gradients", "finite")


def names_of_terms(found: list[str], expected: list[str]) -> Finding:
    if found != expected:
        return unequal("losses", "names", f"expected {', '.join(expected)}; found {', '.join(found)}")
    return equal("losses", "names")


def relative(found: float, expected: float) -> float:
    return _finite(abs(found - expected) / abs(expected)) if expected else float(found != 0)


def _finite(error: float) -> float:
    return float(error) if math.isfinite(error) else math.inf


def equal(column: Column, name: str) -> Finding:
    return Finding(column, name, 0.0, 0.0)


def unequal(column: Column, name: str, detail: str) -> Finding:
    return Finding(column, name, math.inf, 0.0, detail)
