"""The page in a headless Chromium: what is seen, what keys and clicks do, and that nothing is complained about."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import CHROMIUM, Browser, needs_chromium
from viewed_scenes import Counting, paint, predictor, serving

from intarsia.data.description.read import read_description
from intarsia.viewer.class_editor import ClassEditor
from intarsia.viewer.samples import Collection, Run
from intarsia.viewer.server import ViewerServer

pytestmark = needs_chromium
Make = Callable[..., Collection]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    found = Browser(tmp_path_factory.mktemp("profile"))
    found.do("Emulation.setDeviceMetricsOverride", width=1200, height=800, deviceScaleFactor=1, mobile=False)
    yield found
    found.close()


def until(browser: Browser, condition: str, what: str = "") -> Any:
    """Wait until a script gives something true, and give that."""
    deadline = time.monotonic() + 30
    while not (value := browser.evaluate(condition)):
        assert time.monotonic() < deadline, f"{what or condition}: {browser.evaluate('document.body.innerText')}"
    return value


def opened(browser: Browser, server: ViewerServer, image: int = 0) -> None:
    browser.open("about:blank")  # else a new number after the # would be no new page
    browser.open(f"{server.address}#{image}")
    until(browser, f"document.documentElement.dataset.shown === '{image}' && !document.querySelector('canvas').hidden")
    until(browser, "document.documentElement.dataset.script")


def press(browser: Browser, *keys: str) -> None:
    for key in keys:
        browser.evaluate(
            f"void document.body.dispatchEvent(new KeyboardEvent('keydown', {{key: {json.dumps(key)}, bubbles: true}}))"
        )


def given(browser: Browser, id: str, value: str) -> None:
    """Choose or type something, as a person does."""
    browser.evaluate(
        f"{{ const e = document.getElementById('{id}'); e.value = {json.dumps(value)};"
        "e.dispatchEvent(new InputEvent('input', {bubbles: true})); }"
    )


def colour(browser: Browser, x: int, y: int, pane: int = 0) -> list[int]:
    """Red, green, blue, opacity of the layer over a pixel of the image."""
    found: list[int] = browser.evaluate(
        "{ const brush = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});"
        f"brush.drawImage(document.querySelectorAll('canvas')[{pane}], -{x}, -{y});"
        "[...brush.getImageData(0, 0, 1, 1).data]; }"
    )
    return found


NAMES = "[...document.querySelectorAll('.row')].map((e) => [+e.dataset.place, e.querySelector('.name').textContent])"


def names(browser: Browser) -> list[str]:
    return [name for _, name in sorted(browser.evaluate(NAMES))]


def text(browser: Browser, selector: str) -> str:
    return str(browser.evaluate(f"document.querySelector({json.dumps(selector)}).textContent"))


def test_a_list_and_a_picture_appear_without_a_word(browser: Browser, collected: Make) -> None:
    with serving(ViewerServer(collected(115), title="a <b>run</b>")) as server:
        opened(browser, server)
        assert names(browser) == [f"x{n}" for n in range(6)]
        assert text(browser, "h1") == "a <b>run</b>"
        sizes = "[...document.images].map((e) => e.naturalWidth)"
        until(browser, f"{sizes}.every((width) => width > 0)")
        assert len(browser.evaluate(sizes)) == 7
        assert text(browser, "#size") == "60 \u00d7 40"
        assert "IoU" in text(browser, ".row .score")
        assert text(browser, "#legend .all").startswith("mean")
        assert browser.complaints() == []
        assert all(url.startswith(server.address) or url == "about:blank" for url in browser.requests())
        assert browser.screenshot("view_run").std() > 10


def test_what_is_dumped_without_a_hand(collected: Make, tmp_path: Path) -> None:
    """The document after its scripts have run, as `chromium --dump-dom` prints it."""
    assert CHROMIUM is not None
    with serving(ViewerServer(collected(115), title="dumped")) as server:
        words = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,800", "--dump-dom"]
        logged = ["--virtual-time-budget=20000", "--enable-logging=stderr", f"--user-data-dir={tmp_path}"]
        done = subprocess.run(
            [CHROMIUM, *words, *logged, server.address], capture_output=True, text=True, timeout=120, check=True
        )
    assert done.stdout.count('role="option"') == 6
    assert 'src="image?i=0"' in done.stdout
    assert "CONSOLE" not in done.stderr


def test_keys_change_image_and_layer(browser: Browser, collected: Make) -> None:
    with serving(ViewerServer(collected(115), title="")) as server:
        opened(browser, server)
        assert colour(browser, 30, 2) == [0, 0, 200, 255]  # predicted dark, in the grey stripe
        press(browser, "1")
        assert colour(browser, 30, 2) == [250, 220, 0, 255]  # the truth is bright
        press(browser, "3")
        assert colour(browser, 30, 2) == [228, 30, 38, 255]
        assert colour(browser, 30, 20)[3] < 255
        press(browser, "4")
        unsure, sure = colour(browser, 30, 2), colour(browser, 30, 20)
        assert sum(unsure) > sum(sure)
        press(browser, "0")
        assert browser.evaluate("document.querySelector('canvas').hidden")
        press(browser, " ")
        assert not browser.evaluate("document.querySelector('canvas').hidden")
        press(browser, "ArrowDown", "ArrowDown")
        until(browser, "document.documentElement.dataset.shown === '2'")
        assert text(browser, "[aria-selected=true] .name") == "x2"
        assert browser.evaluate("location.hash") == "#2"
        press(browser, "1")
        stripes = [colour(browser, x, 20) for x in range(5)]
        assert {tuple(one) for one in stripes} <= {(148, 148, 148, 255), (112, 112, 112, 255)}  # ignored
        press(browser, "ArrowUp", "End")
        until(browser, "document.documentElement.dataset.shown === '5'")
        assert browser.complaints() == []


def test_zoom_and_opacity(browser: Browser, collected: Make) -> None:
    with serving(ViewerServer(collected(115), title="")) as server:
        opened(browser, server)
        place = "document.querySelector('.picture').getBoundingClientRect().toJSON()"
        whole = browser.evaluate(place)
        assert whole["width"] / whole["height"] == pytest.approx(60 / 40)
        press(browser, "+")
        larger = browser.evaluate(place)
        assert larger["width"] == pytest.approx(1.4 * whole["width"])
        middle = larger["left"] + larger["width"] / 2
        assert middle == pytest.approx(whole["left"] + whole["width"] / 2, abs=0.1)
        assert browser.evaluate("document.querySelector('.picture').classList.contains('crisp')")
        assert browser.evaluate("getComputedStyle(document.querySelector('canvas')).imageRendering") == "pixelated"
        press(browser, "f")
        assert browser.evaluate(place) == whole
        wheel = "new WheelEvent('wheel', {deltaY: -100, clientX: 600, clientY: 400, bubbles: true, cancelable: true})"
        browser.evaluate(f"void document.querySelector('.pane').dispatchEvent({wheel})")
        assert browser.evaluate(place)["width"] > whole["width"]
        before = browser.evaluate(place)["left"]
        for kind, x in (("mousePressed", 600), ("mouseMoved", 650), ("mouseReleased", 650)):
            browser.do("Input.dispatchMouseEvent", type=kind, x=x, y=400, button="left", clickCount=1, buttons=1)
        assert browser.evaluate(place)["left"] == pytest.approx(before + 50)
        assert "truth" in text(browser, "#pixel")
        opacity = "getComputedStyle(document.querySelector('canvas')).opacity"
        assert browser.evaluate(opacity) == "0.6"
        press(browser, "]", "]")
        assert browser.evaluate(opacity) == "0.8"
        given(browser, "opacity", "10")
        assert browser.evaluate(opacity) == "0.1"
        assert browser.complaints() == []


def test_filters_and_order(browser: Browser, collected: Make) -> None:
    with serving(ViewerServer(collected(115), title="")) as server:
        opened(browser, server)
        given(browser, "text", "X3")
        until(browser, "document.querySelectorAll('.row').length === 1")
        assert text(browser, "#count") == "1 of 6 images"
        given(browser, "text", "")
        given(browser, "sort", "score")  # which has the images measured
        iou = server.collection.measures.iou[0]
        until(
            browser, "document.querySelector('#surveyed').value === 6 && document.querySelectorAll('.row').length === 6"
        )
        expected = [f"x{n}" for n in np.argsort(iou, kind="stable")]
        until(browser, f"JSON.stringify({NAMES}.sort((a, b) => a[0] - b[0]).map((e) => e[1])) === "
                       f"{json.dumps(json.dumps(expected, separators=(',', ':')))}")  # fmt: skip
        browser.evaluate("document.getElementById('descending').click()")
        until(browser, f"{NAMES}.some(([place, name]) => place === 0 && name === {json.dumps(expected[-1])})")
        until(browser, "[...document.querySelectorAll('.row img')].every((e) => e.naturalWidth > 0)")
        pictures = (
            "[...document.querySelectorAll('.row')].every((e) =>"
            " e.querySelector('img').src.endsWith(`=${e.querySelector('.name').textContent.slice(1)}`))"
        )
        assert browser.evaluate(pictures)
        given(browser, "low", str(100 * np.sort(iou)[-2] - 0.01))
        until(browser, "document.querySelectorAll('.row').length === 2")
        assert browser.complaints() == []


def test_two_runs_side_by_side(browser: Browser, collected: Make) -> None:
    with serving(ViewerServer(collected(115, 90), title="")) as server:
        opened(browser, server)
        assert browser.evaluate("document.querySelectorAll('.pane').length") == 2
        assert [colour(browser, 30, 2, pane) for pane in (0, 1)] == [[0, 0, 200, 255], [250, 220, 0, 255]]
        titles = browser.evaluate("[...document.querySelectorAll('.title')].map((e) => e.textContent)")
        assert titles == ["prediction of run 115", "prediction of run 90"]
        press(browser, "5")
        assert browser.evaluate("document.querySelectorAll('.pane').length") == 1
        assert colour(browser, 30, 2) == [230, 159, 0, 255]
        assert colour(browser, 30, 20)[3] < 255
        assert browser.complaints() == []


def test_a_class_is_hidden_by_a_click(browser: Browser, collected: Make) -> None:
    with serving(ViewerServer(collected(), title="labels")) as server:
        opened(browser, server)
        assert colour(browser, 50, 20)[3] == 255
        browser.evaluate("[...document.querySelectorAll('#legend button')][1].click()")
        assert colour(browser, 50, 20)[3] == 0
        assert colour(browser, 5, 20)[3] == 255
        layers = "[...document.querySelectorAll('#layers button')].map((e) => e.textContent)"
        assert browser.evaluate(layers) == ["Image", "Truth"]
        assert browser.evaluate("document.getElementById('edit').hidden")


def test_classes_are_edited_and_saved_by_a_button(browser: Browser, data: Path, collected: Make) -> None:
    before = data.read_text()
    with serving(ViewerServer(collected(), title="", editor=ClassEditor(data))) as server:
        opened(browser, server)
        browser.evaluate("document.getElementById('edit').click()")
        change = (
            "{{ const e = document.querySelectorAll('#legend input[type={kind}]')[0]; e.value = '{value}';"
            "e.dispatchEvent(new InputEvent('input', {{bubbles: true}})); }}"
        )
        ends = "[...document.querySelectorAll('#classes input')].map((e) => e.getBoundingClientRect().right)"
        assert len(browser.evaluate(ends)) == 4
        assert max(browser.evaluate(ends)) <= 1200
        browser.evaluate(change.format(kind="color", value="#010203"))
        assert colour(browser, 5, 20) == [1, 2, 3, 255]  # seen at once
        browser.evaluate(change.format(kind="text", value="night"))
        browser.evaluate("document.getElementById('cancel').click()")
        assert text(browser, "#legend tr") == "dark" + text(browser, "#legend tr .number")
        assert colour(browser, 5, 20) == [0, 0, 200, 255]
        assert data.read_text() == before  # no button, no file
        browser.evaluate("document.getElementById('edit').click()")
        browser.evaluate(change.format(kind="text", value="night"))
        browser.evaluate(change.format(kind="color", value="#010203"))
        browser.evaluate("document.getElementById('save').click()")
        until(browser, "document.getElementById('saved').textContent.includes('data.yaml.bak')")
        assert browser.complaints() == []
    description = read_description(data)
    assert (description.classes, description.colours) == (("night", "bright"), ((1, 2, 3), (250, 220, 0)))
    assert Path(f"{data}.bak").read_text() == before


def test_a_name_that_cannot_be_is_said_and_can_be_mended(browser: Browser, data: Path, collected: Make) -> None:
    with serving(ViewerServer(collected(), title="", editor=ClassEditor(data))) as server:
        opened(browser, server)
        browser.evaluate("document.getElementById('edit').click()")
        browser.evaluate(
            "{ const e = document.querySelector('#legend input[type=text]'); e.value = 'bright';"
            "e.dispatchEvent(new InputEvent('input', {bubbles: true})); }"
        )
        browser.evaluate("document.getElementById('save').click()")
        until(browser, "document.getElementById('saved').textContent.includes('listed twice')")
        assert not browser.evaluate("document.getElementById('editing').hidden")


def test_a_hundred_thousand_images_scroll_without_being_read(browser: Browser) -> None:
    dataset = Counting(count=100_000)
    with serving(ViewerServer(Collection(dataset, [Run("a", predictor(), dataset)]), title="many")) as server:
        opened(browser, server)
        assert text(browser, "#count") == "100,000 images"
        browser.evaluate("document.getElementById('list').scrollTop = 62 * 50000")
        until(browser, "[...document.querySelectorAll('.row .name')].some((e) => e.textContent === 'x050000')")
        browser.evaluate("document.getElementById('list').scrollTop = 1e9")
        until(browser, "[...document.querySelectorAll('.row .name')].some((e) => e.textContent === 'x099999')")
        assert browser.evaluate("document.querySelectorAll('.row').length") < 40
        press(browser, "End")
        until(browser, "document.documentElement.dataset.shown === '99999'")
        assert len(set(dataset.loaded)) < 100
        lists = [url for url in browser.requests() if "/rows?" in url]
        assert len(lists) < 12
        assert browser.complaints() == []


def test_a_broken_image_is_named_and_the_others_are_shown(browser: Browser, data: Path, collected: Make) -> None:
    (data.parent / "images" / "x1.png").write_bytes(b"\x89PNG")
    with serving(ViewerServer(collected(115), title="")) as server:
        opened(browser, server)
        press(browser, "ArrowDown")
        until(browser, "document.getElementById('trouble').textContent.includes('x1.png')")
        press(browser, "ArrowDown")
        until(browser, "document.documentElement.dataset.shown === '2'")
        assert browser.evaluate("document.getElementById('trouble').hidden")


@pytest.mark.parametrize(("width", "dark"), [(1200, True), (700, False)])
def test_nothing_sticks_out(browser: Browser, tmp_path: Path, width: int, dark: bool) -> None:
    dataset = read_description(paint(tmp_path / ("long_name_of_a_folder" * 4))).dataset("train")
    collection = Collection(dataset, [Run("a_run_of_a_long_name" * 3, predictor(), dataset)] * 2)
    with serving(ViewerServer(collection, title="x" * 90, note="a note " * 20)) as server:
        browser.resize(width, dark=dark)
        opened(browser, server)
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        seen = browser.screenshot(f"view_{width}")
        assert bool(np.median(seen[:30]) < 60) is dark
        browser.resize(1200)
