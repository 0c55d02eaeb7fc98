"""From images to depths: a predictor whose answer is a number for each pixel."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from intarsia.contracts import Sample, SampleMeta
from intarsia.data.datasets.nyu import category_of
from intarsia.inference.depth_prediction import DepthPrediction
from intarsia.inference.inputs.arrays import ImageLike, as_array
from intarsia.inference.inputs.finding import FoundImages, ImageFile
from intarsia.inference.logits.postprocess import mean_values
from intarsia.inference.memory import memory_errors
from intarsia.inference.network import Soundness
from intarsia.inference.predictor import Extras, Predictor, as_seen

if TYPE_CHECKING:
    from typing import Unpack  # of Python 3.11

_OF_LABELS = ("probabilities", "confidence", "entropy", "logits")


class DepthPredictor(Predictor):
    """A `Predictor` of a model that answers with depths.

    Where the network wants to know what kind of room an image shows (VPD), the image's name says it, as those of NYU
    Depth do: `kitchen_0012.jpg`. Of other names, and of arrays, it is unknown, which these networks are trained for.
    """

    def predict(
        self, image: ImageLike | FoundImages | Iterable[ImageLike | ImageFile], **extras: Unpack[Extras]
    ) -> Any:
        """One image gives a `DepthPrediction`; many give an iterator of them: see `Predictor.predict`.

        Raises ValueError as that does, and for what only label maps have, such as probabilities.
        """
        wrong = [name for name in _OF_LABELS if extras.get(name)]
        if wrong:
            raise ValueError(f"a model of depth has no {', '.join(wrong)}")
        return self._one_or_many(image, extras.get("pages", "first"), self._depth_of)

    def depth(self, image: ImageLike, *, meta: SampleMeta | None = None) -> npt.NDArray[np.float32]:
        """The depth (H, W) of each pixel of one image, in the unit of the training.

        image: as for `predict`. meta: what is known of it, such as the kind of scene.

        Raises ValueError for an image that cannot be read or does not fit the model.
        """
        return self._depths(as_array(image, self.reader), meta or SampleMeta(name="image"))

    def _depth_of(self, name: str, image: npt.NDArray[Any], file: str) -> DepthPrediction:
        meta = SampleMeta(name=name, image_path=file, category=category_of(name, self.classes))
        return DepthPrediction(self._depths(image, meta), as_seen(image), name)

    @torch.inference_mode()
    def _depths(self, image: npt.NDArray[Any], meta: SampleMeta) -> npt.NDArray[np.float32]:
        """(H, W) of an image (H, W, C)."""
        known = replace(meta, original_size=(image.shape[0], image.shape[1]))
        soundness = Soundness(of="depths")
        with memory_errors(known.name, known.original_size, self.device, by_windows=self.inference.mode != "whole"):
            (views,) = self.logit_maps([Sample(image, meta=known)], soundness=soundness)
            found = np.asarray(mean_values(views).float().cpu().numpy())
        soundness.warn()
        return found
