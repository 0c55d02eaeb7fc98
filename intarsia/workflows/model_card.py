"""The model card of a weights file: what the file and its run say, and nothing else."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from intarsia.terminal import printable
from intarsia.weights.about import model_parts
from intarsia.weights.file import WeightsMeta
from intarsia.weights.origins import described, is_free
from intarsia.workflows.hub import WEIGHTS, HubAddress

MARK = "<!-- Written by `intarsia weights push`, which writes it again. -->"
"""In every card; one without it belongs to somebody."""

_LICENCES = (
    "apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m "
    "afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 "
    "cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 "
    "cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 "
    "cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl "
    "gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc intel-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0 "
    "odc-by odbl openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr"
)
HUB_LICENCES = frozenset(_LICENCES.split())
"""Identifiers that the hub knows; it refuses a card with another one."""

_WRAPPED = ("dataset", "datasets")
_MOST_ROWS = 1_000


@dataclass(frozen=True)
class RunFacts:
    """What the folder of a run says of its weights.

    known: whether there is one. train_images: how many it was trained on. classes: scores of each, by name, of exactly
    these weights. images: that they were measured on. chosen: whether their step was chosen by these scores.
    """

    known: bool = False
    train_images: int | None = None
    classes: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    images: int | None = None
    chosen: bool = False

    @classmethod
    def read(cls, folder: Path, meta: WeightsMeta) -> RunFacts:
        """Of the folder that the weights are in; empty where it is of no run, or of another network's.

        Its eval.json may be of a later evaluation on other images; it counts if its means are those of the weights.
        """
        run = _json(folder / "run.json")
        if run is None or (run.get("config") or {}).get("model") != _plain_values(meta.config.get("model")):
            return cls()
        images, report = (run.get("data") or {}).get("train_images"), _json(folder / "eval.json") or {}
        means = {name: value for name, value in meta.scores.items() if name in report}
        same = bool(means) and all(report[name] == value for name, value in means.items())
        return cls(
            known=True,
            train_images=images if isinstance(images, int) else None,
            classes=report.get("classes", {}) if same else {},
            images=report.get("images") if same else None,
            chosen=isinstance(run.get("best"), dict),
        )


def _plain_values(values: Any) -> Any:
    """As JSON would give them back."""
    return json.loads(json.dumps(values, default=str))


def _json(file: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def model_card(where: HubAddress, meta: WeightsMeta, facts: RunFacts, values: int) -> str:
    """The text of README.md. where: to whom it will belong. values: how many numbers the tensors hold."""
    import yaml

    front = yaml.safe_dump(_front(meta), sort_keys=False, allow_unicode=True)
    sections = [
        f"---\n{front}---\n\n{MARK}\n\n# {_plain(where.name)}\n\n{' '.join(_summary(meta, values))}",
        _use(where),
        "## Classes\n\n" + "\n".join(_classes(meta, facts)),
        "## Training data\n\n" + " ".join(_data(meta, facts)),
        "## Scores\n\n" + "\n".join(_scores(meta, facts)),
        "## Licence\n\n" + _licence(meta.licence),
        "## What it started from\n\n" + "\n".join(_origins(meta)),
    ]
    return "\n\n".join(sections) + "\n"


def _front(meta: WeightsMeta) -> dict[str, Any]:
    """What the hub reads."""
    values: dict[str, Any] = {"library_name": "intarsia", "pipeline_tag": "image-segmentation"}
    licence = meta.licence.strip().lower().replace(" ", "-")
    if licence in HUB_LICENCES:
        values["license"] = licence
    elif licence:
        name = re.sub(r"[^a-z0-9.]+", "-", licence).strip("-.")[:80]
        values |= {"license": "other", "license_name": name or "other"}
    bases = dict.fromkeys(filter(None, map(_repository, (one.address or one.asked_for for one in meta.pretrained))))
    if bases:
        values["base_model"] = list(bases)
    if "mIoU" in meta.scores:
        values["metrics"] = ["mean_iou"]
    return {**values, "tags": ["intarsia", "semantic-segmentation"]}


def _repository(address: str) -> str:
    """Of an address at the hub, OWNER/NAME."""
    if address.startswith("hf://"):
        return HubAddress.parse(address).repository
    parts = urlsplit(address)
    found = re.match(r"/([\w.-]+/[\w.-]+)/(resolve|blob)/", parts.path)
    return found[1] if parts.netloc == "huggingface.co" and found else ""


def _plain(text: str) -> str:
    """A name from a file, as text of Markdown: no markup, no end of a line."""
    shown = html.escape(printable(text, 200).replace("\n", " ").replace("\t", " "), quote=False)
    return re.sub(r"([\\`*\[\]|#]|(?<!\w)_|_(?!\w))", r"\\\1", shown)


def _link(address: str) -> str:
    return f"<{address}>" if re.fullmatch(r"https?://[^\s<>\\]+", address) else _plain(address)


def _summary(meta: WeightsMeta, values: int) -> Iterator[str]:
    yield f"A model for semantic segmentation: every pixel of an image gets one of {len(meta.classes)} classes."
    parts = ", ".join(_plain(one) for one in model_parts(meta.config))
    yield f"Network: {parts or 'as its config says'}, {values:,} numbers."
    if meta.step is not None:
        yield f"Trained for {meta.step:,} step{'' if meta.step == 1 else 's'}."
    yield f"The file was written by Intarsia {_plain(meta.version)}.".replace(" .", ".")
    names = [str(name) for name in meta.image.get("names", ())]
    if meta.image.get("bands") == "raw":
        yield (
            f"Its images have the bands {', '.join(map(_plain, names))}."
            if any(names)
            else "It reads bands as they are."
        )


def _use(where: HubAddress) -> str:
    return f"""## Use

With Intarsia and its extra `hub`:

```console
intarsia predict {where} photo.jpg -o out
```

```python
import intarsia

model = intarsia.load("{where}")
prediction = model.predict("photo.jpg")
prediction.save_overlay("overlay.jpg")
```

Config, classes, colours and preprocessing are in `{WEIGHTS}`. To go on training with other images:

```console
intarsia weights pull {where} -o model.safetensors
intarsia train model.safetensors --data DIR --weights model.safetensors --allow-partial --out RUN
```"""


def _classes(meta: WeightsMeta, facts: RunFacts) -> Iterator[str]:
    columns = list(dict.fromkeys(name for scores in facts.classes.values() for name in scores))
    yield f"| value | class | colour |{''.join(f' {_plain(name)} |' for name in columns)}"
    yield f"| --- | --- | --- |{' --- |' * len(columns)}"
    for value, name in enumerate(meta.classes[:_MOST_ROWS]):
        colour = "#{:02x}{:02x}{:02x}".format(*meta.palette[value]) if value < len(meta.palette) else ""
        scores = facts.classes.get(name, {})
        cells = "".join(f" {_score(scores.get(column))} |" for column in columns)
        yield f"| {value} | {_plain(name)} | {colour} |{cells}"
    if len(meta.classes) > _MOST_ROWS:
        yield f"\nand {len(meta.classes) - _MOST_ROWS:,} more, which the file names."


def _score(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, (int, float)) else ""


def _data(meta: WeightsMeta, facts: RunFacts) -> Iterator[str]:
    names = list(dict.fromkeys(_plain(name) for name in datasets(meta.config)))
    if facts.train_images is not None:
        yield f"{facts.train_images:,} images with their labels."
    if names:
        yield f"Of the kind {', '.join(names)}."
    else:
        yield "Images and label maps of whoever trained it; which, the file does not say."


def datasets(config: Mapping[str, Any]) -> list[str]:
    """Types of the data sets in a config that say what the images are: those of benchmarks."""
    found: list[str] = []
    loader = config.get("train_dataloader")
    open_: list[Any] = [loader.get("dataset")] if isinstance(loader, Mapping) else []
    while open_:
        one = open_.pop(0)
        if isinstance(one, Sequence) and not isinstance(one, str):
            open_ = [*one, *open_]
        elif isinstance(one, Mapping):
            inner = [one[key] for key in _WRAPPED if key in one]
            open_ = [*inner, *open_]
            if not inner and one.get("type"):
                found.append(str(one["type"]))
    return [name for name in found if name not in ("DescribedDataset", "BaseSegDataset")]


def _scores(meta: WeightsMeta, facts: RunFacts) -> Iterator[str]:
    if not meta.scores:
        yield "The file holds none. Measure them on labelled images: `intarsia eval WEIGHTS --data DIR`."
        return
    if not facts.known:
        yield "As the file states them, fractions of 1 but for losses; of which images, it does not say.\n"
    else:
        many = f"{facts.images:,} " if facts.images is not None else ""
        chosen = " The step was chosen by them, so that others may be lower." if facts.chosen else ""
        each = " Those of each class are above." if facts.classes else ""
        yield (
            f"Of exactly these weights on the {many}validation images of their training, fractions of 1 but for losses."
            f"{chosen}{each}\n"
        )
    yield "| score | value |\n| --- | --- |"
    for name, value in meta.scores.items():
        yield f"| {_plain(name)} | {value:.4f} |"


def _licence(licence: str) -> str:
    if not licence:
        return "None was given: who shares this file has not said what it may be used for. Ask before you use it."
    return f"{_plain(licence)}." + ("" if is_free(licence) else " It is not a licence for every use: read it.")


def _origins(meta: WeightsMeta) -> Iterator[str]:
    if not meta.pretrained:
        yield "The file names no weights of others."
        return
    for one in meta.pretrained:
        digits = f", SHA-256 {one.sha256[:16]}" if one.sha256 else ""
        address = f" ({_link(one.address)})" if one.address not in ("", one.asked_for) else ""
        asked = _plain(one.asked_for or "a file")
        yield f"* {_plain(one.part)}: {asked}{address}{digits}, {_plain(described(one.licence))}"
    if not all(is_free(one.licence) for one in meta.pretrained):
        yield "\nSome of these licences are not free for every use, or not known. See what they ask of you."
