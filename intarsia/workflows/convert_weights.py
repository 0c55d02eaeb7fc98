"""Making our weights file of anyone's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from intarsia import __version__
from intarsia.contracts import PathLike
from intarsia.guide.published import find_published
from intarsia.io.digest import file_hash
from intarsia.terminal import say, warn
from intarsia.weights.file import SUFFIX, save_weights
from intarsia.weights.origins import Origin, origins
from intarsia.workflows.completed_meta import completed
from intarsia.workflows.trained_model import OpenModel, open_model


def convert_weights(
    file: PathLike,
    out: Path,
    *,
    config: str | None = None,
    overwrite: bool = False,
    key: str | None = None,
    prefix: str | None = None,
) -> None:
    """Write tensors, config, classes and colours of `file` into one weights file, and say what became of them.

    file: weights of any origin, or a name that `locate` knows. out: ends in .safetensors.
    config: of the model, where the file does not say it.
    key, prefix: where the network's tensors are in a checkpoint, and what their names begin with there.

    Raises ValueError where `out` is no such name or exists, or the file cannot be read or does not fit the model.
    """
    if out.suffix != SUFFIX:
        raise ValueError(f"--out {out}: a weights file ends in {SUFFIX}")
    if out.exists() and not overwrite:
        raise ValueError(f"--out {out} exists already; replace it with --overwrite, or choose another name")
    model = open_model(file, config=config, device="cpu", key=key, prefix=prefix)
    for note in model.notes:
        say(f"note: {note}")
    meta = replace(completed(model.meta, model.spec), version=__version__, pretrained=_made_from(file, model))
    if not model.meta.classes:
        warn(f"{file} does not name its classes; they are called {', '.join(meta.classes[:3])} ...")
    own = model.task.model.state_dict()  # type: ignore[attr-defined]
    state = {name: own[name] for name in model.report.loaded}
    save_weights(out, state, meta)
    say(f"{len(state)} tensors, {len(meta.classes)} classes: {out}")
    say(f"next: intarsia eval {out} --data DIR    intarsia predict {out} IMAGES -o OUT")


def _made_from(file: PathLike, model: OpenModel) -> tuple[Origin, ...]:
    """What a file of ours says that it started from; of others, the file itself."""
    if model.meta.version:
        return model.meta.pretrained
    published = find_published(model.recipe) if model.recipe else None
    address = "" if published is None else published.address
    said = {"part": "model", "file": str(file), "address": address, "licence": model.meta.licence}
    return origins([{**said, "sha256": file_hash(model.file)}])
