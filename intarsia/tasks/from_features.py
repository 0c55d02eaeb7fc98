"""A task whose trunk stands still, and whose batches bring along what that makes of their images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

from torch import Tensor, nn

from intarsia.contracts import Batch, LossTerm, Model, Size, Task
from intarsia.models.cascade import CascadeEncoderDecoder
from intarsia.models.encoder_decoder import EncoderDecoder
from intarsia.models.mask_classifier import MaskClassifier
from intarsia.tasks.preprocess import Preprocess

MODELS = (EncoderDecoder, CascadeEncoderDecoder, MaskClassifier)
"""Networks that look at an image through their trunk alone."""


class FromFeatures(nn.Module):
    """A task that learns from `Batch.levels` where a batch has them. For everyone else it is that task: its children
    are this one's.

    Raises ValueError for a network that looks at images otherwise than through one trunk.
    """

    model: Model
    preprocess: Preprocess

    def __init__(self, task: Task) -> None:
        super().__init__()
        inner = cast(nn.Module, task)
        if type(task.model) not in MODELS:
            raise ValueError(
                f"features can be cached for {', '.join(model.__name__ for model in MODELS)}, which look at an image "
                f"through their backbone alone; this network is a {type(task.model).__name__}"
            )
        for name, child in inner.named_children():
            self.add_module(name, child)
        self.num_classes = task.num_classes
        self.ignore_index = task.ignore_index
        self._task = (task,)  # in a tuple, nn.Module does not see it

    def training_terms(self, batch: Batch) -> list[LossTerm]:
        """As the task, of the levels that the batch brings along, or else of its images."""
        if not batch.levels:
            return self._task[0].training_terms(batch)
        levels = tuple(level.to(self.preprocess.mean.dtype) for level in batch.levels)
        with answering(cast(nn.Module, self.model).get_submodule("backbone"), levels):
            return self._task[0].training_terms(batch)

    # --- What the task does, it does ---

    def train(self, mode: bool = True) -> FromFeatures:
        """As the task."""
        super().train(mode)
        cast(nn.Module, self._task[0]).train(mode)
        return self

    def label_problem(self, batch: Batch) -> str:
        """As the task."""
        return self._task[0].label_problem(batch)

    def logits(self, images: Tensor, sizes: Sequence[Size]) -> Tensor:
        """As the task."""
        return self._task[0].logits(images, sizes)

    def validation_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """As the task."""
        return self._task[0].validation_loss(logits, labels)

    def compile_training(self) -> None:
        """Raises ValueError: a graph that was compiled would ask the trunk."""
        raise ValueError("--compile and cached features do not go together: leave one of them out")


@contextmanager
def answering(trunk: nn.Module, levels: tuple[Tensor, ...]) -> Iterator[None]:
    """Inside, the trunk computes nothing: whatever it is shown, it gives these levels."""
    trunk.__dict__["forward"] = lambda images: levels
    try:
        yield
    finally:
        del trunk.__dict__["forward"]
