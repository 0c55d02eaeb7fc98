"""A dataloader -> DataSpec: the data set with its wrappers, the transforms of its pipeline, how batches are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from intarsia import catalog
from intarsia.config.checking.signatures import is_registered
from intarsia.config.lowering.colour_order import in_rgb
from intarsia.config.lowering.fields import Context, Fields, nearest
from intarsia.config.lowering.members import Stream, together
from intarsia.config.lowering.names import (
    FAMILIES,
    FOLDERS,
    GEOMETRY,
    LABEL_LOADERS,
    LISTED,
    PREFIXES,
    TWO_DATES,
    VOLUME_LOADERS,
    VOLUMES,
    WITHOUT_TRUTH,
    argument_name,
)
from intarsia.config.lowering.own_datasets import OwnDataset, own_dataset
from intarsia.config.lowering.parts import arguments, component, see
from intarsia.config.schema.fates import Fate, bare
from intarsia.spec import Component, DataSpec, RareSpec

WRAPPERS = ("RepeatDataset", "ConcatDataset", "ClassBalancedDataset", "MultiImageMixDataset")
COLLATES = ("pseudo_collate", "default_collate")
SAMPLERS = ("InfiniteSampler", "DefaultSampler")
BANDS_OF_COLOR_TYPE = {"color": "rgb", "unchanged": "raw"}
DECODERS = ("cv2", "pillow", "turbojpeg")
PLUMBING = (
    "LoadImageFromFile", "LoadSingleRSImageFromFile", "LoadMultipleRSImageFromFile", "LoadAnnotations",
    "LoadDepthAnnotation", "ConcatCDInput", "PackSegInputs",
)  # fmt: skip


@dataclass
class _Pipeline:
    """What a pipeline says. reduce_zero_label: by LoadAnnotations; loads, volumes: the path of what loads them.

    two_dates: the path of what loads two images, or joins them.
    """

    transforms: tuple[Component, ...] = ()
    label_size: Literal["input", "original"] = "input"
    arguments: dict[str, Any] = field(default_factory=dict)
    reduce_zero_label: bool | None = None
    loads: str | None = None
    volumes: str | None = None
    two_dates: str | None = None


def lower_data(context: Context, values: Mapping[str, Any], path: str) -> DataSpec:
    """One of train_dataloader, val_dataloader, test_dataloader."""
    fields = Fields(context, path, values, "dataloader")
    stream = _stream(context, fields.require("dataset", {"type": ""}, present=values), fields.at("dataset"))
    sampler = fields.child("sampler", "sampler")
    for section, key, least in (
        (fields, "batch_size", 1), (fields, "num_workers", 0), (fields, "num_batch_per_epoch", 1), (sampler, "seed", 0),
    ):  # fmt: skip
        found = section.get(key)
        if found is not None and found < least:
            context.problem(section.at(key), f"expected {least} or more, found {found}")
    collate = bare(str((fields.get("collate_fn") or {}).get("type", COLLATES[0])))
    if collate not in COLLATES:
        message = f"batches are made by one function, not by {collate!r}"
        context.problem(fields.at("collate_fn"), message, f"Leave it out; {' and '.join(COLLATES)} mean the same")
    if sampler.get("type", SAMPLERS[0]) not in SAMPLERS:
        name = sampler.get("type")
        context.problem(sampler.at("type"), f"unknown sampler {name!r}", nearest(name, SAMPLERS))
    return DataSpec(
        dataset=stream.dataset,
        transforms=stream.transforms,
        batch_size=fields.get("batch_size", 1),
        workers=fields.get("num_workers", 0),
        persistent_workers=fields.get("persistent_workers", True),
        pin_memory=fields.get("pin_memory", True),
        shuffle=sampler.get("shuffle", path == "train_dataloader"),
        label_size=stream.label_size,
        rare=_rare(context, sampler, path),
        order_seed=sampler.get("seed"),
        first_batches=fields.get("num_batch_per_epoch"),
    )


def _rare(context: Context, sampler: Fields, path: str) -> RareSpec | None:
    """`rare` and `every` of a sampler: for which classes samples are drawn, and how many."""
    classes = tuple(sampler.get("rare") or ())
    if not classes:
        return None
    if path != "train_dataloader":
        context.problem(sampler.at("rare"), "an evaluation sees every image once", "Leave it out")
    if min(classes) < 0 or len(set(classes)) < len(classes):
        context.problem(sampler.at("rare"), f"expected indices of classes, each once, found {list(classes)}")
    every = sampler.get("every", 2 * len(classes))
    if every <= len(classes):
        context.problem(
            sampler.at("every"), f"expected more than the {len(classes)} classes of rare, found {every}",
            "The other samples are drawn from all images",
        )  # fmt: skip
    return RareSpec(classes, every)


# --- Data sets ----------------------------------------------------------------------------------------------------


def _stream(context: Context, values: Mapping[str, Any], path: str) -> Stream:
    name = values.get("type")
    if isinstance(name, str) and bare(name) in WRAPPERS:
        return _wrapper(context, values, path)
    several = [key for key in ("ann_file", "data_prefix") if _is_several(values.get(key))]
    return _split(context, values, path, several) if several else _leaf(context, values, path)


def _wrapper(context: Context, values: Mapping[str, Any], path: str) -> Stream:
    fields = Fields(context, path, values, "wrapper of data sets")
    name = fields.get("type")
    see(context, "dataset", name, "type", fields.at("type"))
    if bare(name) == "ConcatDataset":
        context.opened(fields.at("datasets"))
        parts = fields.require("datasets", [], present=values)
        streams = [_stream(context, part, f"{fields.at('datasets')}.{index}") for index, part in enumerate(parts)]
        return _concatenated(context, name, streams, path)
    inner = _stream(context, fields.require("dataset", {"type": ""}, present=values), fields.at("dataset"))
    own = {key: fields.get(key) for key in ("times", "oversample_thr") if key in fields}
    outer = _pipeline(context, fields.get("pipeline", []), fields.at("pipeline"))
    skipped = {bare(name) for name in fields.get("skip_type_keys") or ()}
    kept = tuple(step for step in outer.transforms if bare(step.type) not in skipped)
    part = Component("dataset", name, {"dataset": inner.dataset, **own}, path, context.origin(path))
    return replace(inner, dataset=part, transforms=(*inner.transforms, *kept))


def _concatenated(context: Context, name: str, streams: Sequence[Stream], path: str) -> Stream:
    if not streams:
        context.problem(path, "a ConcatDataset needs at least one data set")
        return Stream(Component("dataset", name, {"datasets": ()}, path, context.origin(path)), (), "input")
    first = streams[0]
    for index, other in enumerate(streams[1:], 1):
        if other.label_size != first.label_size:
            context.problem(
                f"{path}.datasets.{index}.pipeline",
                "labels are loaded before images are resized in one part of a ConcatDataset, behind that in another",
                "Load them at the same place in all parts",
            )
    transforms, members = together(streams, path)
    parts: dict[str, Any] = {"datasets": tuple(dataset for dataset, _ in members)}
    if transforms != first.transforms:
        parts["members"] = tuple(number for _, number in members)
    return replace(first, dataset=Component("dataset", name, parts, path, context.origin(path)), transforms=transforms)


def _is_several(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(isinstance(item, list | tuple) for item in value.values())
    return isinstance(value, list | tuple)


def _split(context: Context, values: Mapping[str, Any], path: str, keys: Sequence[str]) -> Stream:
    """A data set whose split files or folders are lists: one data set for each entry, concatenated."""
    prefixes = values.get("data_prefix")
    lists = {key: values[key] for key in keys if key == "ann_file"}
    if "data_prefix" in keys and isinstance(prefixes, Mapping):
        lists |= {f"data_prefix.{k}": item for k, item in prefixes.items() if isinstance(item, list | tuple)}
    counts = {key: len(item) for key, item in lists.items()}
    if len(set(counts.values())) != 1 or not all(counts.values()):
        given = ", ".join(f"{key} has {count}" for key, count in counts.items())
        context.problem(path, f"lists of one data set must be equally long and not empty: {given}")
        return _leaf(context, {k: v for k, v in values.items() if k not in keys}, path)
    streams = []
    for index in range(next(iter(counts.values()))):
        part = dict(values)
        if "ann_file" in lists:
            part["ann_file"] = lists["ann_file"][index]
        if isinstance(prefixes, Mapping):
            part["data_prefix"] = {k: lists.get(f"data_prefix.{k}", {index: v})[index] for k, v in prefixes.items()}
        streams.append(_leaf(context, part, path))
    return _concatenated(context, "ConcatDataset", streams, path)


def _leaf(context: Context, values: Mapping[str, Any], path: str) -> Stream:
    context.part()
    fields = Fields(context, path, values, "dataset", others=True)
    pipeline = _pipeline(context, fields.get("pipeline", []), fields.at("pipeline"))
    name = fields.get("type", "")
    own = _own_class(context, name, fields)
    if "type" not in values:
        context.problem(path, "'type' is missing", "Write dict(type='BaseSegDataset', ...)")
    see(context, "dataset", name, "type", fields.at("type"))
    if own is not None:
        name = "BaseSegDataset"
    args: dict[str, Any] = {}
    for key in (
        "data_root", "img_suffix", "seg_map_suffix", "ann_file", "ignore_index", "reduce_zero_label", "indices",
    ):  # fmt: skip
        value = fields.get(key, None if own is None else own.defaults.get(key))
        if value not in (None, ""):
            args[argument_name("dataset", key)] = tuple(value) if isinstance(value, list) else value
    args |= _folders(context, fields)
    metainfo = fields.child("metainfo", "metainfo")
    for key in ("classes", "palette"):
        value = metainfo.get(key, None if own is None else own.metainfo.get(key))
        if value is not None:
            args[key] = tuple(tuple(item) if isinstance(item, list) else item for item in value)
    if fields.get("label_table") is not None:
        args["label_table"] = _label_table(fields.child("label_table", "label_table"))
    args |= pipeline.arguments
    args |= arguments(context, "dataset", name, fields.others(), path)
    if bare(name) in (*FOLDERS, *LISTED) and context.ignore_index not in (None, 255):
        args.setdefault("ignore_index", context.ignore_index)
    if "pipeline" in fields and pipeline.loads is None and bare(name) in (*FOLDERS, *FAMILIES, *LISTED, *WITHOUT_TRUTH):
        args[WITHOUT_TRUTH.get(bare(name), "labels")] = None
    if pipeline.volumes is not None:
        if bare(name) not in VOLUMES:
            hint = f"{' and '.join(sorted(VOLUMES))} have both"
            context.problem(pipeline.volumes, f"volumes are read, but {name} has images", hint)
        args["files_only"] = True
    if bare(name) == "DecathlonDataset" and fields.get("test_mode"):
        args["test_mode"] = True
    _agree(context, bare(name), fields, pipeline)
    dataset = Component("dataset", name, args, path, context.origin(path))
    return Stream(dataset, pipeline.transforms, pipeline.label_size)


def _own_class(context: Context, name: str, fields: Fields) -> OwnDataset | None:
    """What a data set class of the user's own says, where it adds nothing but names, colours and suffixes."""
    imports = context.imported
    if ":" in name or not name or catalog.is_known("dataset", name) or is_registered("dataset", bare(name), imports):
        return None
    found = own_dataset(bare(name), context.config.file, imports)
    metainfo = fields.get("metainfo") or {}
    if found is None and metainfo.get("classes"):
        context.note(f"{fields.at('type')}: {name!r} is read as a BaseSegDataset with the classes of its metainfo")
        return OwnDataset(Path(context.config.file), "", {})
    if found is not None:
        context.read_as_data.add(found.module)
        said = (
            f"{name!r} of {found.file} was read as data: a BaseSegDataset with {len(found.metainfo['classes'])} classes"
        )
        context.note(f"{fields.at('type')}: {said}")
        if found.methods:
            context.problem(
                fields.at("type"),
                f"{name!r} of {found.file} cannot be read as data: it has methods, {', '.join(found.methods)}",
                "Write type='BaseSegDataset' with metainfo=dict(classes=...), or train with --data DIR",
            )
    return found


def _folders(context: Context, fields: Fields) -> dict[str, Any]:
    """Arguments from data_prefix. A name that is not OpenMMLab's stays, for the signature to judge."""
    folders = fields.get("data_prefix", {})
    context.opened(fields.at("data_prefix"))
    found = {}
    for key, value in folders.items():
        at, target = f"{fields.at('data_prefix')}.{key}", PREFIXES.get(key)
        context.saw(at, "dataset.data_prefix", key, Fate("lowered", f"dataset argument `{target or key}`"))
        if target is None:
            context.problem(at, f"unknown key {key!r}", nearest(str(key), PREFIXES))
        elif value is not None and not isinstance(value, str):
            context.problem(at, f"expected str, found {value!r} ({type(value).__name__})")
        elif value is not None:
            found[target] = value
    return found


def _label_table(fields: Fields) -> Component:
    """File values, or colours, and what they mean: a mapping, or pairs of value and class where keys must be plain."""
    args: dict[str, Any] = {key: fields.get(key) for key in ("ignore_index", "outside") if key in fields}
    for key in ("values", "colours"):
        given = fields.get(key)
        if given is None:
            continue
        pairs = given.items() if isinstance(given, Mapping) else given
        try:
            args[key] = {_file_value(value): int(target) for value, target in pairs}
        except (TypeError, ValueError):
            example = "[[0, 0], [128, 1]]" if key == "values" else "[[[128, 64, 128], 0], ...]"
            fields.context.problem(fields.at(key), f"expected pairs of file value and class, such as {example}")
    return Component("label_table", "LabelTable", args, fields.path, fields.context.origin(fields.path))


def _file_value(value: Any) -> int | tuple[int, ...]:
    return tuple(map(int, value)) if isinstance(value, list | tuple) else int(value)


def _agree(context: Context, name: str, fields: Fields, pipeline: _Pipeline) -> None:
    """The data set and its pipeline must say the same about file value 0, and about one image or two."""
    if pipeline.two_dates is not None and name not in TWO_DATES and name in (*FOLDERS, *FAMILIES, *LISTED):
        context.problem(
            pipeline.two_dates,
            f"two images are expected, but {name} has one",
            f"Data sets of two dates are {' and '.join(sorted(TWO_DATES))}",
        )
    default = FAMILIES.get(name, (0, False))[1] if name in (*FAMILIES, *FOLDERS, *LISTED) else None
    own = fields.get("reduce_zero_label", default)
    said = pipeline.reduce_zero_label
    if said is not None and own is not None and said != own:
        by = "" if "reduce_zero_label" in fields else " by default"
        context.problem(
            f"{pipeline.loads}.reduce_zero_label",
            f"LoadAnnotations says reduce_zero_label={said}, but {name or 'the data set'} has {own}{by}",
            "Say it once, in the data set",
        )


# --- Pipelines ----------------------------------------------------------------------------------------------------


def _pipeline(context: Context, steps: Sequence[Mapping[str, Any]], path: str) -> _Pipeline:
    """A pipeline without loading and packing. Labels loaded after the geometry changed keep the size of their file."""
    found = _Pipeline()
    context.opened(path)
    moved = False
    for index, step in enumerate(steps):
        at = f"{path}.{index}"
        name = bare(step["type"]) if isinstance(step.get("type"), str) else ""
        if name in PLUMBING:
            fields = Fields(context, at, step, name)
            if name == "LoadImageFromFile":
                found.arguments |= _bands(context, fields)
            elif name == "LoadSingleRSImageFromFile":
                found.arguments["bands"] = "raw"
            elif name in ("LoadMultipleRSImageFromFile", "ConcatCDInput"):
                found.two_dates = at
                found.arguments |= {"bands": "raw"} if name == "LoadMultipleRSImageFromFile" else {}
            elif name == "LoadAnnotations":
                found.reduce_zero_label = fields.get("reduce_zero_label")
            elif name == "LoadDepthAnnotation" and "depth_rescale_factor" in fields:
                found.arguments["depth_rescale_factor"] = float(fields.get("depth_rescale_factor"))
        elif name == "TestTimeAug":
            context.problem(at, "TestTimeAug belongs to tta_pipeline", "Move it there")
        else:
            fields = Fields(context, at, step, "transform", others=True)
            part = component(context, "transform", fields.others(), at)
            found.transforms += (_with_factor(in_rgb(_by_scale(part), found.arguments), found.arguments),)
        if name in VOLUME_LOADERS:
            found.volumes = at
        if name in LABEL_LOADERS and not (name == "LoadBiomedicalData" and not step.get("with_seg")):
            found.loads = at
            found.label_size = "original" if moved and name not in VOLUME_LOADERS else "input"
        if name == "LoadBiomedicalData":
            found.arguments["labels"] = None  # they are in the file of the image
        elif name in GEOMETRY and found.loads is not None and found.label_size == "original":
            context.problem(
                at,
                f"{name} after {found.loads.rpartition('.')[2]}. LoadAnnotations would move the labels, but not as the "
                "images were moved before",
                "Load the labels before all of them (training) or after all of them (evaluation)",
            )
        moved = moved or name in GEOMETRY
    return found


def _by_scale(transform: Component) -> Component:
    """As in MMCV, `scale` of a Resize counts where `scale_factor` is given, too."""
    if bare(transform.type) != "Resize" or None in (transform.args.get("scale"), transform.args.get("scale_factor")):
        return transform
    return replace(transform, args={key: item for key, item in transform.args.items() if key != "scale_factor"})


def _with_factor(transform: Component, dataset: Mapping[str, Any]) -> Component:
    """A transform that shows depths as their files have them must know what the data set multiplies them by."""
    factor = dataset.get("depth_rescale_factor")
    if bare(transform.type) != "RandomDepthMix" or factor is None:
        return transform
    return replace(transform, args={"depth_rescale_factor": factor, **transform.args})


def _bands(context: Context, fields: Fields) -> dict[str, Any]:
    """The data set's argument `bands`, from how the images are to be decoded."""
    colour, decoder = fields.get("color_type", "color"), fields.get("imdecode_backend") or "cv2"
    if colour not in BANDS_OF_COLOR_TYPE:
        context.problem(
            fields.at("color_type"),
            f"expected 'color' or 'unchanged', found {colour!r}",
            "Grey images are read as three equal bands ('color') or as the one they have ('unchanged')",
        )
    if decoder not in (*DECODERS, "tifffile"):
        context.problem(
            fields.at("imdecode_backend"), f"unknown decoder {decoder!r}", nearest(decoder, (*DECODERS, "tifffile"))
        )
    raw = decoder == "tifffile" or BANDS_OF_COLOR_TYPE.get(colour) == "raw"
    if decoder in DECODERS[1:]:
        context.note(f"{fields.at('imdecode_backend')}: images are read by OpenCV, not by {decoder}")
    return {"bands": "raw"} if raw else {}
