"""Prediction by a model that takes several images of each place: which files belong to which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, cast

from intarsia.contracts import PathLike
from intarsia.data.description.pairing import MaskRule, Source, matching_images
from intarsia.data.image_spec import InputSpec
from intarsia.data.orientation import Axis
from intarsia.data.slices import count_slices, is_volume, slice_paths, stem_of
from intarsia.data.stack import Stack, key_of
from intarsia.inference.inputs.finding import FoundImages, ImageFile
from intarsia.io.folders import folders_of
from intarsia.weights.file import read_meta
from intarsia.workflows.locate import local

if TYPE_CHECKING:
    from intarsia.workflows.trained_model import OpenModel


def given_inputs(words: Sequence[str]) -> dict[str, Path]:
    """Name -> folder or pattern, from "dsm=heights". Raises ValueError for anything else."""
    found: dict[str, Path] = {}
    for word in words:
        name, equals, place = word.partition("=")
        if not equals or not name or not place or name in found:
            again = f" ({name} is given twice)" if name in found else ""
            raise ValueError(f"--input takes NAME=FOLDER, such as dsm=heights; found {word!r}{again}")
        found[name] = Path(place).expanduser()
    return found


def by_subfolders(
    inputs: Sequence[str], others: dict[str, Path], weights: PathLike
) -> tuple[Sequence[str], dict[str, Path]]:
    """What to predict and where the further images are, of one folder with a subfolder for each kind of images.

    As they were given in every other case, also of a model that takes one image.
    """
    folder = Path(inputs[0]).expanduser()
    if others or len(inputs) != 1 or not folder.is_dir() or len(folders_of(folder)) < 2:
        return inputs, others
    file = local(weights)
    file = file / "weights.safetensors" if file is not None and file.is_dir() else file
    if file is None or file.suffix != ".safetensors" or not file.is_file():
        return inputs, others  # weights of others say nothing of several images
    names = [str(one["name"]) for one in read_meta(file).image.get("inputs", ())]
    if not names or not all((folder / name).is_dir() for name in names):
        return inputs, others
    return [str(folder / names[0])], {name: folder / name for name in names[1:]}


def with_inputs(
    model: OpenModel, found: FoundImages | None, others: dict[str, Path], given: Sequence[str] = ()
) -> OpenModel:
    """The model, which reads the further images beside those found.

    given: what the images were found by; what a pattern such as ``scans/*_0000.nii.gz`` states is no part of their
    names.

    Raises ValueError if the model takes others, or an image has no counterpart.
    """
    inputs = model.reader.spec.inputs
    if not others:
        return model
    names = [one.name for one in inputs]
    if not inputs:
        raise ValueError(f"--input {next(iter(others))}=...: {model.file} takes one image of each place")
    if set(others) != set(names[1:]):
        raise ValueError(
            f"expected {' and '.join(f'--input {name}=FOLDER' for name in names[1:])}, beside the images of "
            f"{names[0]}, found {', '.join(others)}"
        )
    if found is None:
        raise ValueError("--input is for images in files, one by one; of a raster, make one file with all bands")
    scale = model.reader.scale
    if model.reader.chosen is not None or (scale is not None and scale.kind != "none"):
        raise ValueError(
            "--bands and --scale are for one image; with --input, images are read as in the training (--scale none "
            "takes other values than those of the training as they are)"
        )
    paged = next((file for file in found.files if file.page), None)
    if paged is not None:
        raise ValueError(f"{paged.path}: --pages all is for one image; there is one of {', '.join(others)} for a file")
    tables = [_Files(others[name], spec) for name, spec in zip(names[1:], inputs[1:], strict=True)]
    own = _pattern(given)
    partners: dict[str, tuple[str, ...]] = {}
    for file in found.files:
        partners |= _slices(file.path, tuple(table.of(file, own) for table in tables), model.reader.spec.slices or "z")
    stack = Stack(inputs, partners, scale is not None, model.reader.max_pixels, model.reader.spec.scale)
    return replace(model, reader=replace(model.reader, stack=stack))


def _pattern(given: Sequence[str]) -> MaskRule | None:
    """The pattern by which all images were found, if it has one * in the names of files; None otherwise."""
    name = PurePosixPath(given[0].replace("\\", "/")).name if len(given) == 1 else ""
    return MaskRule.parse("", given[0]) if name.count("*") == 1 else None


def _slices(path: Path, others: tuple[str, ...], axis: str) -> dict[str, tuple[str, ...]]:
    """The other files of an image; of a volume those of each slice."""
    if not is_volume(path):
        return {key_of(path): others}
    count = count_slices(path, cast("Axis", axis))
    columns = [slice_paths(file, axis, count) for file in (key_of(path), *others)]
    return {own: tuple(rest) for own, *rest in zip(*columns, strict=True)}


class _Files:
    """The images of one kind, by name."""

    def __init__(self, place: Path, spec: InputSpec) -> None:
        self.place, self.name = place, spec.name
        is_pattern = "*" in place.name
        rule = MaskRule.parse(spec.name, (place if is_pattern else place / "*").as_posix())
        self.rule = rule
        self._file = place if not is_pattern and place.is_file() else None
        self._paths: dict[str, str] = {}
        if self._file is None:
            root = Path(rule.folder)
            if not root.is_dir():
                raise ValueError(f"--input {spec.name}={place}: there is no such folder (in {Path.cwd()})")
            source = Source(".", None, image_prefix=rule.prefix, image_suffix=rule.suffixes)
            for keys, path in matching_images(root, source):
                self._paths.setdefault("/".join(keys), str(root / path))

    def of(self, file: ImageFile, own: MaskRule | None) -> str:
        """The image that belongs to one of the first kind: of its name below the input, or else of its stem.

        own: the pattern of the first kind, which may state a part of its names.
        """
        if self._file is not None:
            return str(self._file)
        names = [PurePosixPath(file.name).as_posix(), stem_of(file.path)]
        if own is not None and file.path.name.endswith(own.suffix):
            names.insert(0, file.path.name[len(own.prefix) : len(file.path.name) - len(own.suffix)])
        found = next((self._paths[name] for name in names if name in self._paths), None)
        if found is None:
            raise ValueError(f"{file.path} has no {self.name}: there is no {self.rule.prefix}{names[0]}"
                             f"{self.rule.suffix or '.*'} in {self.rule.folder}")  # fmt: skip
        return found
