"""Writes docs/vocabulary.md: every key in MMSegmentation's 681 published configs, and what becomes of it.

    python scripts/vocabulary.py [SHARED/facts/mmseg_configs.json.gz]

The answers are those of `intarsia.config.lowering.lower`, asked about each config in turn.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from intarsia import catalog
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import VARIABLE, lower_all
from intarsia.config.lowering.names import BATCH_AUGMENTS, HOOKS, VISUALISERS
from intarsia.config.schema.fates import Fate, bare
from intarsia.config.schema.training import SCHEDULES, WRAPPERS
from intarsia.config.schema.vocabulary import AREAS

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "vocabulary.md"
SHARED = Path(os.environ.get("INTARSIA_SHARED", ROOT.parent / "shared"))
KINDS = (
    "model", "backbone", "neck", "head", "head_part", "norm", "activation", "loss", "sampler", "dataset", "transform",
    "metric", "optimizer",
)  # fmt: skip
OUTCOMES = {"lowered": "", "no effect": "no effect: ", "refused": "refused: "}
HEAD = """# The vocabulary of configs

What becomes of every key in the {count} published configs of MMSegmentation 1.2.2, and of the other keys that the
configuration language knows. Made by `scripts/vocabulary.py` from the tables that `intarsia/config/lowering/` reads
configs through; change those, not this file.

A key is lowered (the table names the field of `RunSpec`, or the argument of a part), or it has no effect here (with the
reason), or it is refused (with the reason, and an error that names file and line), except for the values called
legal. A key that is in no table is an error that names the nearest one. "configs" counts the published configs with
that key; a dash means that none has it. `_scope_`, the registry of a part, is legal wherever a `type` is, and has no
effect.
"""


class Counts:
    """How many configs have each key, by area, and what became of it."""

    def __init__(self, configs: Mapping[str, Any]) -> None:
        self.total = len(configs)
        self.keys: dict[str, Counter[str]] = defaultdict(Counter)
        self.fates: dict[tuple[str, str], Fate] = {}
        self.schedules: Counter[str] = Counter()
        self.wrappers: Counter[str] = Counter()
        for name, values in configs.items():
            given = values.get("param_scheduler") or []
            listed = [given] if isinstance(given, Mapping) else given
            self.schedules.update({bare(schedule["type"]) for schedule in listed})
            self.wrappers.update([bare(values["optim_wrapper"].get("type", "OptimWrapper"))])
            seen = lower_all(Config.from_values(values, file=name)).seen
            for area, key in {(item.area, item.key) for item in seen.values()}:
                self.keys[area][key] += 1
            for item in seen.values():
                self.fates[item.area, item.key] = item.fate

    def parts(self, kind: str) -> list[str]:
        """Names of the parts of a kind that occur."""
        return sorted(area.removeprefix(f"{kind} ") for area in self.keys if area.startswith(f"{kind} "))


def said(fate: Fate) -> str:
    """One cell of a table."""
    unless = ""
    if fate.outcome == "refused" and fate.unless:
        unless = f" (legal: {', '.join(f'`{value}`' for value in fate.unless)})"
    return OUTCOMES[fate.outcome] + fate.text + unless


def table(rows: list[tuple[str, ...]], *titles: str) -> Iterator[str]:
    """A Markdown table and an empty line."""
    yield "| " + " | ".join(titles) + " |"
    yield "| " + " | ".join("---" for _ in titles) + " |"
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "or") for cell in row) + " |"
    yield ""


def sections(counts: Counts) -> Iterator[str]:
    """The keys of each section."""
    yield from ("## Sections", "")
    for area, keys in AREAS.items():
        yield from (f"### {area}", "")
        found = counts.keys.get(area, Counter())
        rows = [(f"`{key}`", str(found.get(key, "-")), said(fate)) for key, fate in keys.items() if key != "_scope_"]
        yield from table(rows, "key", "configs", "becomes")
    for area in ("dataset.data_prefix", "any part (init_cfg)", "any part (pretrained)"):
        if area in counts.keys:
            yield from (f"### {area}", "")
            rows = [(f"`{k}`", str(n), said(counts.fates[area, k])) for k, n in sorted(counts.keys[area].items())]
            yield from table(rows, "key", "configs", "becomes")


def variables(counts: Counts) -> Iterator[str]:
    """Other names at the top level."""
    yield from ("## Other names at the top level", "", f"{VARIABLE.text[:1].upper()}{VARIABLE.text[1:]}.", "")
    found = {key: n for key, n in counts.keys["top level"].items() if key not in AREAS["top level"]}
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    plain = [f"`{key}` ({n})" for key, n in ordered if counts.fates["top level", key] == VARIABLE]
    yield from (", ".join(plain) + ".", "")
    rows = [
        (f"`{key}`", str(n), said(counts.fates["top level", key]))
        for key, n in ordered
        if counts.fates["top level", key] != VARIABLE
    ]
    yield from table(rows, "key", "configs", "becomes")


def schedules(counts: Counts) -> Iterator[str]:
    """Schedules with their own arguments."""
    yield from ("## Schedules", "", "Types of `param_scheduler`, each with what it has beside the keys above.", "")
    found = counts.schedules
    rows = [
        (f"`{name}`", str(found.get(name, "-")), ", ".join(f"`{key}`" for key in own))
        for name, own in sorted(SCHEDULES.items())
    ]
    yield from table(rows, "type", "configs", "arguments")


def hooks(counts: Counts) -> Iterator[str]:
    """Optimizer wrappers, hooks and logging services by their type."""
    for title, known, area in (
        ("Optimizer wrappers", WRAPPERS, "optimizer wrapper"),
        ("Hooks", HOOKS, "hooks"),
        ("Augmentation of batches", BATCH_AUGMENTS, "batch_augments"),
        ("Logging services", VISUALISERS, "visualizer.vis_backends"),
    ):
        found = counts.wrappers if known is WRAPPERS else counts.keys.get(area, Counter())
        yield from (f"## {title}", "")
        rows = [(f"`{name}`", str(found.get(name, "-")), said(fate)) for name, fate in known.items()]
        yield from table(rows, "type", "configs", "becomes")


def parts(counts: Counts) -> Iterator[str]:
    """Parts with the arguments that configs give them."""
    yield from ("## Parts and their arguments", "")
    yield from ("`a` → `b`: the key `a` is the constructor's argument `b`. Counts are configs.", "")
    for kind in KINDS:
        rows = []
        for name in counts.parts(kind):
            found = counts.keys[f"{kind} {name}"]
            here = name in catalog.TABLE.get(kind, {})
            fates = {key: counts.fates[f"{kind} {name}", key] for key in sorted(found) if key != "type"}
            rows.append((f"`{name}`", "yes" if here else "not yet", str(max(found.values())), _arguments(fates, found)))
        if rows:
            yield from (f"### {kind}", "")
            yield from table(rows, kind, "in Intarsia", "configs", "arguments")


def _arguments(fates: Mapping[str, Fate], found: Counter[str]) -> str:
    written = []
    for key, fate in fates.items():
        target = fate.text.removeprefix("argument ").removeprefix("arguments ")
        if fate.outcome == "lowered":
            written.append(f"`{key}` ({found[key]})" if target == f"`{key}`" else f"`{key}` → {target} ({found[key]})")
        else:
            written.append(f"`{key}` ({found[key]}, {said(fate)})")
    return ", ".join(written) or "none"


def render(configs: Mapping[str, Any]) -> str:
    """The whole document."""
    counts = Counts(configs)
    body = [*sections(counts), *variables(counts), *schedules(counts), *hooks(counts), *parts(counts)]
    return HEAD.format(count=counts.total) + "\n" + "\n".join(body).rstrip() + "\n"


def main() -> None:
    """Write the document."""
    configs = Path(sys.argv[1]) if len(sys.argv) > 1 else SHARED / "facts" / "mmseg_configs.json.gz"
    with gzip.open(configs, "rt", encoding="utf-8") as file:
        TARGET.write_text(render(json.load(file)), encoding="utf-8")
    print(f"wrote {TARGET}")


if __name__ == "__main__":
    main()
