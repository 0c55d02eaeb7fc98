"""The splits of a data description, read from YAML."""

from __future__ import annotations

from typing import Any

from intarsia.data.annotations.formats import FORMATS
from intarsia.data.annotations.source import AnnotationSource
from intarsia.data.description.contained import PackedSplit, TarSplit
from intarsia.data.description.errors import DescriptionError, ScenesAmongImagesError
from intarsia.data.description.input_kinds import image_rules
from intarsia.data.description.pairing import MaskRule, Source
from intarsia.data.description.splits import FolderSplit, JoinedSplit, ListSplit, PairSplit, ShareSplit, Split
from intarsia.data.description.yaml_tree import Located
from intarsia.data.description.yaml_values import (
    choice_of,
    folder_of,
    integer_of,
    known_keys,
    mapping_of,
    numbers_of,
    text_of,
    texts_of,
)
from intarsia.data.image_io import IMAGE_SUFFIXES
from intarsia.data.orientation import AXES, PLANES
from intarsia.data.scenes.rule import BLOCK, WINDOW, SceneSplit

_FOLDER_KEYS = (
    *("images", "labels", "image_prefix", "label_prefix", "image_suffix", "label_suffix"),
    *("recursive", "list", "where", "exclude", "missing", "overlap", "annotations", "slices", "empty_slices"),
)
_LIST_KEYS = ("list", "where", "missing")
_ANNOTATION_KEYS = ("format", "file", "folder", "names", "subset", "classes")
_SCENE_KEYS = (
    *("scenes", "labels", "layer", "column", "classes", "areas", "where", "exclude", "window", "margin", "block"),
    "missing", "list", "gap",
)  # fmt: skip
_PACKED_KEYS = ("packed", "part", "list")
_TAR_KEYS = ("layout", "shards", "image_suffix", "label_suffix", "list", "missing", "labels")
_SHARE_KEYS = ("share", "of", "seed")


def read_split(value: Any, path: tuple[str, ...]) -> Split:
    """A rule, or several of them whose files are taken together. Raises DescriptionError for a mistake."""
    if isinstance(value, list) and value:
        parts = [_rule(mapping_of(entry, path), path) for entry in value]
        folders = tuple(part for part in parts if isinstance(part, FolderSplit | PackedSplit | TarSplit))
        scenes = tuple(part for part in parts if isinstance(part, SceneSplit))
        if scenes and len(parts) == len(scenes) + len(folders) and folders:
            raise ScenesAmongImagesError(
                path, "some of these sources are scenes, others images: each is drawn in its own way"
            )
        if len(parts) not in (len(folders), len(scenes)):
            raise DescriptionError(
                path, "expected images and labels (folders), or packed, or shards, in each source; or scenes in all"
            )
        return JoinedSplit(scenes or folders)
    return _rule(mapping_of(value, path), path)


def _rule(rule: Located, path: tuple[str, ...]) -> Split:
    if "pairs" in rule:
        known_keys(rule, ("pairs",), path)
        return PairSplit(_file_pairs(rule["pairs"], (*path, "pairs")))
    if "share" in rule:
        known_keys(rule, _SHARE_KEYS, path)
        (fraction,) = numbers_of([rule["share"]], (*path, "share")) or (0.0,)
        of = text_of(rule.get("of", "train"), (*path, "of"))
        return ShareSplit(fraction, of, integer_of(rule.get("seed", 0), (*path, "seed")))
    if "packed" in rule:
        known_keys(rule, _PACKED_KEYS, path)
        part = text_of(rule.get("part", path[-1]), (*path, "part"))
        return PackedSplit(folder_of(rule["packed"], (*path, "packed")), part, _list_name(rule, path))
    missing = choice_of(rule, "missing", ("error", "skip"), path)
    if "shards" in rule or "layout" in rule:
        return _tar_split(rule, missing, path)
    if "scenes" in rule:
        return _scene_split(rule, missing, path)
    if "list" in rule and "images" not in rule:
        known_keys(rule, _LIST_KEYS, path)
        return ListSplit(folder_of(rule["list"], (*path, "list")), _where(rule, path), missing)  # type: ignore[arg-type]
    return _folder_split(rule, missing, path)


def _folder_split(rule: Located, missing: str, path: tuple[str, ...]) -> FolderSplit:
    known_keys(rule, _FOLDER_KEYS, path)
    if "images" not in rule:
        raise DescriptionError(path, "expected images and labels (folders), or list, or share, or pairs, or scenes")
    recursive = rule.get("recursive", True)
    if not isinstance(recursive, bool):
        raise DescriptionError((*path, "recursive"), f"expected true or false, found {recursive!r}")
    labels = rule.get("labels")
    masks = _masks(labels, (*path, "labels")) if isinstance(labels, Located) else ()
    images, several = rule["images"], image_rules(rule["images"], (*path, "images"))
    source = Source(
        images=several[0].folder if several else folder_of(images, (*path, "images")),
        labels=None if labels is None or masks else folder_of(labels, (*path, "labels")),
        image_suffix=texts_of(
            rule.get("image_suffix", list(several[0].suffixes if several else IMAGE_SUFFIXES)), (*path, "image_suffix")
        ),
        label_suffix=texts_of(rule.get("label_suffix", list(IMAGE_SUFFIXES)), (*path, "label_suffix")),
        image_prefix=text_of(rule.get("image_prefix", several[0].prefix if several else ""), (*path, "image_prefix")),
        label_prefix=text_of(rule.get("label_prefix", ""), (*path, "label_prefix")),
        recursive=recursive,
        masks=masks,
        overlap=choice_of(rule, "overlap", ("error", "last"), path),  # type: ignore[arg-type]
        annotations=_annotations(rule, path),
        slices=choice_of(rule, "slices", ("", *AXES, *PLANES), path),  # type: ignore[arg-type]
        empty_slices=choice_of(rule, "empty_slices", ("keep", "skip"), path),  # type: ignore[arg-type]
        input_name=several[0].class_name if several else "",
        partners=several[1:],
    )
    names = _list_name(rule, path)
    exclude = texts_of(rule.get("exclude", []), (*path, "exclude"))
    return FolderSplit(source, names, exclude, missing, _where(rule, path))  # type: ignore[arg-type]


def _list_name(rule: Located, path: tuple[str, ...]) -> str | None:
    return None if rule.get("list") is None else text_of(rule["list"], (*path, "list"))


def _tar_split(rule: Located, missing: str, path: tuple[str, ...]) -> TarSplit:
    """Tars of the WebDataset form: see `TarSplit`."""
    known_keys(rule, _TAR_KEYS, path)
    choice_of(rule, "layout", ("tar",), path)
    if "shards" not in rule:
        raise DescriptionError(
            (*path, "layout"), "layout: tar needs shards: a tar, a folder, or a pattern like a-*.tar"
        )
    labels = rule.get("labels", True)
    if not isinstance(labels, bool):
        raise DescriptionError((*path, "labels"), f"of tars, expected true or false, found {labels!r}")
    return TarSplit(
        tuple(folder_of(entry, (*path, "shards")) for entry in texts_of(rule["shards"], (*path, "shards"))),
        texts_of(rule.get("image_suffix", []), (*path, "image_suffix")),
        texts_of(rule.get("label_suffix", []), (*path, "label_suffix")),
        _list_name(rule, path),
        missing,  # type: ignore[arg-type]  # one of the two words
        labels,
    )


def _scene_split(rule: Located, missing: str, path: tuple[str, ...]) -> SceneSplit:
    """Windows of scenes: see `SceneSplit`."""
    known_keys(rule, _SCENE_KEYS, path)

    def optional(key: str) -> str:
        return "" if rule.get(key) is None else folder_of(rule[key], (*path, key))

    window = integer_of(rule.get("window", WINDOW), (*path, "window"))
    block = rule.get("block", max(BLOCK, window))
    stand = {} if rule.get("classes") is None else mapping_of(rule["classes"], (*path, "classes"))
    found = SceneSplit(
        scenes=tuple(folder_of(entry, (*path, "scenes")) for entry in texts_of(rule["scenes"], (*path, "scenes"))),
        labels=optional("labels") or None,
        layer=text_of(rule.get("layer", ""), (*path, "layer")),
        column=text_of(rule.get("column", ""), (*path, "column")),
        classes=tuple((str(says), text_of(own, (*path, "classes", says))) for says, own in stand.items()),
        areas=optional("areas"),
        where=_where(rule, path),
        exclude=texts_of(rule.get("exclude", []), (*path, "exclude")),
        names=_list_name(rule, path),
        gap=integer_of(rule.get("gap", 0), (*path, "gap")),
        window=window,
        margin=integer_of(rule.get("margin", window // 8), (*path, "margin")),
        block=0 if block == "scene" else integer_of(block, (*path, "block")),
        missing=missing,  # type: ignore[arg-type]  # one of the two words
    )
    if (wrong := found.check()) is not None:
        raise DescriptionError((*path, wrong[0]), wrong[1])
    return found


def _annotations(rule: Located, path: tuple[str, ...]) -> AnnotationSource | None:
    """Annotations of a tool: their format, with the file of all images or the folder of a file for each image."""
    if rule.get("annotations") is None:
        return None
    found, path = mapping_of(rule["annotations"], (*path, "annotations")), (*path, "annotations")
    known_keys(found, _ANNOTATION_KEYS, path)
    for key in ("labels", "label_prefix", "label_suffix"):
        if rule.get(key) is not None:
            raise DescriptionError(path, f"stands beside {key!r}; labels come from annotations or from files")
    name = choice_of(found, "format", ("", *FORMATS), path)
    if not name:
        raise DescriptionError(path, f"expected a format: one of {', '.join(FORMATS)}")
    key = "folder" if FORMATS[name].per_image else "file"
    if key not in found or len({"file", "folder"} & set(found)) > 1:
        raise DescriptionError(path, f"the format {name} needs `{key}: PATH` and no other place")
    classes = found.get("classes")
    stand = {} if classes is None else mapping_of(classes, (*path, "classes"))
    return AnnotationSource(
        name,
        folder_of(found[key], (*path, key)),
        folder_of(found["names"], (*path, "names")) if found.get("names") is not None else "",
        text_of(found.get("subset", ""), (*path, "subset")),
        tuple(
            (text_of(tool, (*path, "classes")), text_of(own, (*path, "classes", tool))) for tool, own in stand.items()
        ),
    )


def _where(rule: Located, path: tuple[str, ...]) -> tuple[str, str] | None:
    """The rows of a list that belong to a split: ``{split: train}``."""
    if rule.get("where") is None:
        return None
    where = mapping_of(rule["where"], (*path, "where"))
    if len(where) != 1 or not isinstance(text := next(iter(where.values())), str | int):
        raise DescriptionError((*path, "where"), "expected the title of one column, and the text of the rows to take")
    return str(next(iter(where))), str(text)


def _masks(labels: Located, path: tuple[str, ...]) -> tuple[MaskRule, ...]:
    """One mask for each class: class name -> ``FOLDER/*SUFFIX``, several of them in a list."""
    rules = []
    for name, patterns in labels.items():
        for pattern in texts_of(patterns, (*path, name)):
            try:
                rules.append(MaskRule.parse(text_of(name, path), pattern))
            except ValueError as error:
                raise DescriptionError((*path, name), str(error)) from None
    if not rules:
        raise DescriptionError(path, "expected a folder, or a pattern such as masks/*_leaf.png for each class")
    return tuple(rules)


def _file_pairs(value: Any, path: tuple[object, ...]) -> tuple[tuple[str, str | None], ...]:
    entries = value if isinstance(value, list) else []
    if not entries or not all(isinstance(entry, list) and len(entry) == 2 for entry in entries):
        raise DescriptionError(path, "expected a list of [image, label] pairs of paths")
    return tuple((text_of(image, path), None if label is None else text_of(label, path)) for image, label in entries)
