"""Names of classes in any script."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from intarsia.inference.prediction import Prediction
from intarsia.terminal import Notice
from intarsia.visual import fonts
from intarsia.visual.comparison import save_comparison
from intarsia.visual.curves import save_curves
from intarsia.visual.text import draw_text, text_width

CHINESE = "背景道路"


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a new process on a machine without other fonts."""
    for name in ("_chosen", "_found"):
        monkeypatch.setattr(fonts, name, [])
    monkeypatch.setattr(fonts, "_missing", set())
    monkeypatch.setattr(fonts, "_warned", 0)
    monkeypatch.setattr(fonts, "_system_fonts", lambda letter: [])
    monkeypatch.delenv(fonts.FONT_VARIABLE, raising=False)
    yield
    fonts._has.cache_clear()
    fonts._opened.cache_clear()


@pytest.fixture
def font(tmp_path: Path) -> Path:
    """A font that has these letters, each another number of black squares, and no others."""
    builder_of = pytest.importorskip("fontTools.fontBuilder")
    pen_of = pytest.importorskip("fontTools.pens.ttGlyphPen")

    def glyph(squares: int) -> object:
        pen = pen_of.TTGlyphPen(None)
        for number in range(squares):
            x = 100 + 200 * number
            pen.moveTo((x, 0))
            for point in ((x, 700), (x + 100, 700), (x + 100, 0)):
                pen.lineTo(point)
            pen.closePath()
        return pen.glyph()

    letters = CHINESE + "車"
    names = [".notdef", *(f"letter{number}" for number in range(len(letters)))]
    builder = builder_of.FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(letter): name for letter, name in zip(letters, names[1:], strict=True)})
    builder.setupGlyf({name: glyph(number + 1) for number, name in enumerate(names)})
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1400, 100)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "squares.ttf")
    return tmp_path / "squares.ttf"


def drawn(text: str) -> np.ndarray:
    canvas = Image.new("RGB", (400, 40), "white")
    draw_text(ImageDraw.Draw(canvas), (5, 20), text, 20, colour=(0, 0, 0))
    return np.array(canvas)[:, :, 0]


def boxes() -> bool:
    """Whether the letters cannot be told from each other."""
    return all(np.array_equal(drawn(CHINESE[0]), drawn(letter)) for letter in CHINESE)


def test_letters_that_no_font_has_are_said_once_and_by_name() -> None:
    with pytest.warns(Notice, match=r"no font of this machine has 背景道路.* in '背景道路'.*--font.*INTARSIA_FONT"):
        text_width(CHINESE, 20)
    assert boxes()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        text_width(CHINESE, 20)


@pytest.mark.parametrize("way", ["system", "option", "variable", "folders"])
def test_a_font_is_found_or_given(way: str, font: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "system":
        monkeypatch.setattr(fonts, "_system_fonts", lambda letter: [font])
    elif way == "option":
        fonts.use_font(font)
    elif way == "variable":
        monkeypatch.setenv(fonts.FONT_VARIABLE, str(font))
    else:
        monkeypatch.undo()
        monkeypatch.setattr(fonts, "_by_fontconfig", lambda letter: [])
        monkeypatch.setitem(fonts._FOLDERS, sys.platform, (str(font.parent),))
        monkeypatch.setattr(fonts, "_found", [])
        monkeypatch.setattr(fonts, "_missing", set())
        fonts._all_fonts.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert not boxes()
        mixed = drawn(f"路 road {CHINESE}")
    assert [part for part, _ in fonts.pieces(f"車 road {CHINESE}", 20)] == ["車 ", "road ", CHINESE]
    assert text_width(f"車 road {CHINESE}", 20) > text_width(CHINESE, 20) + text_width("road", 20)
    assert (mixed < 128).any(axis=0).nonzero()[0].max() <= 5 + text_width(f"路 road {CHINESE}", 20)
    fonts._all_fonts.cache_clear()


def test_a_legend_shows_the_names(font: Path) -> None:
    fonts.use_font(font)
    label = np.repeat(np.arange(4, dtype=np.uint8), 30)[None].repeat(120, axis=0)
    palette = ((0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255))
    shown = [Prediction(label, names, palette).overlay() for names in (tuple(CHINESE), ("車",) * 4)]
    assert shown[0].shape == shown[1].shape
    assert not np.array_equal(*shown)


def test_names_of_runs_are_drawn_too(font: Path, tmp_path: Path) -> None:
    fonts.use_font(font)
    records = [{"step": step, "loss": 1.0 / step, "val/mIoU": 0.1} for step in range(1, 4)]
    shown = []
    for name in ("路面", "車面"):
        with warnings.catch_warnings():
            warnings.simplefilter("error", Notice)
            warnings.filterwarnings("error", "Glyph")  # of matplotlib; others it may have of its own libraries
            save_comparison(tmp_path / "runs.png", {name[0]: records})
            save_curves(tmp_path / "curve.png", records, title=name[0])
        shown.append([np.array(Image.open(tmp_path / f"{kind}.png")) for kind in ("runs", "curve")])
    assert not any(np.array_equal(*pair) for pair in zip(*shown, strict=True))


def test_what_is_no_font_is_refused(tmp_path: Path) -> None:
    (tmp_path / "font.ttf").write_bytes(b"no font")
    with pytest.raises(ValueError, match=r"font\.ttf: cannot be read as a font"):
        fonts.use_font(tmp_path / "font.ttf")
    with pytest.raises(ValueError, match="cannot be read as a font"):
        fonts.use_font(tmp_path / "missing.ttf")


@pytest.mark.skipif(not fonts._can_shape(), reason="this Pillow cannot shape letters")
def test_letters_that_change_with_their_neighbours_are_shaped() -> None:
    assert fonts.is_shaped("طريق")
    joined = text_width("طريق", 40)
    assert joined < sum(text_width(letter, 40) for letter in "طريق")


def test_alphabets_that_are_always_there_need_no_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "_system_fonts", lambda letter: pytest.fail("searched"))
    for text in ("road", "Straße", "дорога", "δρόμος", "cafe\u0301", "100 m²", "a…b"):
        assert text_width(text, 20) > 10


def test_finding_fonts_loads_nothing_heavy() -> None:
    code = "import sys, intarsia.visual.text as t; t.text_width('дорога', 20); assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
