"""The objective of mask classifiers against the papers, written out in loops, with every assignment tried."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from intarsia.contracts import MaskPredictions
from intarsia.layers import distributed
from intarsia.losses import set_criterion
from intarsia.losses.matching import masks_from_labels
from intarsia.losses.set_criterion import SetCriterion

K = 3
WHOLE = {"mask_loss": "focal", "num_points": None, "loss_weights": (1.0, 20.0, 1.0), "match_weights": (1.0, 20.0, 1.0)}
POINTS = {"num_points": 40}


def queries(
    seed: int, *, images: int = 2, count: int = 4, layers: int = 2, **options: Any
) -> tuple[MaskPredictions, ...]:
    random = torch.Generator().manual_seed(seed)
    return tuple(
        MaskPredictions(
            torch.randn(images, count, K + 1, generator=random, **options).requires_grad_(),
            (3 * torch.randn(images, count, 4, 6, generator=random, **options)).requires_grad_(),
        )
        for _ in range(layers)
    )


def labels(images: int = 2) -> Tensor:
    found = torch.full((images, 8, 12), 255)
    found[0, :5, :7] = 0
    found[0, 5:, 2:] = 2
    if images > 1:
        found[1, 1:, 4:] = 1
    return found


# --- The papers, in loops -----------------------------------------------------------------------------------------


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def cross_entropy_at(x: float, t: float) -> float:
    return -t * math.log(sigmoid(x)) - (1 - t) * math.log(1 - sigmoid(x))


def focal_at(x: float, t: float) -> float:
    p = sigmoid(x)
    return -0.25 * (1 - p) ** 2 * math.log(p) if t == 1 else -0.75 * p**2 * math.log(1 - p)


def mean_of(cost: Any, xs: np.ndarray, ts: np.ndarray) -> float:
    return float(np.mean([cost(x, t) for x, t in zip(xs.flat, ts.flat, strict=True)]))


def dice_of(xs: np.ndarray, ts: np.ndarray) -> float:
    p = 1 / (1 + np.exp(-xs))
    return float(1 - (2 * (p * ts).sum() + 1) / (p.sum() + ts.sum() + 1))


def bilinear(image: np.ndarray, x: float, y: float) -> float:
    """The value at (x, y) in 0..1, zeros outside."""
    height, width = image.shape
    column, row = x * width - 0.5, y * height - 0.5
    total = 0.0
    for i, j in itertools.product((math.floor(row), math.floor(row) + 1), (math.floor(column), math.floor(column) + 1)):
        if 0 <= i < height and 0 <= j < width:
            total += image[i, j] * (1 - abs(row - i)) * (1 - abs(column - j))
    return total


def enlarged(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear between pixel centres, edges repeated."""
    padded = np.pad(mask, 1, mode="edge")
    h, w = mask.shape
    out = np.zeros((height, width))
    for i, j in itertools.product(range(height), range(width)):
        y, x = ((i + 0.5) / height * h + 1) / (h + 2), ((j + 0.5) / width * w + 1) / (w + 2)
        out[i, j] = bilinear(padded, x, y)
    return out


def at(mask: np.ndarray, points: np.ndarray) -> np.ndarray:
    return np.array([bilinear(mask, x, y) for x, y in points])


def assignments(queries: int, masks: int) -> Iterator[list[tuple[int, int]]]:
    if masks <= queries:
        for chosen in itertools.permutations(range(queries), masks):
            yield list(zip(chosen, range(masks), strict=True))
    else:
        for kept in itertools.permutations(range(masks), queries):
            yield list(zip(range(queries), kept, strict=True))


def by_the_papers(layer: MaskPredictions, truth: Tensor, *, focal: bool, drawn: Any = None) -> dict[str, float]:
    """The three losses of one layer. drawn: the points of each image's matching, and of each pair's losses in turn."""
    weights = (1.0, 20.0, 1.0) if focal else (2.0, 5.0, 5.0)
    cost = focal_at if focal else cross_entropy_at
    class_total, class_weights, mask_total, dice_total, pairs_total = 0.0, 0.0, 0.0, 0.0, 0
    for n in range(len(truth)):
        logits = layer.class_logits[n].detach().numpy()
        probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        predicted = layer.mask_logits[n].detach().numpy()
        label = truth[n].numpy()
        classes = [value for value in range(K) if (label == value).any()]
        wanted = [(label == value).astype(float) for value in classes]

        price = {}
        for q, t in itertools.product(range(len(predicted)), range(len(classes))):
            if focal:  # at the size of the prediction, truth by nearest pixels
                xs, ts = predicted[q], wanted[t][::2, ::2]
            else:
                xs, ts = at(predicted[q], drawn["matching"][n]), at(wanted[t], drawn["matching"][n])
            terms = (-probabilities[q, classes[t]], mean_of(cost, xs, ts), dice_of(xs, ts))
            price[q, t] = sum(weight * term for weight, term in zip(weights, terms, strict=True))
        ways = list(assignments(len(predicted), len(classes)))
        best = ways[int(np.argmin([sum(price[pair] for pair in way) for way in ways]))]
        for q in range(len(predicted)):
            target = next((classes[t] for found, t in best if found == q), K)
            weight = 0.1 if target == K else 1.0
            class_total -= weight * math.log(probabilities[q, target])
            class_weights += weight
        for q, t in sorted(best):
            if focal:
                xs, ts = enlarged(predicted[q], *label.shape), wanted[t]
            else:
                points = drawn["losses"][pairs_total]
                xs, ts = at(predicted[q], points), at(wanted[t], points)
            mask_total += mean_of(cost, xs, ts)
            dice_total += dice_of(xs, ts)
            pairs_total += 1
    count = max(pairs_total, 1)
    return {"loss_cls": class_total / class_weights, "loss_mask": mask_total / count, "loss_dice": dice_total / count}


def check(found: list[dict[str, Tensor]], expected: list[dict[str, float]]) -> None:
    assert [list(layer) for layer in found] == [["loss_cls", "loss_mask", "loss_dice"]] * len(expected)
    for layer, wanted in zip(found, expected, strict=True):
        for name, value in wanted.items():
            assert layer[name].item() == pytest.approx(value, rel=1e-6), name


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("images", [1, 2])
def test_whole_masks_are_the_paper_of_maskformer(images: int, count: int) -> None:
    """With fewer queries than masks too: some masks then have none."""
    layers = queries(3, images=images, count=count, dtype=torch.float64)
    found = SetCriterion(num_classes=K, **WHOLE)(layers, labels(images))
    check(found, [by_the_papers(layer, labels(images), focal=True) for layer in layers])


def test_whole_masks_are_what_transformers_computes() -> None:
    """Another implementation, from the original code; its class loss divides by the weights without raising them."""
    theirs = pytest.importorskip("transformers.models.maskformer.modeling_maskformer")
    matcher = theirs.MaskFormerHungarianMatcher(cost_class=1.0, cost_mask=20.0, cost_dice=1.0)
    criterion = theirs.MaskFormerLoss(num_labels=K, matcher=matcher, weight_dict={}, eos_coef=0.1).double()
    layers, truth = (
        queries(3, count=6, dtype=torch.float64),
        [masks_from_labels(image, ignore_index=255) for image in labels()],
    )
    for layer, found in zip(layers, SetCriterion(num_classes=K, **WHOLE)(layers, labels()), strict=True):
        masks, classes = [image.masks.double() for image in truth], [image.classes for image in truth]
        expected = criterion(layer.mask_logits, layer.class_logits, masks, classes)
        assert found["loss_cls"].item() == pytest.approx(expected["loss_cross_entropy"].item(), rel=1e-6)
        assert found["loss_mask"].item() == pytest.approx(expected["loss_mask"].item(), rel=1e-12)
        assert found["loss_dice"].item() == pytest.approx(expected["loss_dice"].item(), rel=1e-12)


@pytest.mark.parametrize("count", [1, 4])
def test_points_are_the_paper_of_mask2former(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, list[Any]] = {"matching": [], "losses": []}
    rand, uncertain_points = torch.rand, set_criterion.uncertain_points

    def noted_rand(*size: int, **options: Any) -> Tensor:
        points = rand(*size, **options)
        drawn["matching"].append(points[0].numpy())
        return points

    def noted_points(*args: Any) -> Tensor:
        with monkeypatch.context() as inside:
            inside.setattr(torch, "rand", rand)
            points = uncertain_points(*args)
        drawn["losses"].append(points.numpy())
        return points

    monkeypatch.setattr(torch, "rand", noted_rand)
    monkeypatch.setattr(set_criterion, "uncertain_points", noted_points)
    layers = queries(5, count=count, dtype=torch.float64)
    found = SetCriterion(num_classes=K, **POINTS)(layers, labels())
    assert [points.shape for points in drawn["matching"]] == [(40, 2)] * 2  # one draw an image
    expected = [
        by_the_papers(layer, labels(), focal=False, drawn={"matching": drawn["matching"], "losses": points})
        for layer, points in zip(layers, drawn["losses"], strict=True)
    ]
    check(found, expected)


def test_points_are_drawn_where_masks_are_unsure() -> None:
    """Three quarters of them are the third that is the least sure; the rest lie anywhere."""
    masks = torch.linspace(-9, 9, 16).expand(2, 16, 16).contiguous()
    torch.manual_seed(0)
    points = SetCriterion(num_classes=K, num_points=400)._points(masks)
    near = (points[..., 0] - 0.5).abs() < 2.5 / 16
    assert points.shape == (2, 400, 2)
    assert 0.7 < near.float().mean() < 0.9


# --- What must hold whatever the numbers --------------------------------------------------------------------------


@pytest.mark.parametrize("options", [WHOLE, POINTS], ids=["whole", "points"])
class TestSetCriterion:
    def test_nothing_labelled_is_finite(self, options: dict[str, Any]) -> None:
        layers = queries(0)
        losses = SetCriterion(num_classes=K, **options)(layers, torch.full((2, 8, 12), 255))
        torch.stack([value for layer in losses for value in layer.values()]).sum().backward()
        for found, layer in zip(losses, layers, strict=True):
            assert found["loss_mask"] == found["loss_dice"] == 0
            assert 0 < found["loss_cls"] < 20
            assert (layer.class_logits.grad[..., :K] > 0).all()  # every class but "nothing" is pushed down
            assert (layer.mask_logits.grad == 0).all()  # but there is a gradient, as several processes need it

    def test_one_image_without_labels_beside_another(self, options: dict[str, Any]) -> None:
        layers = queries(0)
        truth = labels()
        truth[1] = 255
        losses = SetCriterion(num_classes=K, **options)(layers, truth)
        torch.stack([value for layer in losses for value in layer.values()]).sum().backward()
        for layer in layers:
            assert layer.mask_logits.grad.isfinite().all()
            assert (layer.mask_logits.grad[0] != 0).any()
            assert (layer.mask_logits.grad[1] == 0).all()

    def test_layers_are_matched_by_themselves(self, options: dict[str, Any]) -> None:
        torch.manual_seed(0)
        right = labels()[0]
        masks = torch.stack([torch.where(right == value, 8.0, -8.0) for value in (0, 2)])[None, :, ::2, ::2]
        classes = torch.full((1, 2, K + 1), -8.0)
        classes[0, 0, 0] = classes[0, 1, 2] = 8.0
        layers = [MaskPredictions(classes, masks), MaskPredictions(classes.flip(1), masks.flip(1))]
        for losses in SetCriterion(num_classes=K, **options)(layers, right[None]):
            assert losses["loss_cls"] < 1e-4  # any other pairs: 16
            assert losses["loss_mask"] < 1  # 8 or so
            assert losses["loss_dice"] < 0.5  # nearly 1

    def test_half_precision_is_lifted(self, options: dict[str, Any]) -> None:
        """Such large logits as half precision can hold, not their sums and squares."""
        layers = [MaskPredictions(*(40 * x.detach().half() for x in layer)) for layer in queries(0)]
        losses = SetCriterion(num_classes=K, **options)(layers, labels())
        for value in (value for layer in losses for value in layer.values()):
            assert value.dtype == torch.float32
            assert value.isfinite()

    def test_several_processes_divide_by_their_mean_of_masks(
        self, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        criterion, layers = SetCriterion(num_classes=K, **options), queries(0)
        torch.manual_seed(0)
        alone = criterion(layers, labels())
        assert alone[0]["loss_mask"] > 0

        def the_other_has_nine(total: Tensor) -> None:
            total += 9

        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
        monkeypatch.setattr(torch.distributed, "all_reduce", the_other_has_nine)
        torch.manual_seed(0)
        together = criterion(layers, labels())
        for a, b in zip(alone, together, strict=True):  # three masks here, twelve in both
            assert b["loss_mask"].item() == pytest.approx(a["loss_mask"].item() * 3 / 6)
            assert b["loss_dice"].item() == pytest.approx(a["loss_dice"].item() * 3 / 6)
            assert b["loss_cls"].item() == a["loss_cls"].item()


def test_mean_over_one_process_is_the_number_itself() -> None:
    assert distributed.mean_over_processes(torch.tensor(3.0)) == 3


def test_class_weights_are_those_of_the_targets() -> None:
    layers = queries(1, dtype=torch.float64)
    torch.manual_seed(0)
    (plain, *_) = SetCriterion(num_classes=K, class_weight=(1.0, 1.0, 1.0, 0.1))(layers, labels())
    torch.manual_seed(0)
    (default, *_) = SetCriterion(num_classes=K)(layers, labels())
    assert plain["loss_cls"] == default["loss_cls"]
    (heavy, *_) = SetCriterion(num_classes=K, class_weight=(2.0, 2.0, 2.0, 0.2))(layers, labels())
    assert heavy["loss_cls"].item() == pytest.approx(plain["loss_cls"].item())  # only their proportions count


def test_class_weights_move_with_the_module() -> None:
    criterion = SetCriterion(num_classes=K).to("meta")
    assert criterion.class_weight.device.type == "meta"
    assert not criterion.state_dict()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_weight": (1.0,) * K}, "class_weight needs 4 entries"),
        ({"mask_loss": "focal"}, "compares whole masks"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SetCriterion(num_classes=K, **options)
