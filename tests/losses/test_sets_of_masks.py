"""Mask classifiers on several labels per pixel: true masks that cover each other, and an answer for each class."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from intarsia.contracts import MaskPredictions
from intarsia.losses.matching import masks_from_labels, masks_from_sets
from intarsia.losses.set_criterion import SetCriterion
from intarsia.models.mask_classifier import class_maps, logits_of_amounts

IGNORED = 255


def sets() -> torch.Tensor:
    """(8, 8): class 0 above, class 2 on the left and over class 0; class 1 nowhere; a corner is ignored."""
    label = torch.zeros(8, 8, dtype=torch.uint8)
    label[:4] |= 1
    label[:, :3] |= 4
    label[6:, 6:] = IGNORED
    return label


def test_each_class_that_is_there_is_one_mask() -> None:
    found = masks_from_sets(sets(), 3, ignore_index=IGNORED)
    array = sets().numpy()
    expected = [(array >> k & 1 == 1) & (array != IGNORED) for k in (0, 2)]
    assert found.classes.tolist() == [0, 2]
    assert np.array_equal(found.masks.numpy(), np.stack(expected))
    assert (found.masks.sum(dim=0) > 1).any()  # they cover each other


def test_sets_of_one_class_are_the_masks_of_labels() -> None:
    label = torch.randint(0, 3, (1, 9, 7), generator=torch.Generator().manual_seed(0))
    found = masks_from_sets(1 << label[0], 3, ignore_index=IGNORED)
    expected = masks_from_labels(label[0], ignore_index=IGNORED)
    assert torch.equal(found.classes, expected.classes)
    assert torch.equal(found.masks, expected.masks)


@pytest.mark.parametrize("points", [None, 32])
def test_the_objective_is_that_of_labels_where_each_pixel_has_one_class(points) -> None:
    label = torch.randint(0, 3, (2, 8, 8), generator=torch.Generator().manual_seed(1))
    layers = [MaskPredictions(torch.randn(2, 5, 4), torch.randn(2, 5, 8, 8))]
    losses = []
    for multi_label, labels in ((False, label), (True, 1 << label)):
        torch.manual_seed(2)
        losses += SetCriterion(num_classes=3, num_points=points, multi_label=multi_label)(layers, labels)
    assert losses[0].keys() == losses[1].keys()
    for name, value in losses[0].items():
        torch.testing.assert_close(losses[1][name], value)


def test_masks_that_cover_each_other_can_be_found_without_a_loss() -> None:
    """The queries that say what is true have the least losses there are: nothing punishes what both cover."""
    truth = masks_from_sets(sets(), 3, ignore_index=IGNORED)
    classes, masks = torch.full((1, 3, 4), -20.0), torch.full((1, 3, 8, 8), -20.0)
    for query, (kind, mask) in enumerate(zip(truth.classes.tolist(), truth.masks, strict=True)):
        classes[0, query, kind] = 20.0
        masks[0, query][mask] = 20.0
    classes[0, 2, 3] = 20.0  # no object
    objective = SetCriterion(num_classes=3, num_points=None, multi_label=True)
    (losses,) = objective([MaskPredictions(classes, masks)], sets()[None])
    assert all(value < 1e-6 for value in losses.values())
    answers = logits_of_amounts(class_maps(MaskPredictions(classes, masks), (8, 8))).sigmoid() > 0.5
    array = sets().numpy()
    for k in range(3):
        assert np.array_equal(answers[0, k].numpy(), (array >> k & 1 == 1) & (array != IGNORED))


def test_labels_that_are_no_sets_are_refused() -> None:
    layers = [MaskPredictions(torch.randn(1, 2, 3), torch.randn(1, 2, 4, 4))]
    with pytest.raises(ValueError, match="the value 9, but sets of 2 classes, a bit for each, are 0 to 3"):
        SetCriterion(num_classes=2, multi_label=True)(layers, torch.full((1, 4, 4), 9))


def test_logits_say_what_the_amounts_say() -> None:
    amounts = torch.tensor([0.0, 0.25, 0.5, 0.9, 1.0, 1.7])
    torch.testing.assert_close(logits_of_amounts(amounts).sigmoid(), amounts.clamp(1e-4, 1 - 1e-4))
