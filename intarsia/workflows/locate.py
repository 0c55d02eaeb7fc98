"""Where weights are: the one place that makes of what somebody has written a file or folder of this machine.

locate("runs/first")                                       a file or folder that is there stays what it is
locate("pspnet_r50-d8_4xb2-80k_cityscapes-512x1024")       a published checkpoint is fetched, once
locate("s3://BUCKET/runs/first")                           a run or file in an object store is copied into the cache
locate("hf://OWNER/NAME")                                  what a prefix of BY_PREFIX stands for is fetched by it

Where several models are taken as one, `members_of` says which they are: "A+B", or a folder that holds several.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from intarsia.contracts import PathLike
from intarsia.guide.published import Checkpoint, find_published, near_names
from intarsia.io.stores import is_web, public
from intarsia.weights.download import fetch
from intarsia.weights.maps.nnunet_plans import folds_of
from intarsia.weights.remote import fetch_remote, prefixes
from intarsia.workflows import hub

BY_PREFIX: Mapping[str, Callable[[str], Path]] = {
    **dict.fromkeys((hub.PREFIX, *hub.PAGES), hub.fetch),
    **dict.fromkeys(prefixes(), fetch_remote),
}
"""Beginning of what is written -> a function that is given the whole of it, and gives the file or folder on this
machine. It raises ValueError where that cannot be had."""

CROSS_VALIDATION = "cv.json"
"""The file by which the folder of a cross-validation is known."""

EXPECTED = "a weights file, the folder of a run, or the name of a published checkpoint (intarsia models list)"


@dataclass(frozen=True)
class Located:
    """path: the file or folder. checkpoint: which one it is, where it was asked for by its published name.

    A published file may carry a config of MMSegmentation 0.x or none: the recipe of the checkpoint is its config.
    """

    path: Path
    checkpoint: Checkpoint | None = None


class UnknownWeightsError(ValueError):
    """Neither a file or folder nor a name that is known."""


def locate(weights: PathLike) -> Located:
    """The weights on this machine: those that are there, or else fetched.

    weights: a file or folder; the name of a published checkpoint (of its recipe, or of its file), or its address; or
    what begins with one of `BY_PREFIX`. A file or folder of the same name goes first.

    Raises UnknownWeightsError, which names similar checkpoints; DownloadError, which says where to put it by hand.
    """
    here = local(weights)
    if here is not None:
        return Located(here)
    text = str(weights)
    for prefix, fetched in BY_PREFIX.items():
        if text.startswith(prefix):
            return Located(fetched(text))
    checkpoint = find_published(text)
    if checkpoint is None:
        raise UnknownWeightsError(_unknown(text))
    return Located(fetch(checkpoint.address, sha256=checkpoint.sha256), checkpoint)


def local(weights: PathLike) -> Path | None:
    """The file or folder that is there under this name, or None."""
    path = Path(os.path.expanduser(weights))
    return path if path.exists() else None


def members_of(weights: PathLike | Sequence[PathLike]) -> tuple[PathLike, ...]:
    """The models that are meant by one name, each as `locate` takes it: one, or several whose mean is wanted.

    weights: as for `locate`; or several, in a list or joined by "+"; or the folder of `intarsia cv`, or one of
    nnU-Net's results, which stand for their folds. What is there under a name with a "+" is one.

    Raises ValueError for an empty list, and for a cross-validation of which a fold is not trained.
    """
    if not isinstance(weights, str | os.PathLike):
        if not isinstance(weights, Iterable):
            raise ValueError(
                f"found a {type(weights).__name__}; expected {EXPECTED}, or several of them. A model in memory becomes "
                "a file by intarsia.save(model, FILE, classes=...)"
            )
        found = tuple(member for one in weights for member in members_of(one))
        if not found:
            raise ValueError(f"found no weights in an empty list; expected {EXPECTED}, or several of them")
        return found
    here, text = local(weights), str(weights)
    if here is not None:
        return tuple(_folds_in(here)) if here.is_dir() else (weights,)
    parts = text.split("+")
    is_address = text.startswith(tuple(BY_PREFIX))  # which may have a "+" in it
    if len(parts) > 1 and all(parts) and (all if is_address else any)(map(known, parts)):
        return tuple(member for part in parts for member in members_of(part))
    return (weights,)


def _folds_in(folder: Path) -> Sequence[Path]:
    """The folds of a folder, or the folder itself."""
    if not (folder / CROSS_VALIDATION).is_file():
        folds = folds_of(folder)
        return folds if len(folds) > 1 else (folder,)
    asked = json.loads((folder / CROSS_VALIDATION).read_text(encoding="utf-8")).get("asked", {})
    runs = [folder / f"fold_{number}" for number in range(1, int(asked.get("folds", 0)) + 1)]
    missing = [run.name for run in runs if not (run / "weights.safetensors").is_file()]
    if missing or not runs:
        raise ValueError(
            f"{folder} is a cross-validation without the weights of {', '.join(missing) or 'any fold'}: let the same "
            "`intarsia cv` go on, or name those that are there, joined by +"
        )
    return runs


def known(weights: PathLike) -> bool:
    """Whether `locate` would give something for it, or fetch it; nothing is fetched."""
    text = str(weights)
    return local(weights) is not None or text.startswith(tuple(BY_PREFIX)) or find_published(text) is not None


def _unknown(text: str) -> str:
    if is_web(text):
        return (
            f"{public(text)} is no published checkpoint, and weights of others are not fetched from the web: download "
            "it (curl -LO ADDRESS), look at it (intarsia weights info FILE), and name the file"
        )
    near = near_names(text)
    of_file = find_published(text.replace("\\", "/").rpartition("/")[2])
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    if of_file is not None:
        hint = f"; the checkpoint of this name is fetched if you write {of_file.recipe}"
    return f"{text} does not exist (in {Path.cwd()}); expected {EXPECTED}{hint}"
