"""Writes docs/models.md and its two pictures: every model with its paper, what it costs, and what it scores.

    python scripts/models.py

Everything comes from `intarsia.guide`, whose figures `benchmarks/models.py` and `scripts/published.py` write.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from intarsia.guide import facts
from intarsia.guide.models import Model, find, goodness, models
from intarsia.recipes import KINDS, Method

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "docs" / "models.md"
PICTURES = {"ade20k": ROOT / "docs" / "models_ade20k.svg", "cityscapes": ROOT / "docs" / "models_cityscapes.svg"}
TITLES = {"ade20k": "ADE20K", "cityscapes": "Cityscapes"}
MARKS = {
    "real-time": ("#009E73", "o"),
    "convolutional": ("#0072B2", "s"),
    "context": ("#56B4E9", "D"),
    "transformer": ("#D55E00", "^"),
    "masks": ("#CC79A7", "P"),
    "words and depth": ("#000000", "X"),
}
"""Of kinds: colours that stay apart for the colour-blind (Okabe and Ito), and a shape each."""
HEAD = """# The models

Which networks there are, what each costs and what it scores. Made by `scripts/models.py`; `intarsia models list`
prints the same in the terminal, `intarsia models show NAME` all about one.

```console
$ intarsia models list real-time --sort cost
$ intarsia models list --data cityscapes --sort score
$ intarsia models show segformer_mit-b0
```

A published checkpoint is used by the name of its recipe, and fetched the first time:
`intarsia predict segformer_mit-b0_8xb2-160k_ade20k-512x512 photo.jpg -o out`. Where it is kept, and how machines
without network get it: [Weights](weights.md#published-checkpoints-by-name).

## What to take

{advice}

![Scores on ADE20K against multiply-adds](models_ade20k.svg)

![Scores on Cityscapes against multiply-adds](models_cityscapes.svg)

Each mark is a network with the best score of its checkpoints that are fetched by name; those with a name have no better
one at the same cost or less.

## Another size, your own config, your machine

`intarsia models profile` counts the same figures for any recipe, config, run or weights, by part and at any size of
images. With `--time` it measures them too: images per second of the network alone, and of the whole way from stored
pixels to labels, as median and middle half of a fixed number of passes (`--passes 20`), with processor or GPU, threads
and precision beside them. `--json` is for scripts.

```console
$ intarsia models profile segformer_mit-b0 --size 256 512
$ intarsia models profile small_r18 --size 128 128 --time --passes 5
```

The numbers in weights play no part, so that the network of a published checkpoint is counted without fetching it. Like
the table, it counts convolutions, matrix products and attention; what other tools call FLOPs is multiply-adds, or twice
as many.

## What the columns say

* **model**: the name for `intarsia train NAME --data DIR`; in italics, networks that have published recipes only, by
  the beginning of their names (`intarsia models show` lists those). HEAD`_timm:`NAME is a head on any network of timm:
  each head is counted on the networks that its name shows, with random weights; those on other networks are counted by
  `intarsia models profile HEAD_timm:NAME`, and HEAD`_hf:`NAME on networks of transformers. See
  [Networks of timm and transformers](trunks.md).
* **params**: millions, heads that only training has included. **mult-adds**: billions of multiply-adds, of one image
  of 512 x 512 through the network as it is used. They are what torch's own flop counter says (torch {torch}), halved,
  since it counts a multiply-add as two. It counts convolutions, matrix products and attention, as they are computed
  here (SegFormer's head, for one, multiplies each level before it enlarges it, which its paper does afterwards). Norms,
  activations, pooling, resizing and the sampling of deformable attention (Mask2Former) are not in it.
* **memory** and **step memory**: of the forward pass of one image, and of a training step of two with AdamW, in
  float32, as multiples of `segformer_mit-b0`'s ({forward:.2f} and {step:.2f} GB). They are the most that tensors take
  at once, weights included, added up as torch makes them and lets go of them. So they do not depend on the machine;
  what operations need within, and what allocators keep, comes on top.
{times}
* **{first}**, **{second}**: the best published mIoU in percent, of single images as they are, of whatever schedule and
  size; under the table of each method all its checkpoints, by the names that every command takes. One with \\* is the
  authors' word for a file of theirs that no name of ours fetches (`intarsia weights convert` reads those whose names
  are in [Weights](weights.md)). Costs are those with
  the classes of ADE20K, where a network has a recipe for that, else of Cityscapes, else of its first.
{missing}"""
MEASURED = """* **time** and **step time**: of the same, measured on one machine ({machine}), as multiples of
  `segformer_mit-b0`'s. Processor time stands still while other programs have the processor, so that it depends less on
  them than a watch does; to what is left of it, `segformer_mit-b0` was measured anew before and after each large
  network and each few small ones. Two networks that differ by less than a tenth may have any order, and on other
  machines, with more threads or on a GPU, ratios are others: `intarsia models profile NAME --time` measures yours."""
NOT_MEASURED = (
    """* Times were not measured yet (`python benchmarks/models.py --time`, some hours of one processor core)."""
)


def advice() -> str:
    """Three sentences."""
    small, tiny, edge, frugal = map(find, ("segformer_mit-b0", "small_r18", "pidnet-s", "ddrnet_23-slim"))
    large, street, middle = best("ade20k"), best("cityscapes"), find("segnext_mscan-b")
    few = (
        f"With **few images of your own**, take a small network: `{small.name}` ({parameters(small)} million "
        f"parameters), or for a laptop `{tiny.name}` ({parameters(tiny)} million), which train from random weights "
        "within some hundred steps ([own-data.md](own-data.md) has results)."
    )
    device = (
        f"For an **edge device**, take `{edge.name}` ({score(edge, 'cityscapes')} on Cityscapes with "
        f"{multiply_adds(edge)} billion multiply-adds at 512 x 512) or `{frugal.name}` "
        f"({score(frugal, 'cityscapes')} with {multiply_adds(frugal)})."
    )
    accuracy = (
        f"For the **best accuracy**, take `{large.name}` ({score(large, 'ade20k')} on ADE20K with "
        f"{multiply_adds(large)} billion) or `{street.name}` ({score(street, 'cityscapes')} on Cityscapes with "
        f"{multiply_adds(street)}); `{middle.name}` has {score(middle, 'ade20k')} on ADE20K for "
        f"{multiply_adds(middle)} billion."
    )
    return "\n\n".join(wrapped(sentence) for sentence in (few, device, accuracy))


def wrapped(text: str) -> str:
    """Lines as long as the page's."""
    return textwrap.fill(text, 118, break_long_words=False, break_on_hyphens=False)


def best(data: str) -> Model:
    """The model with the best score."""
    return max((one for one in models() if one.best(data)), key=lambda one: goodness(one.best(data)))  # type: ignore[arg-type]


def parameters(one: Model) -> str:
    """Millions."""
    cost = one.cost()
    return "" if cost is None else facts.rounded(cost.parameters / 1e6)


def multiply_adds(one: Model) -> str:
    """Billions."""
    cost = one.cost()
    return "" if cost is None else facts.rounded(cost.multiply_adds / 1e9)


def score(one: Model, data: str) -> str:
    """The best of its checkpoints on a data set, or ""."""
    found = one.best(data)
    return "" if found is None else f"{found.score[1]:.2f}"


def cell(one: Model, data: str) -> str:
    """The best score on a data set, marked where it is the authors' word for a file that no name fetches."""
    stated = one.best_stated(data)
    return score(one, data) if stated is None else f"{stated.score:.2f}\\*"


def figures() -> list[str]:
    """Fields of costs that any model has."""
    return [field for field in facts.RELATIVE if any(one.times(field) for one in models())]


def head() -> str:
    """Everything above the tables."""
    reference = facts.cost(facts.REFERENCE)
    assert reference is not None
    assert reference.step_bytes is not None
    missing = [one.name for one in models() if one.cost() is None]
    names = ", ".join(f"`{name}`" for name in missing)
    left_out = f"* Not counted, since not all of their parts exist yet: {names}.\n" if missing else ""
    without_step = sum(one.cost() is not None and one.times("step_bytes") is None for one in models())
    if without_step:
        left_out += (
            f"* Step memory was not counted yet for {without_step} networks (`python benchmarks/models.py` goes on).\n"
        )
    return HEAD.format(
        advice=advice(),
        torch=facts.torch_version(),
        forward=reference.forward_bytes / 1e9,
        step=reference.step_bytes / 1e9,
        times=MEASURED.format(machine=facts.machine()) if facts.machine() else NOT_MEASURED,
        first=TITLES["ade20k"],
        second=TITLES["cityscapes"],
        missing=left_out,
    )


def sections() -> Iterator[str]:
    """The models by kind and method."""
    by_kind = groupby(models(), key=lambda one: one.network.method.kind if one.network.method else "")
    for kind, of_kind in by_kind:
        yield from (f"## {KINDS.get(kind, 'Of our own')}", "")
        for method, several in groupby(of_kind, key=lambda one: one.network.method):
            yield from section(method, list(several))


def section(method: Method | None, several: Sequence[Model]) -> Iterator[str]:
    """One method: its paper, its sizes, its checkpoints."""
    if method is None:
        yield from ("Nothing was published of it.", "")
    else:
        yield from (f"### {method.name}", "")
        yield from (f"{method.authors}: [{method.title}]({method.address}), {method.venue} {method.year}.", "")
    shown = figures()
    others = [data for data in dict.fromkeys(d for one in several for d in one.data) if data not in TITLES]
    rows = [
        (
            f"`{one.name}`" if one.network.own else f"*`{one.name}`*",
            parameters(one),
            multiply_adds(one),
            *(facts.rounded(value) if (value := one.times(field)) else "" for field in shown),
            *(cell(one, data) for data in TITLES),
        )
        for one in several
    ]
    yield from table(
        rows, "model", "params", "mult-adds", *(facts.RELATIVE[field] for field in shown), *TITLES.values()
    )
    if others:
        yield from (f"Recipes for {', '.join(others)} too.", "")
    yield from stated(several)
    found = [checkpoint for one in several for checkpoint in one.checkpoints]
    if found:
        yield from ("<details><summary>" + f"{len(found)} published checkpoint{'s' * (len(found) > 1)}</summary>", "")
        checkpoints = [(f"`{one.recipe}`", *scores(one.scores), f"[.pth]({one.address})") for one in found]
        yield from table(sorted(checkpoints), "name", "single images", "scales and mirrored", "weights")
        yield from ("</details>", "")


def stated(several: Sequence[Model]) -> Iterator[str]:
    """Who says what of scores that are marked, and whatever else there is to know of them."""
    marked = [found for one in several for data in TITLES if (found := one.best_stated(data)) is not None]
    if marked:
        sources = " and ".join(f"<{source}>" for source in dict.fromkeys(found.source for found in marked))
        notes: dict[str, list[str]] = {}
        for found in marked:
            notes.setdefault(found.note, []).append(f"{found.score:.2f}")
        said = "".join(f" {', '.join(of)}: {note}." for note, of in notes.items() if note)
        yield wrapped(f"\\* Stated by the authors ({sources}).{said}")
        yield ""


def scores(given: Any) -> tuple[str, str]:
    """Scores of single images, and those of several scales with mirror images."""
    several = [f"{value:g}" for name, value in given.items() if "ms" in name]
    return ", ".join(f"{name} {value:g}" for name, value in given.items() if "ms" not in name), ", ".join(several)


def table(rows: Sequence[Sequence[str]], *titles: str) -> Iterator[str]:
    """A Markdown table, numbers to the right, and an empty line."""
    yield "| " + " | ".join(titles) + " |"
    yield "| --- |" + " ---: |" * (len(titles) - 1)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


def render() -> str:
    """The whole page."""
    return head() + "\n" + "\n".join(sections()).rstrip() + "\n"


def points(data: str) -> list[tuple[str, str, float, float]]:
    """Name, kind, billions of multiply-adds and score of every model that has both."""
    found = []
    for one in models():
        cost, checkpoint = one.cost(data), one.best(data)
        if cost is not None and checkpoint is not None and one.network.method is not None:
            found.append((one.name, one.network.method.kind, cost.multiply_adds / 1e9, checkpoint.score[1]))
    return found


def frontier(given: Sequence[tuple[str, str, float, float]]) -> list[tuple[str, str, float, float]]:
    """Those that nothing beats at the same cost or less, the cheapest first."""
    found: list[tuple[str, str, float, float]] = []
    for point in sorted(given, key=lambda point: (point[2], -point[3])):
        if not found or point[3] > found[-1][3]:
            found.append(point)
    return found


def draw(data: str, path: Path) -> None:
    """Scores against multiply-adds. What was drawn stands in the picture's description, for the test."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    given = points(data)
    settings = {"svg.fonttype": "none", "svg.hashsalt": "intarsia", "font.size": 9, "font.family": "sans-serif"}
    with mpl.rc_context(settings):
        figure = Figure(figsize=(8.4, 5.2), layout="constrained")
        axes = figure.subplots()
        for kind, (colour, shape) in MARKS.items():
            several = [point for point in given if point[1] == kind]
            if several:
                x, y = [point[2] for point in several], [point[3] for point in several]
                axes.scatter(x, y, s=30, c=colour, marker=shape, linewidths=0.4, edgecolors="white", label=KINDS[kind])
        front = frontier(given)
        axes.step([p[2] for p in front], [p[3] for p in front], where="post", color="#777777", linewidth=0.8, zorder=0)
        for name, _, x, y in front:
            axes.annotate(
                shortened(name), (x, y), (-3, 4), textcoords="offset points", fontsize=7, rotation=-35, ha="right",
                rotation_mode="anchor",
            )  # fmt: skip
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("billions of multiply-adds, one image of 512 x 512")
        axes.set_ylabel(f"mIoU on {TITLES[data]}, percent")
        axes.grid(visible=True, which="major", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.15 * (high - low))  # room for names above and to the left
        axes.set_xlim(axes.get_xlim()[0] / 1.6, None)
        axes.legend(loc="lower right", fontsize=8, framealpha=0.9)
        figure.savefig(path, metadata={"Date": None, "Description": described(data)} if path.suffix == ".svg" else None)


def shortened(name: str) -> str:
    """A name without what it says of the start weights."""
    return re.sub(r"-in\d+k(-\d+x\d+)?-pre", "", name)


def described(data: str) -> str:
    """The points as text."""
    return json.dumps([[name, kind, float(f"{x:.4g}"), y] for name, kind, x, y in points(data)])


def main() -> None:
    """Write the page and the pictures."""
    TARGET.write_text(render(), encoding="utf-8")
    for data, path in PICTURES.items():
        draw(data, path)
        print(f"wrote {path}")
    print(f"wrote {TARGET}")


if __name__ == "__main__":
    main()
