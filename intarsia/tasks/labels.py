"""Labels of a batch that are no class, by the names of their images."""

from __future__ import annotations

from intarsia.contracts import Batch
from intarsia.losses.targets import unknown_labels, unknown_labels_message
from intarsia.tasks.preprocess import Preprocess


def label_problem(batch: Batch, preprocess: Preprocess, *, num_classes: int, ignore_index: int) -> str:
    """What is wrong with the labels of a batch, padding included, or "". Waits for the device.

    num_classes: how many values a label can have; a single logit, 1, has the classes 0 and 1; 0 is not known.

    Raises ValueError if the batch has no labels of its images' size.
    """
    labels = preprocess.training_labels(batch)  # (N, H, W)
    if num_classes == 0:
        return ""
    num_classes = max(num_classes, 2)
    unknown = unknown_labels(labels, num_classes, ignore_index=ignore_index)
    if not unknown.any():
        return ""
    image = int(unknown.flatten(1).any(dim=1).long().argmax())  # the first of them
    meta = batch.metas[image] if batch.metas else None
    name = "" if meta is None else meta.name or meta.label_path
    where = f"the labels of {name}" if name else "the labels"
    return unknown_labels_message(labels[image][unknown[image]], num_classes, ignore_index=ignore_index, where=where)
