"""The report in a headless Chromium, spoken to through a pipe: no error, no request, every picture there, no overflow.

Screenshots are kept where INTARSIA_SCREENSHOTS says, for people to look at.
"""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_report_page import NASTY, content

from intarsia.visual.report.page import MOST_EXAMPLES, save_report

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"))), None
)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no headless browser: chromium or google-chrome is not installed"),
    pytest.mark.skipif(sys.platform == "win32", reason="the browser's pipe has the file descriptors 3 and 4"),
]


class Browser:
    """Chromium's DevTools protocol over its pipe: JSON messages that end with a zero byte.

    events: all that the browser reported. One page, which answers to `do`.
    """

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM is not None
        inward, self._out = os.pipe()
        self._in, outward = os.pipe()
        for end in (inward, outward):  # out of the way of 3 and 4
            assert end > 4 or os.dup2(end, end) == end

        def connect() -> None:
            first, second = os.dup(inward), os.dup(outward)
            os.dup2(first, 3)
            os.dup2(second, 4)

        words = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe"]
        self._process = subprocess.Popen(
            [CHROMIUM, *words, f"--user-data-dir={profile}", "about:blank"],
            preexec_fn=connect,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(inward)
        os.close(outward)
        self.events: list[dict[str, Any]] = []
        self._buffer, self._number, self._session = b"", 0, ""
        target = self.do("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.do("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.do(f"{domain}.enable")

    def do(self, method: str, **params: Any) -> dict[str, Any]:
        """One command; gives its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            block = os.read(self._in, 1 << 20)
            assert block, "the browser has gone"
            self._buffer += block
        message, _, self._buffer = self._buffer.partition(b"\0")
        parsed: dict[str, Any] = json.loads(message)
        return parsed

    def open(self, file: Path) -> None:
        """Show a file and wait until it is loaded."""
        self.events.clear()
        self.do("Page.navigate", url=file.as_uri())
        deadline = time.monotonic() + 60
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            assert time.monotonic() < deadline, f"{file} is not loaded after a minute"
            self.evaluate("document.readyState")

    def evaluate(self, script: str) -> Any:
        """The value of a script, or of the promise that it gives."""
        found = self.do("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def resize(self, width: int, *, dark: bool = False) -> None:
        """The size of the window, and whether its owner likes it dark."""
        self.do("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.do("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, name: str) -> np.ndarray:
        """The whole page (H, W, 3), at most 8000 pixels of it."""
        size = self.do("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 8000), "scale": 1}
        shot = base64.b64decode(self.do("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"])
        if folder := os.environ.get("INTARSIA_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            (Path(folder) / f"{name}.png").write_bytes(shot)
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"))

    def complaints(self) -> list[str]:
        """Errors and warnings of the console, scripts that failed, and what the content security policy forbade."""
        self.evaluate("0")  # by now all earlier events are here
        found = []
        for event in self.events:
            method, params = event.get("method"), event.get("params", {})
            if method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                found.append(params["entry"]["text"])
            elif method == "Runtime.exceptionThrown":
                found.append(str(params["exceptionDetails"]))
            elif method == "Runtime.consoleAPICalled":
                found.append(str(params["args"]))
        return found

    def requests(self) -> list[str]:
        """Addresses that were asked for, without those that are in the page."""
        self.evaluate("0")
        urls = [e["params"]["request"]["url"] for e in self.events if e.get("method") == "Network.requestWillBeSent"]
        return [url for url in urls if not url.startswith("data:")]

    def close(self) -> None:
        """End the browser."""
        os.close(self._out)
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._in)


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
