"""Where weights are: the one place that makes of what somebody has written a file or folder of this machine.

locate("runs/first")                                       a file or folder that is there stays what it is
locate("pspnet_r50-d8_4xb2-80k_cityscapes-512x1024")       a published checkpoint is fetched, once
locate("s3://BUCKET/runs/first")                           a run or file in an object store is copied into the cache
locate("hf://OWNER/NAME")                                  what a prefix of BY_PREFIX stands for is fetched by it
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from intarsia.contracts import PathLike
from intarsia.guide.published import Checkpoint, find_published, near_names
from intarsia.weights.download import fetch
from intarsia.weights.remote import fetch_remote, prefixes
from intarsia.workflows import hub

BY_PREFIX: Mapping[str, Callable[[str], Path]] = {
    **dict.fromkeys((hub.PREFIX, *hub.PAGES), hub.fetch),
    **dict.fromkeys(prefixes(), fetch_remote),
}
"""Beginning of what is written -> a function that is given the whole of it, and gives the file or folder on this
machine. It raises ValueError where that cannot be had."""

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


def known(weights: PathLike) -> bool:
    """Whether `locate` would give something for it, or fetch it; nothing is fetched."""
    text = str(weights)
    return local(weights) is not None or text.startswith(tuple(BY_PREFIX)) or find_published(text) is not None


def _unknown(text: str) -> str:
    near = near_names(text)
    of_file = find_published(text.replace("\\", "/").rpartition("/")[2])
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    if of_file is not None:
        hint = f"; the checkpoint of this name is fetched if you write {of_file.recipe}"
    return f"{text} does not exist (in {Path.cwd()}); expected {EXPECTED}{hint}"
