"""The report page: well-formed, closed in itself, bounded in size, and immune to what things are called."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from intarsia.colours import distinct_colours
from intarsia.visual.report import tables
from intarsia.visual.report.charts import Dot, histogram, reliability, scatter
from intarsia.visual.report.content import Bins, Example, ImageEntry, ReportContent
from intarsia.visual.report.examples import confidence_picture
from intarsia.visual.report.markup import PICTURE_BYTES, jpeg, number, percent, text
from intarsia.visual.report.page import MOST_EXAMPLES, report_page, save_report

NASTY = (
    "<script>alert(1)</script>",
    '" onmouseover="alert(2)',
    "'><img src=x onerror=alert(3)>",
    "]]>&amp;",
    "a\x00b\ud800",
)
VOID = {"meta", "img", "br", "link", "input"}


def content(
    classes: int = 4, images: int = 6, examples: int = 1, *, names: tuple[str, ...] = (), noisy: bool = False
) -> ReportContent:
    """A plausible evaluation; one class is absent from the labels, one image has no labelled pixel."""
    rng = np.random.default_rng(classes)
    matrix = rng.integers(0, 50, (classes, classes)) + np.diag(rng.integers(100, 9000, classes))
    matrix[-1] = 0
    named = names + tuple(f"class {i}" for i in range(classes - len(names)))
    entries = [ImageEntry(f"scene/{i:04d}", float(rng.random()), float(rng.random())) for i in range(images)]
    entries[-1] = ImageEntry(names[0] if names else "void", math.nan, math.nan)
    counts = matrix.astype(float)
    hit, labelled, predicted = np.diagonal(counts), counts.sum(1), counts.sum(0)
    with np.errstate(invalid="ignore"):
        scores = {"IoU": hit / (labelled + predicted - hit), "Precision": hit / predicted, "Recall": hit / labelled}
    scores["BoundaryIoU"] = scores["IoU"] * 0.7
    pixels = np.array([0, 10, 500, 9000])
    bins = Bins(pixels, np.array([math.nan, 0.3, 0.6, 0.9]), np.array([math.nan, 0.4, 0.65, 0.95]), 0.05)
    return ReportContent(
        title="Evaluation of first",
        subtitle=f"{images} images",
        classes=named,
        palette=distinct_colours(classes),
        summary={
            "mIoU": float(np.nanmean(scores["IoU"])),
            "kappa": 0.5,
            "ECE": 0.05,
            "IoU(ground)": 0.25,
            "imageDice(ground)": 0.375,
        },
        scores=scores,
        matrix=matrix,
        interval=(0.2, 0.4),
        class_intervals=np.stack([scores["IoU"] - 0.05, scores["IoU"] + 0.05]),
        bins=bins,
        images=tuple(entries),
        worst=tuple(example(rng, entries[i % images], classes, noisy) for i in range(examples)),
        best=tuple(example(rng, entries[i % images], classes, noisy) for i in range(examples)),
        facts={"Weights": {"file": "first/weights.safetensors", "parameters": "1,234"}},
    )


def example(rng: np.random.Generator, entry: ImageEntry, classes: int, noisy: bool) -> Example:
    size = (360, 480) if noisy else (24, 32)
    block = 1 if noisy else 8
    small = rng.integers(0, classes, (-(-size[0] // block), -(-size[1] // block)))
    truth = small.repeat(block, 0).repeat(block, 1)[: size[0], : size[1]].astype(np.uint8)
    prediction = np.where(rng.random(size) < 0.8, truth, 0).astype(np.uint8)
    truth[:3] = 255
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    return Example(entry, image, truth, prediction, rng.random(size, dtype=np.float32))


@dataclass
class Page(HTMLParser):
    """What a page holds, with an error for every tag that is not closed in order."""

    source: str
    ids: list[str] = field(default_factory=list)
    tags: Counter[str] = field(default_factory=Counter)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    _open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.feed(self.source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag == "tr":
            self.rows.append(0)
        elif tag in ("td", "th"):
            self.rows[-1] += 1
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def values(self, *names: str) -> list[str]:
        return [value for _, name, value in self.attributes if name in names]


# --- The whole page -----------------------------------------------------------------------------------------------


def test_the_page_is_whole_and_closed_in_itself() -> None:
    page = Page(report_page(content()))
    assert page.source.startswith("<!DOCTYPE html>")
    assert len(page.ids) == len(set(page.ids))
    assert {"scores", "classes", "confusion", "images", "calibration", "worst", "best", "facts"} == set(page.ids)
    assert {link[1:] for link in page.values("href")} == set(page.ids)
    assert all(link.startswith("data:image/jpeg;base64,") for link in page.values("src"))
    assert not re.search(r"https?:|url\(|@import|//[a-z]", re.sub(r"base64,[^\"]+", "", page.source))
    assert page.tags["script"] == page.tags["style"] == 1
    assert not {"iframe", "link", "object", "embed", "form", "base"} & set(page.tags)
    assert page.tags["img"] == 2 * 5
    said = " ".join(" ".join(page.words).split())
    for expected in (
        "Evaluation of first",
        "Cohen's kappa",
        "IoU(ground)",
        "imageDice(ground) 37.50 %",
        "not in the labels",
        "All 6 images by name",
    ):
        assert expected in said


def test_tables_are_rectangular() -> None:
    for table in re.findall(r"<table.*?</table>", report_page(content()), re.DOTALL):
        assert len(set(Page(table).rows)) == 1


def test_only_its_own_script_may_run() -> None:
    page = report_page(content())
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in page


def test_names_are_never_markup(tmp_path: Path) -> None:
    harmless, nasty = content(classes=6), content(classes=6, names=NASTY)
    facts = {NASTY[0]: {NASTY[1]: NASTY[2]}}
    nasty = replace(
        nasty,
        title=NASTY[0],
        subtitle=NASTY[2],
        facts=facts,
        summary={**nasty.summary, f"IoU({NASTY[0]})": 0.5},
        images=tuple(replace(entry, name=NASTY[i % 5]) for i, entry in enumerate(nasty.images)),
        worst=tuple(replace(e, entry=replace(e.entry, name=NASTY[4])) for e in nasty.worst),
    )
    harmless = replace(harmless, facts={"a": {"b": "c"}}, summary={**harmless.summary, "IoU(x)": 0.5})
    first, second = Page(report_page(harmless)), Page(report_page(nasty))
    assert first.tags == second.tags
    assert {name for _, name, _ in first.attributes} == {name for _, name, _ in second.attributes}
    said = "".join(second.words)
    assert "<script>alert(1)</script>" in said
    assert '" onmouseover="alert(2)' in said
    assert "a\ufffdb\ufffd" in said
    assert "\x00" not in save_report(tmp_path / "page.html", nasty).read_text(encoding="utf-8")


def test_numbers_on_the_page_are_those_of_the_evaluation() -> None:
    given = content()
    said = re.sub(r"<[^>]+>", " ", report_page(given))
    for score in ("IoU", "BoundaryIoU", "Precision", "Recall"):
        for value in given.scores[score]:
            assert percent(float(value)) in said
    assert percent(given.summary["mIoU"], 2) in said
    wrong = given.matrix.copy()
    np.fill_diagonal(wrong, 0)
    truth, predicted = np.unravel_index(int(wrong.argmax()), wrong.shape)
    first = re.search(r"What costs most</h3>.*?<tbody><tr>(.*?)</tr>", report_page(given), re.DOTALL)
    assert first is not None
    cells = Page(first[1].join(("<table><tr>", "</tr></table>"))).words
    assert cells[:3] == [f"class {truth}", f"class {predicted}", number(wrong.max())]


def test_what_is_not_there_is_left_out() -> None:
    given = content()
    bare = replace(
        given, scores={"IoU": given.scores["IoU"]}, interval=None, class_intervals=None, bins=None, images=(), worst=(),
        best=(), facts={},
    )  # fmt: skip
    page = Page(report_page(bare))
    assert set(page.ids) == {"scores", "classes", "confusion"}
    assert page.tags["svg"] == page.tags["img"] == 0


# --- Size ---------------------------------------------------------------------------------------------------------


def test_size_of_500_images_and_150_classes_at_worst() -> None:
    """Pictures of noise, which no JPEG can make small, and more of them than the page takes."""
    page = report_page(content(classes=150, images=500, examples=3, noisy=True))
    pictures = re.findall(r"data:image/jpeg;base64,([^\"]+)\"", page)
    assert len(pictures) == 2 * 3 * 5
    assert max(map(len, pictures)) <= math.ceil(PICTURE_BYTES / 3) * 4
    others = len(page) - sum(map(len, pictures))
    assert others + 2 * MOST_EXAMPLES * 5 * math.ceil(PICTURE_BYTES / 3) * 4 < 20e6


def test_no_more_examples_than_fit() -> None:
    page = report_page(content(images=60, examples=MOST_EXAMPLES + 3))
    assert page.count("<article>") == 2 * MOST_EXAMPLES


def test_pictures_are_as_good_as_fits() -> None:
    flat = np.full((300, 400, 3), (200, 30, 90), np.uint8)
    shown = np.asarray(Image.open(io.BytesIO(jpeg(flat))))
    assert np.abs(shown.astype(int) - flat).max() < 6  # red stays red
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    small = jpeg(noise, 4000)
    assert len(small) <= 4000
    assert Image.open(io.BytesIO(small)).width < 400


# --- Parts --------------------------------------------------------------------------------------------------------


def test_charts_are_pictures_within_their_frame() -> None:
    dots = [Dot(0.0, 1.0, "<b>", (1, 2, 3)), Dot(math.nan, 0.5, "absent", (0, 0, 0)), Dot(0.7, 0.2, "b", (9, 9, 9))]
    bins = content().bins
    assert bins is not None
    charts = (
        histogram([0.0, 0.2, 0.2, 1.0, math.nan]), histogram([math.nan]), reliability(bins),
        scatter(dots, x="precision", y="recall", curves=True), scatter(dots, x="IoU", y="boundary IoU"),
    )  # fmt: skip
    for chart in charts:
        tree = ET.fromstring(chart)
        width, height = (float(part) for part in tree.attrib["viewBox"].split()[2:])
        for element in tree.iter():
            for name, value in element.attrib.items():
                if name in ("x", "x1", "x2", "cx"):
                    assert 0 <= float(value) <= width
                elif name in ("y", "y1", "y2", "cy"):
                    assert 0 <= float(value) <= height
                elif name in ("width", "height"):
                    assert float(value) >= 0
    assert charts[0].count("<rect") == 3
    assert charts[3].count("<circle") == 2


def test_the_matrix_shows_each_class_that_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    given = content(classes=5)
    assert "left out" not in tables.matrix_table(given)
    monkeypatch.setattr(tables, "MOST_CLASSES", 3)
    small = tables.matrix_table(given)
    assert "2 classes with the fewest pixels are left out" in small
    chosen = tables.matrix_classes(given.matrix)
    pixels = given.matrix.sum(0) + given.matrix.sum(1)
    assert min(pixels[chosen]) >= max(np.delete(pixels, chosen))
    monkeypatch.setattr(tables, "WRITTEN_OUT", 2)
    coloured = tables.matrix_table(given)
    assert 'class="matrix numbers"' in small
    assert 'class="matrix"' in coloured
    assert "% of class" in coloured  # on hovering


def test_cells_of_the_matrix_are_shares_of_their_row() -> None:
    matrix = np.array([[75, 25], [0, 8]])
    given = replace(content(classes=2), matrix=matrix)
    cells = re.findall(r"<td([^>]*)>([^<]*)</td>", tables.matrix_table(given))
    assert [shown for _, shown in cells] == ["75", "25", "", "100"]
    assert 'title="25.00 % of class 0 predicted as class 1"' in cells[1][0]
    assert 'class="miss"' in cells[1][0]
    assert "--depth:0.50" in cells[1][0]


def test_confidence_is_dark_where_it_is_high() -> None:
    picture = confidence_picture(np.array([[0.0, 0.5, 1.0, math.nan]]))
    brightness = picture.astype(int).sum(axis=2)[0]
    assert brightness[0] > brightness[1] > brightness[2]
    assert brightness[3] == brightness[0]


def test_text_and_numbers() -> None:
    assert text("<a href='x'>&") == "&lt;a href=&#x27;x&#x27;&gt;&amp;"
    assert percent(0.12345, 2) == "12.35"
    assert percent(math.nan) == "\u2013"
    assert number(1234567) == "1\u202f234\u202f567"


# --- The script; test_report_browser.py looks at the whole page ----------------------------------------------------

STAND_IN = """
const el = (text, value) => ({ textContent: text, dataset: value === undefined ? {} : { value }, childNodes: [text] });
const head = () => ({ childNodes: ["h"], attributes: {}, append(b) { this.button = b; },
  getAttribute(n) { return this.attributes[n]; }, setAttribute(n, v) { this.attributes[n] = v; },
  removeAttribute(n) { delete this.attributes[n]; } });
const heads = [head(), head()];
const rows = [["b10", "0.5"], ["b9", ""], ["a", "0.25"], ["c", "1"]].map(([a, b]) => ({ cells: [el(a), el(b, b)] }));
const body = { rows, append(...order) { this.rows = order; } };
const sorted = () => heads.filter((head) => head.attributes["aria-sort"]);
const table = { tBodies: [body], querySelectorAll: (q) => (q === "thead th" ? heads : sorted()) };
globalThis.document = { querySelectorAll: () => [table], documentElement: { dataset: {} },
  createElement: () => ({ append() {}, addEventListener(_, f) { this.click = f; } }) };
"""
CLICKS = """
const order = () => body.rows.map((row) => row.cells[0].textContent).join(" ");
for (const head of [heads[1], heads[1], heads[0]]) {
  head.button.click();
  console.log(order(), head.attributes["aria-sort"]);
}
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="no JavaScript outside a browser: node is not installed")
def test_the_script_sorts(tmp_path: Path) -> None:
    script = re.search(r"<script>(.*?)</script>", report_page(content()), re.DOTALL)
    assert script is not None
    (tmp_path / "sort.js").write_text(f"{STAND_IN}\n{{ {script[1]} }}\n{CLICKS}")
    done = subprocess.run(["node", str(tmp_path / "sort.js")], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["c b10 a b9 descending", "a b10 c b9 ascending", "c b10 b9 a descending"]
