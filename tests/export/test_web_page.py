"""The page in a headless Chromium: labels are the command line's, from a server, from the disk, in threads."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from browser import Browser, needs_chromium
from made import Made, Task, image
from paged import give, label, predictor_of, served, text, until, values, write
from PIL import Image

from intarsia.contracts import Size
from intarsia.data.transforms.resize import Resize, ResizeShortestEdge, ResizeToMultiple
from intarsia.export.task import ExportedPredictor
from intarsia.export.web.page import MODEL, steps_of
from intarsia.export.web.runtime_files import RuntimeFiles, runtime_files
from intarsia.inference.logits.sliding import even_starts, starts
from intarsia.spec import InferenceSpec
from intarsia.weights import download

pytestmark = needs_chromium
Site = tuple[ExportedPredictor, Path]

SCRIPTS = Path(__file__).resolve().parents[2] / "intarsia" / "export" / "web"
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@pytest.fixture(scope="session")
def files() -> RuntimeFiles:
    """Those of onnxruntime-web, from the registry or the cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(download.OFFLINE, raising=False)
        try:
            return runtime_files()
        except download.DownloadError as error:
            pytest.skip(f"onnxruntime-web cannot be had here: {error}")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    found = Browser(tmp_path_factory.mktemp("profile"), *CAMERA)
    found.resize(1200)
    yield found
    found.close()


def complaints(browser: Browser) -> list[str]:
    """Without what Chromium itself says where there is no graphics card."""
    return [word for word in browser.complaints() if word != "No available adapters."]


def picture(path: Path, size: Size, **ways: Any) -> Path:
    Image.fromarray(image(size, seed=3)).save(path, **ways)
    return path


WINDOWS: dict[str, Any] = {"mode": "slide", "crop_size": (48, 64), "stride": (32, 40)}
CASES: dict[str, dict[str, Any]] = {
    "labels": {"output": "label"},
    "labels in windows": {"output": "label", "inference": WINDOWS},
    "logits in windows, resized": {
        "output": "logits", "inference": WINDOWS, "transforms": [Resize((150, 110), keep_ratio=True)],
    },
    "logits, a threshold": {"output": "logits", "make": {"logits": 1, "threshold": 0.55}},
    "scores, resized": {
        "output": "scores", "contract": {"asks_size": True},
        "transforms": [ResizeShortestEdge(80, 200), ResizeToMultiple(16)],
    },
    "one size, planes": {"output": "label", "contract": {"size": (48, 64), "why": "--size", "layout": "NCHW"}},
}  # fmt: skip


QUICK = ("labels in windows", "scores, resized")


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in CASES])
def test_labels_are_those_of_the_command_line(
    make: Any, onnx_file: Any, tmp_path: Path, browser: Browser, files: RuntimeFiles, name: str
) -> None:
    case = CASES[name]
    made = make(**case.get("make", {}))
    path = onnx_file(made, made.deployable(case["output"], **case.get("contract", {})), MODEL)
    ours = predictor_of(made, path, case.get("transforms", []), **case.get("inference", {}))
    write(ours, tmp_path, files)
    with served(tmp_path) as address:
        browser.open(address)
        for size in [(97, 130), (40, 50)]:
            photo = picture(tmp_path / f"{size[0]}.png", size)
            expected = ours.predict(photo).label
            assert give(browser, photo) == ""
            assert len(np.unique(expected)) > 1
            assert (label(browser) == expected).mean() > 0.9995
        assert complaints(browser) == []
        assert all(url.startswith((address, "blob:")) for url in browser.requests())


# --- One page, in all that it does --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, files: RuntimeFiles) -> Site:
    """A file that gives scores, and the folder with its page, which tests share and leave as it is."""
    pytest.importorskip("onnxruntime")
    from intarsia.export.formats import onnx
    from intarsia.export.program import exported

    folder = tmp_path_factory.mktemp("site")
    made = Made(Task().eval(), InferenceSpec(num_classes=3))
    module = made.deployable("scores")
    onnx.write(exported(module), folder / MODEL, made.meta(module.contract))
    ours = predictor_of(made, folder / MODEL, [])
    write(ours, folder, files)
    return ours, folder


def test_what_hands_and_keys_do(site: Site, tmp_path: Path, browser: Browser) -> None:
    photo = picture(tmp_path / "photo.png", (90, 120))
    expected = site[0].predict(photo).label
    with served(site[1]) as address:
        browser.open(address)
        assert "Drop a picture here" in text(browser, "empty")
        assert browser.evaluate("document.querySelector('h1').textContent") == "a <b>model</b>"
        assert browser.screenshot("web_empty").std() > 5
        assert give(browser, photo) == ""
        assert "120 \u00d7 90" in text(browser, "facts")
        assert "WebAssembly, 1 thread" in text(browser, "facts")
        rows = browser.evaluate("[...document.getElementById('legend').rows].map((row) => row.cells[2].textContent)")
        counts = np.bincount(expected.ravel(), minlength=3)
        assert rows == [f"{count:,}" if count else "" for count in counts]
        browser.evaluate("document.getElementById('stage').focus()")
        for key in ("ArrowRight", "ArrowLeft"):
            browser.do("Input.dispatchKeyEvent", type="keyDown", key=key)
        x, y, sure = browser.evaluate(
            "[stage.read.x, stage.read.y, shown.found.confidence[stage.read.y * 120 + stage.read.x]]"
        )
        said = ("sky", "road", "car")[expected[y, x]]
        assert text(browser, "pixel") == f"{said}, {100 * sure:.1f} %  ({x}, {y})"
        assert 1 / 3 < sure <= 1
        script = (
            "{ const { left, top } = document.getElementById('stage').getBoundingClientRect();"
            "[left + stage.x + 10.5 * stage.scale, top + stage.y + 20.5 * stage.scale] }"
        )
        place = browser.evaluate(script)
        browser.evaluate("document.activeElement.blur()")
        browser.do("Input.dispatchMouseEvent", type="mouseMoved", x=place[0], y=place[1])
        assert text(browser, "pixel").endswith("(10, 20)")
        painted = (
            "(() => { const brush = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });"
            "brush.drawImage(stage.overlay, -10, -20); return brush.getImageData(0, 0, 1, 1).data })()"
        )
        colour = [*((70, 130, 180), (128, 64, 128), (0, 0, 142))[expected[20, 10]], 255]
        assert list(values(browser, painted)) == colour
        browser.evaluate(f"document.querySelectorAll('#legend button')[{expected[20, 10]}].click()")
        assert list(values(browser, painted)) == [0, 0, 0, 0]
        browser.evaluate("void document.body.dispatchEvent(new KeyboardEvent('keydown', {key: ' ', bubbles: true}))")
        assert browser.evaluate("stage.overlay.style.opacity") == "0"
        assert browser.screenshot("web_shown").std() > 10
        for width, dark in ((390, False), (1200, True)):
            browser.resize(width, dark=dark)
            browser.screenshot(f"web_{width}")
            assert browser.evaluate("document.documentElement.scrollWidth") <= width
        browser.resize(1200)
        assert complaints(browser) == []


def test_masks_are_files_of_class_indices(site: Site, tmp_path: Path, browser: Browser) -> None:
    photo = picture(tmp_path / "photo.png", (50, 60))
    with served(site[1]) as address:
        browser.open(address)
        assert give(browser, photo) == ""
        script = "maskFile({}, {}).then((blob) => blob.arrayBuffer()).then((data) => new Uint8Array(data))"
        saved = values(browser, script.format("shown.found", 3)).tobytes()
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(saved))), site[0].predict(photo).label)
        wide = values(
            browser, script.format("{height: 2, width: 2, label: Int32Array.of(0, 299, 5, 256)}", 300)
        ).tobytes()
        assert np.asarray(Image.open(io.BytesIO(wide))).tolist() == [[0, 299], [5, 256]]


def test_pictures_are_read_as_the_command_line_reads_them(site: Site, tmp_path: Path, browser: Browser) -> None:
    pixels = image((60, 44), seed=7)
    rng = np.random.default_rng(1)
    turned = Image.Exif()
    turned[274] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", exif=turned, quality=90)
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=turned)
    Image.fromarray(pixels).convert("L").save(tmp_path / "grey.png")
    veil = rng.integers(0, 256, (60, 44, 1), dtype=np.uint8)
    Image.fromarray(np.concatenate([pixels, veil], axis=2)).save(tmp_path / "veiled.png")
    with served(site[1]) as address:
        browser.open(address)
        for name in ("turned.jpg", "turned.png", "grey.png", "veiled.png"):
            assert give(browser, tmp_path / name) == ""
            expected = site[0].reader.read(tmp_path / name)
            found = values(browser, "shown.picture.data").reshape(*expected.shape[:2], 4)[:, :, :3]
            if name == "veiled.png" and text(browser, "hint"):
                continue  # without WebGL, which the page says
            assert np.abs(found.astype(int) - expected).max() <= (2 if name.endswith("jpg") else 0), name


def test_what_goes_wrong_is_said(site: Site, tmp_path: Path, browser: Browser) -> None:
    (tmp_path / "none.png").write_bytes(b"nothing of the kind")
    photo = picture(tmp_path / "photo.png", (64, 96))
    with served(site[1]) as address:
        browser.open(address)
        assert give(browser, tmp_path / "none.png").startswith(
            "\u201cnone.png\u201d is no picture that this browser can read"
        )
        refusing = (
            "{ const ask = network.ask.bind(network); network.ask = (message) => "
            "message.type === 'run' && message.shrink < 2 "
            "? Promise.reject(Object.assign(new Error('bad_alloc'), {memory: true})) : ask(message) }"
        )
        browser.evaluate(refusing)
        assert give(browser, photo) == ""
        assert "computed at 48 \u00d7 32" in text(browser, "facts")
        assert "too large for the memory" in text(browser, "hint")
        assert label(browser).shape == (64, 96)
        for name, words in (
            ("index.html", "protobuf"),
            ("none.onnx", "none.onnx\u201d could not be loaded: the server answers 404"),
        ):
            again = "trouble(''); network.stop(); ready = null; void attempt(opened)"
            browser.evaluate(f"about.model = {json.dumps(name)}; {again}")
            until(browser, "!document.getElementById('trouble').hidden")
            assert words in text(browser, "trouble")


def test_threads_and_the_camera(site: Site, tmp_path: Path, browser: Browser) -> None:
    photo = picture(tmp_path / "photo.png", (64, 96))
    with served(site[1], isolated=True) as address:
        browser.open(address)
        assert give(browser, photo) == ""
        np.testing.assert_array_equal(label(browser), site[0].predict(photo).label)
        cores = browser.evaluate("navigator.hardwareConcurrency")
        assert ("1 thread" in text(browser, "facts")) == (cores == 1)
        before = browser.evaluate("wanted")
        browser.evaluate("document.getElementById('camera').click()")
        until(browser, f"document.documentElement.dataset.shown >= {before + 3}")
        assert text(browser, "name") == "camera"
        browser.evaluate("document.getElementById('freeze').click()")
        until(browser, "document.getElementById('freeze').hidden && document.getElementById('working').hidden")
        assert label(browser).shape == tuple(browser.evaluate("[stage.size.height, stage.size.width]"))
        assert complaints(browser) == []


def test_nobody_else_is_asked(site: Site, tmp_path: Path, browser: Browser) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with served(site[1]) as address, served(other) as elsewhere:
        browser.open(address)
        asks = f"fetch({json.dumps(elsewhere)}, {{mode: 'no-cors'}}).then(() => 'answered', () => 'refused')"
        assert browser.evaluate(asks) == "refused"
        beside = f"new Worker(blobOf([{json.dumps(f'{asks}.then((word) => postMessage(word))')}]))"
        assert (
            browser.evaluate(f"new Promise((done) => {{ {beside}.onmessage = ({{data}}) => done(data) }})") == "refused"
        )


def test_one_file_opens_from_the_disk(site: Site, tmp_path: Path, browser: Browser, files: RuntimeFiles) -> None:
    photo = picture(tmp_path / "photo.png", (64, 96))
    browser.open(site[1] / "index.html")
    assert "export once more with --single-file" in text(browser, "trouble")
    shutil.copy(site[1] / MODEL, tmp_path / MODEL)
    opened = write(site[0], tmp_path, files, single_file=True)
    browser.open(opened)
    assert give(browser, photo) == ""
    np.testing.assert_array_equal(label(browser), site[0].predict(photo).label)
    assert complaints(browser) == []
    assert [url for url in browser.requests() if not url.startswith("blob:")] == [opened.as_uri()]


# --- Its scripts by themselves ------------------------------------------------------------------------------------


def test_pixels_are_resized_as_by_opencv(browser: Browser) -> None:
    browser.open("about:blank")
    browser.evaluate((SCRIPTS / "pixels.js").read_text(encoding="utf-8"))
    rng = np.random.default_rng(0)
    for old, new in [((37, 53), (64, 96)), ((64, 96), (37, 53)), ((100, 80), (50, 40)), ((100, 80), (50, 80)),
                     ((3, 5), (50, 60)), ((1, 1), (4, 4)), ((50, 60), (1, 1)), ((7, 1), (14, 3)), ((120, 90), (30, 40)),
                     ((120, 160), (171, 128))]:  # fmt: skip
        pixels = rng.integers(0, 256, (*old, 3), dtype=np.uint8)
        given = f"{{height: {old[0]}, width: {old[1]}, data: Uint8Array.from({pixels.ravel().tolist()})}}"
        found = values(browser, f"resized({given}, {{height: {new[0]}, width: {new[1]}}}).data")
        np.testing.assert_array_equal(found.reshape(*new, 3), cv2.resize(pixels, new[::-1]), err_msg=f"{old} {new}")


def test_sizes_and_windows_are_the_pipelines(browser: Browser) -> None:
    browser.open("about:blank")
    browser.evaluate((SCRIPTS / "pixels.js").read_text(encoding="utf-8"))
    rng = np.random.default_rng(0)
    steps = [
        Resize((2048, 512), keep_ratio=True), Resize((300, 200)), Resize(scale_factor=(0.37, 1.9)),
        Resize(scale_factor=0.5, keep_ratio=True), ResizeShortestEdge(512, 900), ResizeToMultiple((32, 20)),
    ]  # fmt: skip
    for step in steps:
        (words,) = steps_of([step])
        for height, width in rng.integers(1, 3000, (40, 2)).tolist():
            found = browser.evaluate(f"target({{height: {height}, width: {width}}}, {json.dumps(words)})")
            assert (found["height"], found["width"]) == step.target((height, width), rng), (step, height, width)
    for length, crop, stride in [(100, 48, 32), (48, 48, 32), (20, 48, 32), (97, 48, 48), (1024, 512, 341)]:
        assert browser.evaluate(f"starts({length}, {crop}, {stride})") == starts(length, crop, stride)
        assert browser.evaluate(f"starts({length}, {crop}, null)") == even_starts(length, crop)


# --- Slow -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_graphics_cards_are_checked(site: Site, tmp_path: Path, files: RuntimeFiles) -> None:
    """By SwiftShader, a graphics card that is computed."""
    photo = picture(tmp_path / "photo.png", (64, 96))
    switches = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan")
    found = Browser(tmp_path / "profile", *switches)
    try:
        with served(site[1]) as address:
            found.open(address)
            if not found.evaluate("navigator.gpu?.requestAdapter().then(Boolean)"):
                pytest.skip("this Chromium has no SwiftShader for WebGPU")
            assert give(found, photo) == ""
            assert "WebGPU" in text(found, "facts")
            np.testing.assert_array_equal(label(found), site[0].predict(photo).label)
            assert complaints(found) == []
            found.evaluate("about.check.at_least = 1.1; network.stop(); ready = null")  # which no card reaches
            assert give(found, photo) == ""
            assert "WebAssembly" in text(found, "facts")
            assert "With WebGPU 100.0 % of the labels" in text(found, "hint")
    finally:
        found.close()


@pytest.mark.slow
def test_memory_that_is_not_there_makes_it_smaller(
    make: Any, onnx_file: Any, tmp_path: Path, browser: Browser, files: RuntimeFiles
) -> None:
    """150 classes at 2400 x 3200 are 4.6 GB, more than WebAssembly has."""
    made = make(logits=150)
    path = onnx_file(made, made.deployable(), MODEL)
    write(predictor_of(made, path, []), tmp_path, files)
    photo = picture(tmp_path / "photo.jpg", (2400, 3200))
    with served(tmp_path) as address:
        browser.open(address)
        browser.evaluate("void (network.needed = () => 1)")  # which would have known
        assert give(browser, photo) == ""
        smaller = ("computed at 1600 \u00d7 1200", "computed at 800 \u00d7 600")  # as much as there is room for
        assert any(words in text(browser, "facts") for words in smaller)
        assert "too large for the memory" in text(browser, "hint")
