"""Scores of label maps, counted image by image in memory that does not grow with them.

    metric = intarsia.metrics.IoUMetric(num_classes=4)      as evaluations count
    metric.update(prediction, label); metric.report()
    intarsia.metrics.iou(prediction, label, num_classes=4)  the same of a single pair, as a function

A function has the name of the file that its score is in, and stands here in its place.
"""

from intarsia.metrics.functional import accuracy, boundary_iou, confusion_matrix, dice, iou, scores
from intarsia.metrics.iou import IoUMetric

__all__ = ["IoUMetric", "accuracy", "boundary_iou", "confusion_matrix", "dice", "iou", "scores"]
