"""The vocabulary of what a training learns from besides its labels: unlabelled images, and a teacher."""

from __future__ import annotations

from intarsia.config.schema.fates import Area, to

TEACHING_AREAS: dict[str, Area] = {
    "intarsia.unlabelled": {
        "images": to("unlabelled.images: a folder, a file or a pattern", "str"),
        "ratio": to("unlabelled.ratio: images for each one with labels", "float"),
        "confidence": to(
            "unlabelled.confidence: probability from which the teacher's class counts", "float | Literal['adaptive']"
        ),
        "weight": to("unlabelled.weight: of the loss", "float"),
        "ramp_up": to("unlabelled.ramp_up: share of the training in which the weight rises", "float"),
        "cut_mix": to("unlabelled.cut_mix: chance of a rectangle of another image", "float"),
        "strong": to("unlabelled.strong: transforms that make the student's view", "list[dict]"),
    },
    "intarsia.teacher": {
        "weights": to("teacher.weights: a file, a run or a name", "str"),
        "weight": to("teacher.weight: of the loss", "float"),
        "loss": to("teacher.loss: what is compared", "Literal['pixels', 'channels']"),
        "temperature": to("teacher.temperature: of the probabilities", "float"),
    },
}
"""Section -> key -> what becomes of it."""
