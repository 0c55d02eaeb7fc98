"""Making our weights file of anyone's."""

from __future__ import annotations

from pathlib import Path

from intarsia import __version__
from intarsia.terminal import say, warn
from intarsia.weights.file import SUFFIX, WeightsMeta, save_weights
from intarsia.workflows.label_words import label_words
from intarsia.workflows.trained_model import OpenModel, open_model


def convert_weights(
    file: Path,
    out: Path,
    *,
    config: str | None = None,
    overwrite: bool = False,
    key: str | None = None,
    prefix: str | None = None,
) -> None:
    """Write tensors, config, classes and colours of `file` into one weights file, and say what became of them.

    file: weights of any origin. out: ends in .safetensors. config: of the model, where the file does not say it.
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
    meta = _meta(model)
    if not model.meta.classes:
        warn(f"{file} does not name its classes; they are called {', '.join(meta.classes[:3])} ...")
    own = model.task.model.state_dict()  # type: ignore[attr-defined]
    state = {name: own[name] for name in model.report.loaded}
    save_weights(out, state, meta)
    say(f"{len(state)} tensors, {len(meta.classes)} classes: {out}")
    say(f"next: intarsia eval {out} --data DIR    intarsia predict {out} IMAGES -o OUT")


def _meta(model: OpenModel) -> WeightsMeta:
    """What the file says, completed from the config's data sets."""
    stream = model.spec.val or model.spec.test or model.spec.train
    dataset = None if stream is None else stream.dataset
    args = {} if dataset is None else dataset.args
    numbered = tuple(f"class {index}" for index in range(max(model.spec.inference.num_classes, 1)))
    classes = model.meta.classes or tuple(args.get("classes") or ()) or numbered
    ignore_index = args.get("ignore_index", model.meta.ignore_index)
    return WeightsMeta(
        config=model.spec.source,
        classes=classes,
        palette=model.meta.palette or tuple(args.get("palette") or ()),
        ignore_index=ignore_index,
        labels=model.meta.labels or ({} if dataset is None else label_words(dataset, classes, ignore_index)),
        image=model.meta.image,
        version=__version__,
        scores=model.meta.scores,
        step=model.meta.step,
        pretrained=model.meta.pretrained,
        licence=model.meta.licence,
    )
