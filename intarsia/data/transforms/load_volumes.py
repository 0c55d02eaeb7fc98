"""Reading of volumes: transforms that fill in a sample of which only the files are known (`FolderDataset.files_only`).

The bands of a volume come last here, (D, H, W, C), as those of images do; the axes are z, y, x.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from intarsia.contracts import Sample
from intarsia.data.image_io import read_array
from intarsia.data.nifti import read_nifti

Array = npt.NDArray[Any]
Backend = Literal["nifti", "numpy"]


@dataclass(frozen=True)
class LoadBiomedicalImageFromFile:
    """Read the volume of a sample.

    decode_backend: "nifti" for .nii and .nii.gz, "numpy" for .npy with axes z, y, x, and bands before them if there are
        some. The fourth axis of a NIfTI file holds its bands.
    to_xyz: the axes are x, y, z in the end. to_float32: numbers are float32, otherwise as they are in the file.
    """

    decode_backend: Backend = "nifti"
    to_xyz: bool = False
    to_float32: bool = True

    def __post_init__(self) -> None:
        _check_backend("LoadBiomedicalImageFromFile", self.decode_backend)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample with its volume (D, H, W, C). Raises ValueError naming the file if it cannot be read."""
        path = sample.meta.image_path
        image = _in_order(_read("LoadBiomedicalImageFromFile", path, self.decode_backend), self.to_xyz)
        return _with_image(sample, image.astype(np.float32) if self.to_float32 else image)


@dataclass(frozen=True)
class LoadBiomedicalAnnotation:
    """Read the labels of a volume. A sample without a label file stays as it is.

    decode_backend, to_xyz: as in `LoadBiomedicalImageFromFile`. to_float32: has no effect, labels are whole numbers.
    """

    decode_backend: Backend = "nifti"
    to_xyz: bool = False
    to_float32: bool = True

    def __post_init__(self) -> None:
        _check_backend("LoadBiomedicalAnnotation", self.decode_backend)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample with labels (D, H, W). Raises ValueError naming the file if it cannot be read or holds others."""
        path = sample.meta.label_path
        if not path:
            return sample
        label = _in_order(_read("LoadBiomedicalAnnotation", path, self.decode_backend), self.to_xyz)
        if label.shape[-1] != 1:
            raise ValueError(f"{path}: expected labels (z, y, x), found {label.shape[-1]} of them at each place")
        return replace(sample, label=_labels(label[..., 0], path))


@dataclass(frozen=True)
class LoadBiomedicalData:
    """Read a volume and its labels from one file, whose last band they are.

    with_seg: whether the labels are wanted; they are never part of the image.
    decode_backend, to_xyz: as in `LoadBiomedicalImageFromFile`.
    """

    with_seg: bool = False
    decode_backend: Backend = "numpy"
    to_xyz: bool = False

    def __post_init__(self) -> None:
        _check_backend("LoadBiomedicalData", self.decode_backend)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample with its volume (D, H, W, C) and, if wanted, labels (D, H, W).

        Raises ValueError naming the file if it cannot be read or has one band only.
        """
        path = sample.meta.image_path
        data = _in_order(_read("LoadBiomedicalData", path, self.decode_backend), self.to_xyz)
        if data.shape[-1] < 2:
            raise ValueError(f"{path}: expected bands of a volume and then its labels, found one band only")
        sample = _with_image(sample, data[..., :-1])
        return replace(sample, label=_labels(data[..., -1], path)) if self.with_seg else sample


def _check_backend(owner: str, name: str) -> None:
    if name not in _READERS:
        why = "; pickled files can run code when they are read: save the array with numpy.save" * (name == "pickle")
        raise ValueError(f"{owner}: decode_backend must be one of {', '.join(_READERS)}, got {name!r}{why}")


def _read(owner: str, path: str, backend: Backend) -> Array:
    """(D, H, W, C): axes z, y, x."""
    if not path:
        raise ValueError(f"{owner}: expected a sample that names its file, found none")
    return _READERS[backend](path)


def _from_nifti(path: str) -> Array:
    volume = read_nifti(path)  # (X, Y, Z) or (X, Y, Z, N); the original takes the first axis for the bands, if four
    return (volume if volume.ndim == 4 else volume[..., None]).transpose(2, 1, 0, 3)


def _from_numpy(path: str) -> Array:
    volume = read_array(path)
    if volume.ndim not in (3, 4):
        raise ValueError(f"{path}: expected an array (z, y, x) or (bands, z, y, x), found shape {volume.shape}")
    return np.moveaxis(volume, 0, -1) if volume.ndim == 4 else volume[..., None]


_READERS: dict[str, Callable[[str], Array]] = {"nifti": _from_nifti, "numpy": _from_numpy}


def _in_order(volume: Array, to_xyz: bool) -> Array:
    return volume.transpose(2, 1, 0, 3) if to_xyz else volume


def _with_image(sample: Sample, image: Array) -> Sample:
    meta = replace(sample.meta, original_size=(image.shape[1], image.shape[2]))
    return replace(sample, image=np.ascontiguousarray(image), meta=meta)


def _labels(values: Array, path: str) -> npt.NDArray[np.integer[Any]]:
    """Whole numbers of as few bits as hold them."""
    if not np.isfinite(values).all() or (values != np.rint(values)).any():
        raise ValueError(f"{path}: expected labels, which are whole numbers, found others: is this the image?")
    low, high = int(values.min()), int(values.max())
    dtype = np.promote_types(np.min_scalar_type(high), np.min_scalar_type(low)) if low < 0 else np.min_scalar_type(high)
    return np.ascontiguousarray(values.astype(dtype))
