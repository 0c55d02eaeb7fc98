"""Overlays, panes, legends and contact sheets: known pixels, sizes, and the same picture every time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from intarsia.colours import distinct_colours
from intarsia.visual.contact_sheet import Tile, contact_sheet
from intarsia.visual.legend import Entry, legend_beneath, share_text, with_legend
from intarsia.visual.overlay import blend, coloured, contours, enlarged, hatching, void_mask
from intarsia.visual.panes import WRONG, errors, panes
from intarsia.visual.text import PAPER, draw_text, line_height, shortened, text_width

CLASSES = ("road", "car", "sky")
PALETTE = ((128, 64, 128), (0, 0, 142), (70, 130, 180))


def colours_in(picture) -> set[tuple[int, ...]]:
    return {tuple(pixel) for pixel in picture.reshape(-1, 3).tolist()}


def halves(height=40, width=60) -> np.ndarray:
    label = np.zeros((height, width), np.uint8)
    label[:, width // 2 :] = 1
    return label


def test_blend_mixes_image_and_colour_and_darkens_contours():
    image = np.full((40, 60, 3), 100, np.uint8)
    picture = blend(image, halves(), PALETTE, opacity=0.25)
    assert picture[3, 3].tolist() == [107, 91, 107]
    assert picture[3, 40].tolist() == [75, 75, 110]  # 110.5 to even
    line = picture[:, 29]
    assert (line < picture[:, 28]).all()
    assert np.array_equal(blend(image, halves(), PALETTE, opacity=0, outline=False), image)
    see_through = blend(image, halves(), ((0, 0, 0), PALETTE[1]), outline=False)
    assert np.array_equal(see_through[:, :30], image[:, :30])
    assert not blend(image, halves(), ((0, 0, 0), PALETTE[1]), opacity=1, outline=False)[:, :30].any()
    with pytest.raises(ValueError, match="one size"):
        blend(image[:-1], halves(), PALETTE)


def test_void_is_hatched_grey_and_never_a_class():
    label = halves()
    label[:10] = 255
    label[10:20] = 7  # a value without a class
    picture = coloured(label, PALETTE)
    assert np.array_equal(picture[:20], hatching(40, 60)[:20])
    assert picture[30, 3].tolist() == list(PALETTE[0])
    assert void_mask(label, 3).sum() == 20 * 60
    assert np.array_equal(void_mask(halves(), 3, ignore_index=1), halves() == 1)
    wide = np.where(label == 255, 300, label.astype(np.int64))
    assert np.array_equal(coloured(wide, PALETTE, ignore_index=300), picture)


def test_contours_lie_between_classes_only():
    assert not contours(np.zeros((5, 5), np.uint8)).any()
    assert contours(halves()).sum() == 40
    assert contours(halves(1400, 2100)).sum() == 2 * 1400


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 700), st.integers(1, 40))
def test_small_pictures_are_enlarged_by_whole_factors(width, height):
    label = np.arange(height * width, dtype=np.int64).reshape(height, width)
    image = np.zeros((height, width, 3), np.uint8)
    larger, larger_label = enlarged(image, label)
    factor = larger_label.shape[1] // width
    assert larger.shape == (height * factor, width * factor, 3)
    assert larger_label.shape[1] >= 480
    assert factor == 1 or width * (factor - 1) < 480
    assert np.array_equal(larger_label[::factor, ::factor], label)


@pytest.mark.parametrize("count", [1, 11, 60])
@pytest.mark.parametrize("shape", [(90, 480), (360, 480), (960, 480)])
def test_legends_hold_every_entry_and_leave_the_picture_as_it_is(count, shape):
    picture = np.full((*shape, 3), 7, np.uint8)
    entries = [
        Entry(f"class number {k}", colour, share_text(1 / count)) for k, colour in enumerate(distinct_colours(count))
    ]
    result = with_legend(picture, entries)
    assert np.array_equal(result[: shape[0], : shape[1]], picture)
    assert set(distinct_colours(count)) <= colours_in(result)
    assert (result[:, -3:] == PAPER).all()  # nothing is cut off at the right
    assert (result[-3:, shape[1] :] == PAPER).all()
    beneath = legend_beneath(entries, 1200, 14)
    assert beneath.shape[1] == 1200
    assert set(distinct_colours(count)) <= colours_in(beneath)
    assert (beneath[:, -1] == PAPER).all()


def test_errors_show_right_wrong_and_ignored():
    image = np.full((40, 60, 3), 200, np.uint8)
    truth, prediction = halves(), np.zeros((40, 60), np.uint8)
    truth[:5] = 255
    picture = errors(image, truth, prediction, 3)
    assert picture[20, 5].tolist() == [170, 170, 170]
    red = picture[20, 50].astype(int)
    assert red[0] > red[1] + 100
    assert np.array_equal(picture[:5], hatching(40, 60)[:5])


def test_panes_name_what_is_there_and_nothing_else():
    image = np.full((40, 60, 3), 100, np.uint8)
    truth, prediction = halves(), halves()
    prediction[30:] = 0
    picture = panes(image, truth, prediction, classes=CLASSES, palette=PALETTE, title="one.png")
    assert picture.shape[1] > 4 * 360
    assert np.array_equal(picture, panes(image, truth, prediction, classes=CLASSES, palette=PALETTE, title="one.png"))
    bottom = colours_in(picture[-40:])
    assert {PALETTE[0], PALETTE[1], WRONG} <= bottom
    assert PALETTE[2] not in bottom
    for side in (picture[:5], picture[-5:], picture[:, :5], picture[:, -5:]):
        assert (side == PAPER).all()
    red = ((230, 20, 30), (0, 0, 142), (70, 130, 180))  # a class of the colour of errors: a legend of two reds
    assert {red[0], (255, 0, 220)} <= colours_in(panes(image, truth, prediction, classes=CLASSES, palette=red)[-40:])
    two = panes(image, None, prediction, classes=CLASSES, palette=PALETTE)
    assert two.shape[1] < picture.shape[1] * 0.6
    assert WRONG not in colours_in(two[-40:])
    with pytest.raises(ValueError, match=r"truth at the image's size \(40, 60\), found \(39, 60\)"):
        panes(image, truth[1:], prediction, classes=CLASSES, palette=PALETTE)


def test_large_images_give_panes_of_ordinary_size():
    label = halves(1500, 3000)
    picture = panes(np.zeros((1500, 3000, 3), np.uint8), label, label, classes=CLASSES, palette=PALETTE)
    assert 4 * 640 < picture.shape[1] < 4 * 700
    void = np.full_like(label, 255)
    panes(np.zeros((1500, 3000, 3), np.uint8), void, label, classes=CLASSES, palette=PALETTE)


def test_contact_sheets():
    image = np.full((30, 40, 3), 90, np.uint8)
    tiles = [Tile(image, halves(30, 40), f"{k}.png") for k in range(5)]
    tiles.append(Tile(np.full((80, 20, 3), 90, np.uint8), None, "portrait without label.png"))
    sheet = contact_sheet(tiles, classes=CLASSES, palette=PALETTE, columns=3, tile_width=160)
    assert 3 * 160 < sheet.shape[1] < 3 * 160 + 100
    assert np.array_equal(sheet, contact_sheet(tiles, classes=CLASSES, palette=PALETTE, columns=3, tile_width=160))
    assert {PALETTE[0], PALETTE[1]} <= colours_in(sheet[-60:])
    assert PALETTE[2] not in colours_in(sheet[-60:])
    with pytest.raises(ValueError, match="at least one sample"):
        contact_sheet([], classes=CLASSES, palette=PALETTE)


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=60), st.integers(8, 40), st.integers(20, 400))
def test_text_fits_its_room(text, size, room):
    cut = shortened(text, size, room)
    assert text_width(cut, size) <= room or cut == "..."
    draw_text(ImageDraw.Draw(Image.new("RGB", (40, 40))), (0, 20), cut, size)
    assert cut == text or "..." in cut
    assert line_height(size) > size


def test_shares_as_text():
    assert [share_text(share) for share in (0, 1e-5, 0.0006, 0.5, 1)] == ["0.0%", "<0.1%", "0.1%", "50.0%", "100.0%"]


@pytest.mark.parametrize("count", [0, 1, 10, 11, 19, 150, 256, 1000])
def test_colours_are_distinct_and_stable(count):
    colours = distinct_colours(count)
    assert len(set(colours)) == count
    assert colours == distinct_colours(1000)[:count]
    assert all(0 <= value <= 255 for colour in colours for value in colour)
    if 2 <= count <= 20:
        apart = [np.abs(np.subtract(a, b)).sum() for i, a in enumerate(colours) for b in colours[:i]]
        assert min(apart) > 60
