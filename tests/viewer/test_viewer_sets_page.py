"""The page in a headless Chromium where a pixel may have several classes: drawn and hidden one by one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, needs_chromium
from test_viewer_page import colour, given, names, opened, press, text, until
from viewed_scenes import serving
from viewed_sets import collected, paint

from intarsia.data.description.read import read_description
from intarsia.viewer.server import ViewerServer

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    found = Browser(tmp_path_factory.mktemp("profile"))
    found.do("Emulation.setDeviceMetricsOverride", width=1200, height=800, deviceScaleFactor=1, mobile=False)
    yield found
    found.close()


def test_colours_are_mixed_and_classes_hidden_one_by_one(browser: Browser, tmp_path: Path) -> None:
    dataset = read_description(paint(tmp_path / "plants")).dataset("train")
    with serving(ViewerServer(collected(dataset, 100), title="plants")) as server:
        opened(browser, server, 1)
        both, leaf, spot, mislabelled = (20, 10), (5, 10), (40, 10), (40, 25)
        press(browser, "1")
        assert colour(browser, *both) == [100, 50, 25, 255]
        assert colour(browser, *leaf) == [200, 0, 0, 255]
        assert colour(browser, *spot) == [0, 100, 50, 255]
        assert colour(browser, *mislabelled) == [0, 100, 50, 255]
        assert colour(browser, 55, 35)[3] == 0  # no class
        press(browser, "3")
        assert colour(browser, *mislabelled) == [228, 30, 38, 255]
        assert colour(browser, *both)[3] < 255
        button = "[...document.querySelectorAll('#legend button')].find((e) => e.textContent === 'spot')"
        browser.evaluate(f"{button}.click()")
        assert colour(browser, *mislabelled)[3] < 255  # of leaves alone, nothing is wrong there
        press(browser, "1")
        assert colour(browser, *both) == [200, 0, 0, 255]
        assert colour(browser, *spot)[3] == 0
        browser.evaluate(f"{button}.click()")
        rows = browser.evaluate("[...document.querySelectorAll('#legend tr')].map((e) => e.textContent)")
        assert rows == ["mean75.0", "leaf100.0", "spot50.0"]
        browser.evaluate(
            "{ const pane = document.querySelector('.pane'), at = pane.getBoundingClientRect();"
            "const shown = pane.querySelector('canvas').getBoundingClientRect();"
            "const x = shown.left + shown.width * 20.5 / 60, y = shown.top + shown.height * 10.5 / 40;"
            "pane.dispatchEvent(new PointerEvent('pointermove', {clientX: x, clientY: y, bubbles: true})); }"
        )
        assert text(browser, "#pixel").startswith("20, 10  \u00b7  truth leaf + spot")
        given(browser, "class", "1")
        given(browser, "place", "wrong")
        until(browser, "document.getElementById('count').textContent === '1 of 3 images'")
        assert names(browser) == ["x1"]
        assert browser.complaints() == []
        assert browser.screenshot("view_sets").std() > 10
