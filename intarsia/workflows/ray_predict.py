"""Prediction over a Ray data set: the predictor is the actor, and everything else is Ray's."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.contracts import PathLike
from intarsia.inference.outputs.writer import Outputs
from intarsia.inference.predictions import Predictions
from intarsia.io.whole_files import write_bytes

KINDS = ("label", "color", "probs", "confidence", "entropy", "logits")
"""What can be asked for: of files of these kinds, the content."""

ERROR, HEIGHT, WIDTH = "error", "height", "width"
"""Columns beside those of the kinds."""


def predict_dataset(
    dataset: Any,
    weights: PathLike,
    *,
    column: str = "bytes",
    save: Sequence[str] = ("label",),
    min_confidence: float | None = None,
    actors: int | tuple[int, int] = 1,
    gpus_per_actor: float = 0,
    cpus_per_actor: float = 1,
    batch_size: int = 8,
    keep_image: bool = False,
    **options: Any,
) -> Any:
    """A `ray.data.Dataset` with what a model says of the images of another one. Nothing is computed before it is used.

    dataset: `ray.data.read_binary_files(..., include_paths=True)`, say. weights: what `intarsia.load` takes; every node
    must find it under this name. column: of the images: the bytes of files, arrays (H, W, C), or paths that every node
    reads. save: kinds of `KINDS`, a column of bytes for each: what `intarsia predict` writes into files of them.
    min_confidence: pixels of less confidence are 255 in labels. actors: how many hold the model, or the least and the
    most. gpus_per_actor, cpus_per_actor: what Ray reserves for each. batch_size: rows that an actor is given at a time;
    images go through the network one by one. keep_image: leave `column` in the result. options: of `intarsia.load`.

    Further columns are "height", "width", and "error": empty, or why an image could not be used, whose other columns
    are empty or 0 then. All other columns of `dataset` stay, so that a checkpoint of Ray Data
    (`DataContext.checkpoint_config`) finds its ids.

    Raises ValueError for kinds that there are not, and where Ray is not installed; in the actors, which ends the job,
    where `column` is missing, or `dataset` has columns of the names of further ones.
    """
    data = _ray_data()
    unknown = [kind for kind in save if kind not in KINDS]
    if unknown or not save:
        raise ValueError(f"save: expected some of {', '.join(KINDS)}, found {', '.join(map(repr, unknown)) or 'none'}")
    least, most = (actors, actors) if isinstance(actors, int) else actors
    if not 1 <= least <= most:
        raise ValueError(f"actors: expected at least one, or (least, most), found {actors!r}")
    if options.get("device") is None:
        options["device"] = "cuda" if gpus_per_actor else "cpu"
    given = {
        "weights": str(weights), "column": column, "save": tuple(save), "min_confidence": min_confidence,
        "keep_image": keep_image, "options": options,
    }  # fmt: skip
    return dataset.map_batches(
        _Images,
        fn_constructor_kwargs=given,
        batch_size=batch_size,
        batch_format="numpy",
        compute=data.ActorPoolStrategy(min_size=least, max_size=most),
        num_gpus=gpus_per_actor or None,
        num_cpus=None if gpus_per_actor else cpus_per_actor,
    )


def _ray_data() -> Any:
    try:
        return importlib.import_module("ray.data")
    except ImportError as error:
        raise ValueError(f'predictions over a Ray data set need Ray: pip install "intarsia[ray]" ({error})') from None


class _Images:
    """What an actor does."""

    def __init__(
        self,
        *,
        weights: str,
        column: str,
        save: tuple[str, ...],
        min_confidence: float | None,
        keep_image: bool,
        options: Mapping[str, Any],
    ) -> None:
        import intarsia

        self._predictor = intarsia.load(weights, **options)
        self._column, self._keep_image = column, keep_image
        self._outputs = Outputs(Path(), frozenset(save), min_confidence=min_confidence)

    def __call__(self, batch: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any] | list[Any]]:
        """The columns of a batch of rows."""
        if self._column not in batch:
            raise ValueError(f"column: expected one of {', '.join(batch)}, found {self._column!r}")
        kept = {name: values for name, values in batch.items() if self._keep_image or name != self._column}
        taken = sorted(kept.keys() & {*self._outputs.kinds, ERROR, HEIGHT, WIDTH})
        if taken:
            raise ValueError(
                f"the data set has columns {', '.join(taken)}, which the predictions need: give them other names "
                "(dataset.rename_columns)"
            )
        rows = [self._row(image) for image in batch[self._column]]
        return {**kept, **{name: [row[name] for row in rows] for name in rows[0]}}

    def _row(self, image: Any) -> dict[str, Any]:
        kinds = sorted(self._outputs.kinds)
        try:
            prediction = self._predict(image)
            found = {kind: self._outputs.encoded(prediction, kind) for kind in kinds}
        except ValueError as error:
            return {**dict.fromkeys(kinds, b""), HEIGHT: 0, WIDTH: 0, ERROR: str(error)}
        height, width = prediction.label.shape
        return {**found, HEIGHT: height, WIDTH: width, ERROR: ""}

    def _predict(self, image: Any) -> Any:
        fields = self._outputs.fields
        if image is None:
            raise ValueError(f"column {self._column!r} has nothing here, expected an image")
        if not isinstance(image, bytes):
            found: Any = self._predictor.predict(
                image if isinstance(image, str | np.ndarray) else np.asarray(image), **fields
            )
            if isinstance(found, Predictions):
                raise ValueError(f"{str(image)!r} is no file but stands for many, as folders and patterns do")
            return found
        with tempfile.TemporaryDirectory(prefix="intarsia-") as folder:  # readers of files look at them again and again
            file = Path(folder) / "image"
            write_bytes(file, image)
            try:
                return self._predictor.predict(file, **fields)
            except ValueError as error:
                raise ValueError(str(error).removeprefix(f"{file}: ")) from None
