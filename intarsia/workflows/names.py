"""Finding what a user names: a config, a recipe, a run, a weights file, data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from intarsia import consent, recipes
from intarsia.config.errors import ConfigError
from intarsia.config.language.reader import Config, read_file, read_text
from intarsia.config.language.targets import TRUST
from intarsia.contracts import PathLike, Size
from intarsia.workflows.hub_trunks import network_at, with_values_of_trunks
from intarsia.workflows.locate import Located, locate

if TYPE_CHECKING:
    from intarsia.data.description.model import DataDescription
    from intarsia.data.doctor.findings import Findings
    from intarsia.weights.about import About

CONFIG_SUFFIXES = (".py", ".yaml", ".yml", ".json")


def find_config(name: str, *, settings: Iterable[str] = (), trust: bool = False) -> Config:
    """The config that a file, a published recipe, a run's folder or a weights file holds, with overrides applied.

    Raises ValueError naming what was looked for, or every problem of the file.
    """
    if trust:
        consent.trust("*")
    return with_values_of_trunks(_find(name, trust).override(settings))


def _find(name: str, trust: bool) -> Config:
    path = Path(name)
    if recipes.is_published(name):
        return Config.from_values(recipes.get(name), file=f"recipe {name}")
    if path.is_dir():
        if not (path / "config.py").is_file():
            raise ValueError(
                f"{path} is a folder without config.py; expected a config file, a recipe or a run's folder"
            )
        return read_file(path / "config.py")
    if path.suffix == ".safetensors" and path.exists():
        from intarsia.weights.file import read_meta

        return Config.from_values(read_meta(path).config, file=name)
    if path.suffix in CONFIG_SUFFIXES or path.is_file():
        if not path.is_file():
            raise ValueError(f"the config file {name} does not exist (in {Path.cwd()})")
        return read_file(name, trust=trust)
    if recipes.is_for_data(name):
        raise ValueError(
            f"the recipe {name} becomes a config through your data: intarsia train {name} --data DIR --out RUN; "
            "then RUN/config.py is that config"
        )
    raise recipes.UnknownRecipeError(name)


def find_weights(weights: PathLike, *, key: str | None = None, prefix: str | None = None) -> About:
    """What there is under a name: a run's folder, a file of weights of any origin, a folder of the Hugging Face
    Hub or of nnU-Net.

    weights: what `locate` takes; a published checkpoint is fetched, and described by its recipe.
    key, prefix: where the network's tensors are in a checkpoint, and what their names begin with there.

    Raises ValueError if there are no weights, they are damaged, or they cannot be fetched.
    """
    return look_into(locate(weights), key=key, prefix=prefix)


def look_into(located: Located, *, key: str | None = None, prefix: str | None = None) -> About:
    """The same, of what was located."""
    from intarsia.weights.about import about, is_described_folder

    path = located.path
    if located.checkpoint is not None:
        from intarsia.workflows.completed_meta import meta_of

        found = about(path, key=key, prefix=prefix)
        meta = replace(meta_of(located.checkpoint), step=found.meta.step)
        return replace(found, meta=meta, recipe=located.checkpoint.recipe)
    if path.is_dir() and not is_described_folder(path):
        file = path / "weights.safetensors"
        if not file.is_file():
            hint = f"; go on training with: intarsia train --resume {path}" if (path / "run.json").exists() else ""
            raise ValueError(f"{path} is a folder without weights.safetensors: no run has got that far there{hint}")
        return about(file)
    return about(path, key=key, prefix=prefix)


def config_of(source: About, config: str | None) -> Config:
    """The config of the model: the one that is named, or what the file says.

    config: also a recipe for own data, which gets as many classes as the file's classifier has.

    Raises ValueError if neither is there, or what the file says is of MMSegmentation 0.x.
    """
    if config is not None:
        own = recipes.is_for_data(config) and not Path(config).exists()
        return _with_classes_of(source, config) if own else find_config(config)
    if source.meta.config:
        return Config.from_values(source.meta.config, file=str(source.path))
    if source.config_text is None:
        raise ValueError(
            f"{source.path} does not say which model its tensors belong to; name it: --config FILE (or a recipe)"
        )
    try:
        found = read_text(source.config_text, file=f"{source.path}, its config")
    except ConfigError as error:  # what stands in a checkpoint cannot be trusted by --trust-config
        hint = "Name the model's config as a file: --config FILE (or a recipe, see: intarsia config list)"
        found_wrong = [replace(one, hint=hint) if one.hint == TRUST else one for one in error.problems]
        raise ConfigError(found_wrong) from None
    if "data" in found.values and "test_dataloader" not in found.values:
        raise ValueError(
            f"{source.path} carries a config of MMSegmentation 0.x; name the model's config of 1.x: --config FILE "
            "(or a recipe, see: intarsia config list)"
        )
    return found


def _with_classes_of(source: About, recipe: str) -> Config:
    """The network of a recipe for own data; images of colours, normalised as on ImageNet."""
    from intarsia.weights.class_count import count_logits
    from intarsia.weights.maps import recognise

    count = count_logits({name: tensor.shape for name, tensor in source.tensors.items()})
    if count is None or count < 1:
        raise ValueError(
            f"{source.path} has no classifier that tells the number of classes of the recipe {recipe}; name a "
            "published recipe or a config: --config FILE"
        )
    values = {"default_scope": "mmseg", "model": recipes.network(recipe, num_classes=count, find=network_at)}
    config = with_values_of_trunks(Config.from_values(values, file=f"recipe {recipe}"))
    library = recognise(source.tensors)
    return config if library is None or not library.settings else config.override(library.settings)


def inspect_data(path: Path, *, multi_label: bool | None = None, groups: str | None = None) -> Findings:
    """What the data doctor finds in a folder or for a description file, with a progress bar.

    multi_label: of a folder, whether a pixel may have several classes; None lets the data decide. groups: what stays
    together where images are divided, None for what a description says.

    Raises ValueError if there is nothing to look at.
    """
    from intarsia.data.doctor.examine import examine
    from intarsia.terminal import progress

    with progress("reading images and labels") as bar:
        return examine(path, progress=bar, multi_label=multi_label, groups=groups)


def usable_data(path: Path, *, groups: str | None = None) -> tuple[DataDescription, Findings]:
    """The description of data that training can use. groups: see `inspect_data`.

    Raises ValueError with every problem and the files concerned if it could not.
    """
    findings = inspect_data(path, groups=groups)
    if findings.problems:
        lines = [line for problem in findings.problems for line in problem.lines(10)]
        raise ValueError("\n".join([f"{path} cannot be trained on:", *lines, f"see: intarsia data check {path}"]))
    return findings.proposal(), findings


def described(path: Path) -> DataDescription:
    """What a description file says, as it is; of a folder, what the doctor concludes.

    Raises ValueError if there is no such place, or a folder cannot be trained on.
    """
    if path.is_dir():
        return usable_data(path)[0]
    from intarsia.data.description.read import read_description

    return read_description(path)


def typical_size(description: DataDescription, most: int = 200) -> tuple[int, int]:
    """Median (height, width) of the training images: of at most `most` of them, by the headers that Pillow knows.

    Slices, DICOM and arrays are read, of a few files.
    """
    from intarsia.data.slices import file_of

    pairs = description.pairs("train")
    sizes = []
    for pair in pairs[:: max(1, len(pairs) // most)]:
        size = pair.window.sample_size if pair.window is not None else _size_by_header(description.root / pair.image)
        if size is not None:
            sizes.append(size)
    if not sizes:
        one_of_each = list({file_of(pair.image): pair.image for pair in pairs}.values())
        paths = [description.root / image for image in one_of_each[:: max(1, len(one_of_each) // _MOST_READ)]]
        sizes = [size for path in paths if (size := _size_by_pixels(path)) is not None]
    middle = len(sizes) // 2
    if not sizes:
        return 512, 512
    return sorted(h for h, _ in sizes)[middle], sorted(w for _, w in sizes)[middle]


_MOST_READ = 16


def _size_by_header(path: Path) -> Size | None:
    """None for a format that Pillow does not know, and for one image of a file of several."""
    from PIL import Image

    from intarsia.data.containers import file_or_member, packed_image

    if (packed := packed_image(path)) is not None:
        return packed.size
    try:
        with Image.open(file_or_member(path)) as image:
            turned = image.getexif().get(274, 1) in (5, 6, 7, 8)
            return (image.width, image.height) if turned else (image.height, image.width)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None


def _size_by_pixels(path: Path) -> Size | None:
    from intarsia.data.image_io import read_image

    try:
        pixels = read_image(path, bands="raw")
    except ValueError:  # the doctor has named it
        return None
    return pixels.shape[0], pixels.shape[1]
