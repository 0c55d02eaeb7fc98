"""The page itself: sections put together, with the style and the script inside.

The page loads nothing: its content security policy forbids every address but pictures inside it, and every script but
the one of `sort.js`, known by its hash. What a class or a file is called can therefore not run, even if it got past
`markup.text`. Without the script everything is there but the sorting.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path

from intarsia.contracts import PathLike
from intarsia.io.whole_files import write_text
from intarsia.visual.report.charts import Dot, histogram, pixel_shares, reliability, scatter
from intarsia.visual.report.content import ReportContent
from intarsia.visual.report.examples import confidence_key, example_list
from intarsia.visual.report.markup import interval, level, number, percent, section, text
from intarsia.visual.report.tables import (
    class_table,
    confusion_table,
    fact_list,
    image_table,
    matrix_table,
    quantile_table,
)

MOST_EXAMPLES = 24
"""Images shown as the worst, and as the best: with `markup.PICTURE_BYTES`, what keeps the page below 20 MB."""

NAMES = {
    "mIoU": "mIoU",
    "aAcc": "pixel accuracy",
    "mAcc": "mean accuracy",
    "mFscore": "mean F-score",
    "mFscore_mmseg": "mean F-score as MMSegmentation has it",
    "mPrecision_mmseg": "mean precision as MMSegmentation has it",
    "mBoundaryIoU": "boundary mIoU",
    "fwIoU": "frequency-weighted IoU",
    "kappa": "Cohen's kappa",
    "imageIoU": "mIoU per image",
    "ECE": "calibration error",
    "microIoU": "IoU over all classes together",
    "microDice": "Dice over all classes together",
    "exact": "pixels with exactly their classes",
    "loss": "validation loss",
}
"""Scores of the summary that are shown on top, and what they are called there. Group scores follow them."""

SHARES = frozenset(NAMES) - {"loss", "ECE"}
"""Those of them of which more is better and 1 is all: they have a bar."""

OF_ONE = ("IoU(", "Dice(", "imageDice(")
"""How scores of a group or of a foreground begin, which are shown behind those, by their own names."""


def save_report(path: PathLike, content: ReportContent) -> Path:
    """Write the page. Returns its path."""
    return write_text(path, report_page(content))


def report_page(content: ReportContent) -> str:
    """The whole page as text."""
    return document(content.title, content.subtitle, _sections(content))


def document(title: str, subtitle: str, sections: Mapping[str, tuple[str, str]]) -> str:
    """A page that needs no other file and asks nobody for anything.

    title, subtitle: plain text. sections: anchor -> title as plain text, and its HTML as `markup.section` gives it.
    """
    links = " ".join(f'<a href="#{key}">{text(name)}</a>' for key, (name, _) in sections.items())
    body = "\n".join(html for _, html in sections.values())
    script = _asset("sort.js")
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{text(title)}</title>
<style>{_asset("style.css")}</style>
</head>
<body>
<header class="top"><h1>{text(title)}</h1>
<p>{text(subtitle)}</p>
<nav>{links}</nav></header>
<main>
{body}
</main>
<script>{script}</script>
</body>
</html>
"""


@cache
def _asset(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")


def _sections(content: ReportContent) -> Mapping[str, tuple[str, str]]:
    """Anchor -> title and HTML of each section that there is something for."""
    found = {
        "scores": ("Scores", _tiles(content)),
        "classes": ("Classes", _classes(content)),
        "confusion": ("Confusion", _confusion(content)),
        "images": ("Images", _images(content)),
        "calibration": ("Calibration", _calibration(content)),
        "worst": ("Worst images", _examples(content, "worst")),
        "best": ("Best images", _examples(content, "best")),
        "facts": ("Facts", fact_list(content.facts) if content.facts else ""),
    }
    return {key: (title, section(key, title, html)) for key, (title, html) in found.items() if html}


def _tiles(content: ReportContent) -> str:
    tiles = []
    shown = {name: label for name, label in NAMES.items() if name in content.summary}
    shown |= {name: name for name in content.summary if name.startswith(OF_ONE)}
    for name, label in shown.items():
        value = content.summary[name]
        figure = f"{value:.4f}" if name in ("kappa", "loss") and math.isfinite(value) else percent(value, 2)
        note = "" if name in ("kappa", "loss") else "<small>%</small>"
        if name == "mIoU" and content.interval is not None:
            low, high = content.interval
            note += f'<span class="note">95 % interval <span>{interval(low, high)}</span></span>'
        main = ' class="main"' if name == "mIoU" else ""
        bar = level(value) if name in SHARES or name.startswith(OF_ONE) else ""
        tiles.append(f"<div{main}><dt>{text(label)}</dt><dd>{figure}{note}</dd>{bar}</div>")
    return f'<dl class="tiles">{"".join(tiles)}</dl>'


def _dots(content: ReportContent, x: str, y: str) -> list[Dot]:
    return [
        Dot(float(content.scores[x][index]), float(content.scores[y][index]), name, content.palette[index])
        for index, name in enumerate(content.classes)
    ]


def _figure(chart: str, caption: str) -> str:
    return f"<figure>{chart}<figcaption>{text(caption)}</figcaption></figure>"


def _classes(content: ReportContent) -> str:
    charts = []
    if {"Precision", "Recall"} <= set(content.scores):
        dots = _dots(content, "Precision", "Recall")
        said = "Precision and recall of every class: right of the lines, the F-score is higher. "
        said += "Low recall: pixels of the class are missed; low precision: others are taken for it."
        charts.append(_figure(scatter(dots, x="precision", y="recall", curves=True), said))
    if {"IoU", "BoundaryIoU"} <= set(content.scores):
        dots = _dots(content, "IoU", "BoundaryIoU")
        said = "Boundary IoU counts only pixels within 2 % of the image's diagonal of a contour. "
        said += "Far below the diagonal: the class is found, and its outline is not."
        charts.append(_figure(scatter(dots, x="IoU", y="boundary IoU"), said))
    return class_table(content) + (f'<div class="charts">{"".join(charts)}</div>' if charts else "")


def _confusion(content: ReportContent) -> str:
    said = (
        "Where the pixels of each true class went, in percent of its pixels; the depth of a colour is its square root."
    )
    return f"<p>{said}</p>" + matrix_table(content) + "<h3>What costs most</h3>" + confusion_table(content)


def _images(content: ReportContent) -> str:
    if not content.images:
        return ""
    scores = [entry.iou for entry in content.images]
    left_out = sum(math.isnan(score) for score in scores)
    said = "The mIoU of an image is the mean over the classes in its truth or its prediction."
    if left_out:
        said += f" {number(left_out)} without a labelled pixel are left out."
    chart = f'<div class="charts">{_figure(histogram(scores), said)}</div>'
    return chart + quantile_table(scores) + image_table(content.images)


def _calibration(content: ReportContent) -> str:
    bins = content.bins
    if bins is None:
        return ""
    said = "Of the pixels with a confidence, the share that is right; it should be as high as the line. "
    said += f"The gap, on average over the pixels, is the expected calibration error: {percent(bins.error, 2)} %."
    where = "How sure the network is of its labels."
    return f'<div class="charts">{_figure(reliability(bins), said)}{_figure(pixel_shares(bins), where)}</div>'


def _examples(content: ReportContent, which: str) -> str:
    chosen = (content.worst if which == "worst" else content.best)[:MOST_EXAMPLES]
    if not chosen:
        return ""
    key = confidence_key() if any(example.confidence is not None for example in chosen) else ""
    return key + example_list(chosen, content)
