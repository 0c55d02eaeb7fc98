"""The report in a headless Chromium: no error, no request, every picture there, no overflow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from browser import Browser, needs_chromium
from test_report_page import NASTY, content

from intarsia.visual.report.page import MOST_EXAMPLES, save_report

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    found = Browser(tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


PICTURES = """
Promise.all([...document.images].map(async (image) => {
  image.loading = "eager";
  await image.decode();
  return [image.naturalWidth, image.naturalHeight, image.alt];
}))
"""
WIDER_THAN_THE_PAGE = """
[...document.querySelectorAll("body *")]
  .filter((e) => e.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5 && !e.closest(".scroll"))
  .map((e) => e.tagName + "." + e.className)
"""
CUT_WORDS = """
[...document.querySelectorAll("h1, h2, h3, dt, dd, td, figcaption, .note, nav a")]
  .filter((e) => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== "inline")
  .map((e) => e.textContent)
"""


def test_the_page_is_shown_without_a_word_and_without_a_request(browser: Browser, tmp_path: Path) -> None:
    file = save_report(tmp_path / "report.html", content(classes=6, examples=2, names=NASTY))
    browser.resize(1280)
    browser.open(file)
    assert browser.complaints() == []
    assert browser.requests() == [file.as_uri()]
    pictures = browser.evaluate(PICTURES)
    assert len(pictures) == 2 * 2 * 5
    assert {(width, height) for width, height, _ in pictures} == {(32, 24)}
    kinds = ("image of ", "truth of ", "prediction of ", "errors of ", "confidence of ")
    assert [alt.startswith(kind) for (*_, alt), kind in zip(pictures, kinds * 4, strict=True)] == [True] * 20
    assert browser.evaluate("document.documentElement.dataset.script") == "ran"
    assert browser.evaluate("[...document.querySelectorAll('section')].every((s) => s.offsetHeight > 40)")


def test_complaints_and_requests_would_be_seen(browser: Browser, tmp_path: Path) -> None:
    """What the other tests find nothing of."""
    (tmp_path / "bad.html").write_text(
        "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; script-src 'unsafe-inline'\">"
        "<img src=https://example.invalid/a.png><script>console.log('x'); missing()</script>"
    )
    browser.open(tmp_path / "bad.html")
    said = " ".join(browser.complaints())
    assert "Content Security Policy" in said
    assert "missing is not defined" in said
    (tmp_path / "asking.html").write_text("<img src=absent.png>")
    browser.open(tmp_path / "asking.html")
    assert (tmp_path / "absent.png").as_uri() in browser.requests()


@pytest.mark.parametrize("width", [1280, 400, 320])
def test_nothing_sticks_out(browser: Browser, tmp_path: Path, width: int) -> None:
    long = ("a rather long name of a class that many data sets have, such as a wall with windows", "x" * 60)
    given = content(classes=19, examples=2, names=long)
    facts = {"Weights": {"SHA-256": "0123456789abcdef" * 4, "network": "EncoderDecoder: ResNetV1c, ASPPHead"}}
    worst = tuple(replace(e, entry=replace(e.entry, name="street/" + "long_name_" * 12)) for e in given.worst)
    file = save_report(tmp_path / "report.html", replace(given, facts=facts, worst=worst, title="Evaluation " * 12))
    browser.resize(width)
    browser.open(file)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate(WIDER_THAN_THE_PAGE) == []
    assert browser.evaluate(CUT_WORDS) == []
    side_by_side = "new Set([...document.querySelector('.panes').children].map((f) => f.offsetTop)).size"
    assert browser.evaluate(side_by_side) == {1280: 1, 400: 3, 320: 5}[width]
    browser.evaluate(PICTURES)
    seen = browser.screenshot(f"report_{width}")
    assert seen.shape[1] == width
    assert seen.std() > 10


def test_a_click_sorts_and_the_dark_is_dark(browser: Browser, tmp_path: Path) -> None:
    file = save_report(tmp_path / "report.html", content(classes=12))
    browser.resize(1280)
    browser.open(file)
    column = "[...document.querySelectorAll('.classes tbody tr')].map((row) => Number(row.cells[2].dataset.value))"
    before = browser.evaluate(column)
    browser.evaluate("document.querySelectorAll('.classes thead button')[2].click()")
    assert browser.evaluate(column) == sorted(before, reverse=True) != before
    light = browser.screenshot("report_light")
    browser.resize(1280, dark=True)
    dark = browser.screenshot("report_dark")
    assert light[:40].mean() > 240
    assert dark[:40].mean() < 40
    contrast = """
      (([a, b]) => { const l = (c) => c.match(/[\\d.]+/g).slice(0, 3).reduce((s, v, i) => s + [.2126, .7152, .0722][i] *
        (v / 255 <= .03928 ? v / 255 / 12.92 : ((v / 255 + .055) / 1.055) ** 2.4), 0);
        return (Math.max(l(a), l(b)) + .05) / (Math.min(l(a), l(b)) + .05); })
      ([getComputedStyle(document.querySelector('figcaption')).color, getComputedStyle(document.body).backgroundColor])
    """
    assert browser.evaluate(contrast) > 4.5  # WCAG AA, for the faintest words
    browser.resize(1280)
    assert browser.evaluate(contrast) > 4.5
    assert browser.complaints() == []


@pytest.mark.slow
def test_the_largest_page_is_below_20_mb_and_opens(browser: Browser, tmp_path: Path) -> None:
    """500 images, 150 classes, all examples there can be, of noise, which compresses worst."""
    file = save_report(tmp_path / "report.html", content(150, 500, MOST_EXAMPLES, noisy=True))
    assert file.stat().st_size < 20e6
    browser.resize(1280)
    browser.open(file)
    assert len(browser.evaluate(PICTURES)) == 2 * MOST_EXAMPLES * 5
    assert browser.evaluate("document.querySelectorAll('details tbody tr').length") == 500
    assert browser.evaluate("document.querySelectorAll('.matrix tbody tr').length") == 150
    browser.screenshot("report_150")
    assert browser.complaints() == []
    assert browser.requests() == [file.as_uri()]
