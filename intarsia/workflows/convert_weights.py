"""Making our weights file of anyone's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from intarsia.contracts import PathLike
from intarsia.guide.published import find_published
from intarsia.io.digest import file_hash
from intarsia.io.whole_files import put_in_place
from intarsia.terminal import say, warn
from intarsia.version import __version__
from intarsia.weights.file import SUFFIX, WeightsMeta, save_weights
from intarsia.weights.origins import Origin, origins
from intarsia.workflows.completed_meta import completed
from intarsia.workflows.to_transformers import TRANSFORMERS, write_folder
from intarsia.workflows.trained_model import OpenModel, open_model

if TYPE_CHECKING:
    from torch import Tensor

DIGITS = 8
"""Of a hash in a file's name."""


def convert_weights(
    file: PathLike,
    out: Path,
    *,
    config: str | None = None,
    overwrite: bool = False,
    key: str | None = None,
    prefix: str | None = None,
    name_with_hash: bool = False,
    base: str | None = None,
    to: Literal["intarsia", "transformers"] = "intarsia",
) -> Path:
    """Write tensors, config, classes and colours of `file` into one weights file, say what became of them, and give it.

    file: weights of any origin, or a name that `locate` knows. out: ends in .safetensors; of transformers, a folder.
    config: of the model, where the file does not say it.
    key, prefix: where the network's tensors are in a checkpoint, and what their names begin with there.
    name_with_hash: put the first digits of the file's SHA-256 behind its name, as published checkpoints have them.
    base: the backbone that the file lacks or holds differences to, under any such name, or "none" if it is whole.
    to: whose form is written; a folder of transformers of those models that it has, see `to_transformers`.

    Raises ValueError where `out` is no such name or exists, or the file cannot be read or does not fit the model.
    """
    if to == TRANSFORMERS:
        return _convert_to_folder(file, out, config, overwrite=overwrite, key=key, prefix=prefix, base=base)
    if out.suffix != SUFFIX:
        raise ValueError(f"--out {out}: a weights file ends in {SUFFIX}")
    if out.exists() and not overwrite and not name_with_hash:
        raise ValueError(f"--out {out} exists already; replace it with --overwrite, or choose another name")
    model = open_model(file, config=config, device="cpu", key=key, prefix=prefix, base=base)
    for note in model.notes:
        say(f"note: {note}")
    meta = replace(completed(model.meta, model.spec), version=__version__, pretrained=_made_from(file, model))
    if not model.meta.classes:
        warn(f"{file} does not name its classes; they are called {', '.join(meta.classes[:3])} ...")
    own = model.task.model.state_dict()  # type: ignore[attr-defined]
    state = {name: own[name] for name in model.report.loaded}
    if name_with_hash:
        out = _save_by_hash(out, state, meta)
    else:
        save_weights(out, state, meta)
    say(f"{len(state)} tensors, {len(meta.classes)} classes: {out}")
    say(f"next: intarsia eval {out} --data DIR    intarsia predict {out} IMAGES -o OUT")
    return out


def _convert_to_folder(
    file: PathLike,
    out: Path,
    config: str | None,
    *,
    overwrite: bool,
    key: str | None,
    prefix: str | None,
    base: str | None,
) -> Path:
    if out.suffix == SUFFIX or out.is_file():
        raise ValueError(f"--out {out}: transformers has its models in folders; give the name of one")
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise ValueError(f"--out {out} exists already; replace what is in it with --overwrite, or choose another name")
    model = open_model(file, config=config, device="cpu", key=key, prefix=prefix, base=base)
    write_folder(model, out)
    for origin in model.meta.pretrained:
        if origin.licence:
            say(f"note: its {origin.part} was trained from weights under {origin.licence}")
    return out


def _save_by_hash(out: Path, state: Mapping[str, Tensor], meta: WeightsMeta) -> Path:
    """Write NAME-xxxxxxxx.safetensors. A file that has that name already has that content."""
    unnamed = out.with_name(f"{out.stem}.unnamed{SUFFIX}")
    try:
        save_weights(unnamed, state, meta)
        named = out.with_name(f"{out.stem}-{file_hash(unnamed)[:DIGITS]}{SUFFIX}")
        put_in_place(unnamed, named)
    finally:
        unnamed.unlink(missing_ok=True)
    return named


def _made_from(file: PathLike, model: OpenModel) -> tuple[Origin, ...]:
    """What a file of ours says that it started from; of others, the file itself."""
    if model.meta.version:
        return model.meta.pretrained
    published = find_published(model.recipe) if model.recipe else None
    address = "" if published is None else published.address
    said = {"part": "model", "file": str(file), "address": address, "licence": model.meta.licence}
    return origins([{**said, "sha256": file_hash(model.file)}])
