"""Labels of a batch that are no class, by the names of their images."""

from __future__ import annotations

from intarsia.contracts import Batch
from intarsia.label_sets import set_count
from intarsia.losses.each_class import unknown_sets_message
from intarsia.losses.targets import unknown_labels, unknown_labels_message
from intarsia.tasks.preprocess import Preprocess


def label_problem(
    batch: Batch, preprocess: Preprocess, *, num_classes: int, ignore_index: int, multi_label: bool = False
) -> str:
    """What is wrong with the labels of a batch, padding included, or "". Waits for the device.

    num_classes: how many values a label can have; a single logit, 1, has the classes 0 and 1; 0 is not known.
    multi_label: labels are sets of so many classes (`label_sets`).

    Raises ValueError if the batch has no labels of its images' size.
    """
    labels = preprocess.training_labels(batch)  # (N, H, W)
    if num_classes == 0:
        return ""
    values = set_count(num_classes) if multi_label else max(num_classes, 2)
    unknown = unknown_labels(labels, values, ignore_index=ignore_index)
    if not unknown.any():
        return ""
    image = int(unknown.flatten(1).any(dim=1).long().argmax())  # the first of them
    meta = batch.metas[image] if batch.metas else None
    name = "" if meta is None else meta.name or meta.label_path
    where = f"the labels of {name}" if name else "the labels"
    wrong = labels[image][unknown[image]]
    if multi_label:
        return unknown_sets_message(wrong, num_classes, ignore_index=ignore_index, where=where)
    return unknown_labels_message(wrong, values, ignore_index=ignore_index, where=where)
