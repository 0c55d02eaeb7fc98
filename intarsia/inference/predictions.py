"""What a model says about many images, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

import numpy.typing as npt

from intarsia.inference.inputs.finding import Failure
from intarsia.inference.inputs.images import ImageStream

Answer = TypeVar("Answer")
"""What is predicted of an image: a `Prediction`, or a `DepthPrediction`."""


class Predictions(Iterator[Answer], Generic[Answer]):
    """The predictions of a stream of images, made as they are asked for, by one thread or by several.

    predict: name, image (H, W, C) and file (or "") -> the prediction. Raises ValueError for an image that it cannot
    work on.

    Raises ValueError at the end if there were images and not one could be used.
    """

    def __init__(self, stream: ImageStream, predict: Callable[[str, npt.NDArray[Any], str], Answer]) -> None:
        self._stream, self._predict = stream, predict

    @property
    def failures(self) -> list[Failure]:
        """Images that could not be used so far, with the reason."""
        return self._stream.failures

    @property
    def skipped(self) -> Mapping[str, int]:
        """How many files of which suffix were passed over in folders."""
        return self._stream.skipped

    @property
    def total(self) -> int | None:
        """How many images there are, None if that is not known beforehand."""
        return self._stream.total

    def __next__(self) -> Answer:
        while True:
            read = self._stream.take()
            try:
                return self._predict(read.name, read.image, read.file)
            except ValueError as error:
                self._stream.reject(read, error)

    def close(self) -> None:
        """Stop decoding ahead."""
        self._stream.close()
