"""Sky, ground and the two rows of houses."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from intarsia.demo.canvas import FACTOR, Colour, Mask, mix, noise
from intarsia.demo.view import BUILDING, PAVEMENT, ROAD, SKY, VEGETATION, View, Weather, pick

_WALLS: tuple[Colour, ...] = (
    (178, 92, 70),
    (206, 184, 150),
    (150, 158, 166),
    (222, 206, 176),
    (120, 146, 166),
    (196, 140, 120),
    (166, 178, 150),
    (110, 100, 96),
    (232, 222, 206),
    (204, 152, 92),
)
_GLASS: Colour = (86, 108, 128)
_LIT: Colour = (255, 216, 132)
_SHINE = 200.0
_CELL = 48
"""Texture pixels of one window with the wall around it."""
FLOOR = 2.9
"""Height of a floor in metres."""
FIRST_METRE = 6.1
"""Distance in metres of what stands at scale 1, for a lens that sees 60 degrees."""


def paint_sky(view: View, weather: Weather, rng: np.random.Generator) -> None:
    """A gradient, clouds, and a sun or moon with its halo."""
    canvas = view.canvas
    height, width = canvas.height // FACTOR, canvas.width // FACTOR
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None, None] ** 0.8
    sky = np.asarray(weather.top, np.float32) * (1 - rows) + np.asarray(weather.bottom, np.float32) * rows
    clouds = np.full((height, width), rng.uniform(-0.7, 0.5), np.float32)
    for cell, share in ((40, 0.72), (15, 0.36), (6, 0.18)):
        clouds += share * noise(rng, height, width, cell)
    cover = np.clip(clouds, 0, 1)[..., None] * 0.75
    light = np.asarray(mix(weather.bottom, (255, 255, 255), 0.15 if weather.glow > 0.5 else 0.55), np.float32)
    sky = sky * (1 - cover) + light * cover
    if weather.fog < 0.55:
        x, y = rng.uniform(0.1, 0.9) * width, rng.uniform(0.06, 0.3) * height
        down, across = np.ogrid[0:height, 0:width]
        distance = np.hypot(across - x, down - y).astype(np.float32)
        halo = np.clip(np.exp(-distance / 22) * 0.6 + (distance < 5.5), 0, 1)[..., None]
        sky += halo * (np.asarray((255, 246, 214), np.float32) - sky)
    canvas.picture = cv2.resize(np.clip(sky, 0, 255).astype(np.uint8), (canvas.width, canvas.height))
    canvas.truth[:] = SKY
    for _ in range(int(rng.integers(0, 4))):
        x, y, wing = rng.uniform(0, canvas.width), rng.uniform(0.08, 0.35) * canvas.height, rng.uniform(6, 11)
        bird = [(x - wing, y - wing * 0.5), (x, y), (x + wing, y - wing * 0.6)]
        canvas.line(bird, 3, mix(weather.top, (20, 20, 30), 0.7))


def paint_ground(view: View, weather: Weather, rng: np.random.Generator) -> None:
    """Pavements with their slabs, kerbs, and the road with its markings."""
    canvas = view.canvas
    slab = pick(rng, (168, 160, 150), (150, 146, 146), (184, 168, 146), (160, 132, 118))
    asphalt = pick(rng, (98, 98, 102), (84, 84, 90), (116, 112, 108))
    far = 0.0
    outside = 60.0
    canvas.polygon(
        [
            view.ground(-outside, far),
            view.ground(outside, far),
            view.ground(outside, 1.05),
            view.ground(-outside, 1.05),
        ],
        weather.on(slab, 0.8),
        PAVEMENT,
    )
    joint = weather.on(mix(slab, (40, 40, 40), 0.3), 0.8)
    for scale in 1 / np.arange(1.0, 9.0, 0.28):
        canvas.line([view.ground(-view.wall, scale), view.ground(view.wall, scale)], 3 * scale, joint)
    for across in np.arange(view.road, view.wall, 0.75):
        for side in (-1, 1):
            canvas.line([view.ground(side * across, 0.08), view.ground(side * across, 1.05)], 1.6, joint)
    edge = view.road
    canvas.polygon([view.ground(-edge, far), view.ground(edge, far), view.ground(edge, 1.05), view.ground(-edge, 1.05)],
                   weather.on(asphalt, 0.8), ROAD)  # fmt: skip
    for side in (-1, 1):
        kerb = [view.ground(side * (edge + lip), s) for lip, s in ((0, 0.02), (0, 1.05), (0.16, 1.05), (0.16, 0.02))]
        canvas.polygon(kerb, weather.on(mix(slab, (255, 255, 255), 0.35), 0.8), PAVEMENT)
    _paint_markings(view, weather, rng)


def _paint_markings(view: View, weather: Weather, rng: np.random.Generator) -> None:
    paint = weather.on(pick(rng, (226, 226, 220), (236, 214, 130)), 0.9)
    phase = rng.uniform(0, 1)
    for number in range(10):
        near, far = 1 / (0.8 + number + phase), 1 / (1.3 + number + phase)
        stripe = [view.ground(x, s) for x, s in ((-0.08, near), (0.08, near), (0.08, far), (-0.08, far))]
        view.canvas.polygon(stripe, paint)
    if rng.random() < 0.4:
        near = rng.uniform(0.42, 0.8)
        for across in np.arange(-view.road + 0.35, view.road - 0.5, 0.85):
            corners = ((across, near), (across + 0.45, near), (across + 0.45, near * 0.78), (across, near * 0.78))
            view.canvas.polygon([view.ground(x, s) for x, s in corners], weather.on((228, 228, 224), 0.9))
    for _ in range(int(rng.integers(0, 3))):
        x, y = view.ground(rng.uniform(-0.8, 0.8) * view.road, scale := rng.uniform(0.4, 0.9))
        view.canvas.ellipse(
            (x, y), (0.42 * view.metre * scale, 0.17 * view.metre * scale), weather.on((70, 68, 70), 0.9)
        )


def paint_far_end(view: View, weather: Weather, rng: np.random.Generator) -> None:
    """What closes the street: hills of trees and a small skyline on the horizon."""
    canvas = view.canvas
    horizon = view.vanishing[1]
    for _ in range(9):
        x, half = rng.uniform(0, canvas.width), rng.uniform(18, 50)
        wall = weather.on(pick(rng, *_WALLS), 0.12)
        canvas.box(x - half, horizon - rng.uniform(24, 110), x + half, horizon + 8, wall, BUILDING)
        for row in np.arange(horizon - 90, horizon - 8, 16):
            for column in np.arange(x - half + 7, x + half - 7, 15):
                if canvas.truth[int(row), int(np.clip(column, 0, canvas.width - 1))] == BUILDING:
                    canvas.box(column, row, column + 6, row + 8, mix(wall, (30, 36, 48), 0.4))
    for x in range(-20, canvas.width + 20, 22):
        leaf = weather.on(pick(rng, (78, 112, 66), (94, 122, 72)), 0.15)
        centre = (x + rng.normal(0, 8), horizon + rng.uniform(-6, 4))
        canvas.ellipse(centre, (rng.uniform(14, 26), rng.uniform(10, 24)), leaf, VEGETATION)


def paint_row(view: View, weather: Weather, side: int, rng: np.random.Generator) -> None:
    """A row of houses along one side (-1 left, 1 right), far to near, with a side street now and then."""
    houses: list[tuple[float, float, float]] = []
    back = 1.6
    while back > 0.13:
        length = rng.uniform(3.8, 7.5)
        front, back = back, 1 / (1 / back + length / FIRST_METRE)
        if rng.random() > 0.1:
            houses.append((front, back, length))
    for front, back, length in reversed(houses):
        floors, gable = int(rng.integers(2, 5)), str(rng.choice(("flat", "flat", "pointed", "stepped")))
        wall, columns = pick(rng, *_WALLS), max(round(length / 1.9), 2)
        texture, shape = facade(weather, wall, floors, columns, gable, (front + back) / 2, rng)
        height, across = FLOOR * texture.shape[0] / _CELL, side * (view.wall + rng.uniform(0, 0.25))
        _paint_end_wall(view, weather, across, front, FLOOR * floors, wall)
        scales = (back, front) if side > 0 else (front, back)
        above = [view.above(across, scale, height) for scale in scales]
        view.canvas.paste(texture, shape, [*above, *(view.ground(across, s) for s in reversed(scales))], BUILDING)


def _paint_end_wall(view: View, weather: Weather, across: float, scale: float, height: float, wall: Colour) -> None:
    """The near end of a house, seen over a lower neighbour or across a side street."""
    outward = across + np.sign(across) * 12
    corners = [view.above(across, scale, height), view.above(outward, scale, height), view.ground(outward, scale),
               view.ground(across, scale)]  # fmt: skip
    view.canvas.polygon(corners, weather.on(mix(wall, (50, 46, 50), 0.35), scale), BUILDING)


def facade(
    weather: Weather, wall: Colour, floors: int, columns: int, gable: str, scale: float, rng: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], Mask]:
    """A front as a flat texture (h, w, 3) and its outline (h, w).

    Courses of brick or plaster, floors of windows, a shop or a door below; above, a cornice, a roof or a stepped gable.
    """
    attic = 0 if gable == "flat" else _CELL
    h, w = floors * _CELL + attic, columns * _CELL
    texture = np.empty((h, w, 3), np.float32)
    texture[:] = wall
    if rng.random() < 0.5:
        texture[::6] *= 0.86
        for row in range(0, h, 6):
            texture[row : row + 6, (row // 6 % 2) * 5 :: 10] *= 0.9
    texture *= 1 + 0.05 * noise(rng, h, w, 7)[..., None]
    frame, arched = mix(wall, (250, 246, 238), 0.6), rng.random() < 0.3
    inset = int(rng.integers(9, 14))
    for floor in range(floors - 1):
        top = attic + floor * _CELL
        texture[top : top + 3] = np.asarray(mix(wall, (255, 255, 255), 0.25))
        for column in range(columns):
            _window(texture, column * _CELL, top, inset, frame, arched, weather, rng)
    _ground_floor(texture, attic + (floors - 1) * _CELL, columns, wall, weather, rng)
    shape = _gable(texture, gable, wall, rng)
    share = weather.fog * (1 - min(scale, 1.0)) ** 2
    lit = texture[..., 0] > 300
    tinted = (
        texture * (np.asarray(weather.tint, np.float32) * (1 - share)) + np.asarray(weather.haze, np.float32) * share
    )
    tinted[lit] = texture[lit] - _SHINE
    return np.clip(tinted, 0, 255).astype(np.uint8), shape


def _gable(texture: npt.NDArray[np.float32], kind: str, wall: Colour, rng: np.random.Generator) -> Mask:
    """Draw what is above the top floor; the outline of the whole front."""
    h, w = texture.shape[:2]
    shape = np.ones((h, w), bool)
    if kind == "flat":
        texture[:5] = np.asarray(mix(wall, (30, 28, 30), 0.35))
    elif kind == "pointed":
        roof = pick(rng, (148, 78, 60), (92, 86, 92), (118, 90, 72))
        texture[:_CELL] = np.asarray(roof) * (0.85 + 0.15 * (np.arange(_CELL) % 6 > 1))[:, None, None]
        rows = np.arange(_CELL)[:, None]
        shape[:_CELL] = np.abs(np.arange(w) - w / 2) < w / 2 * (0.35 + 0.65 * rows / _CELL)
        cv2.rectangle(texture, (w // 2 - 9, 18), (w // 2 + 9, 42), mix(wall, (255, 255, 255), 0.5), -1)
        cv2.rectangle(texture, (w // 2 - 6, 21), (w // 2 + 6, 40), _GLASS, -1)
    else:
        steps = np.floor(np.arange(_CELL) / 12)[:, None] / 4
        shape[:_CELL] = np.abs(np.arange(w) - w / 2) < w / 2 * (0.3 + 0.7 * steps)
        cv2.circle(texture, (w // 2, 28), 8, _GLASS, -1)
    return shape


def _window(
    texture: npt.NDArray[np.float32], x: int, y: int, inset: int, frame: Colour, arched: bool,
    weather: Weather, rng: np.random.Generator,
) -> None:  # fmt: skip
    """Glass in its frame. Light from inside is stored too bright by `_SHINE`: `facade` then does not tint it."""
    right, bottom, middle = x + _CELL - inset, y + _CELL - inset, x + _CELL // 2
    glass = _shine(rng) if rng.random() < weather.glow * 0.6 else pick(rng, _GLASS, (60, 70, 84), (128, 150, 168))
    cv2.rectangle(texture, (x + inset - 3, y + inset - 2), (right + 3, bottom + 4), frame, -1)
    cv2.rectangle(texture, (x + inset, y + inset), (right, bottom), glass, -1)
    if arched:
        cv2.ellipse(texture, (middle, y + inset), (_CELL // 2 - inset, 6), 0, 180, 360, glass, -1)
    cv2.line(texture, (middle, y + inset), (middle, bottom), frame, 2)
    if rng.random() < 0.15:
        cv2.rectangle(texture, (x + inset - 4, bottom), (right + 4, bottom + 6), (78, 122, 62), -1)
        cv2.circle(texture, (middle - 5, bottom), 3, pick(rng, (222, 84, 96), (240, 190, 70)), -1)


def _shine(rng: np.random.Generator) -> Colour:
    red, green, blue = pick(rng, _LIT)
    return (red + _SHINE, green + _SHINE, blue + _SHINE)


def _ground_floor(
    texture: npt.NDArray[np.float32], y: int, columns: int, wall: Colour, weather: Weather, rng: np.random.Generator
) -> None:
    """A shop window with a striped awning, or a base with a door."""
    w, bottom = columns * _CELL, y + _CELL
    if rng.random() < 0.55:
        glass = _shine(rng) if rng.random() < weather.glow else pick(rng, (70, 84, 92), (104, 122, 130))
        cv2.rectangle(texture, (0, y), (w, bottom), mix(wall, (40, 34, 32), 0.6), -1)
        cv2.rectangle(texture, (6, y + 14), (w - 6, bottom - 8), glass, -1)
        stripe = pick(rng, (196, 60, 56), (52, 110, 92), (60, 84, 150), (220, 160, 60))
        for number, left in enumerate(range(0, w, 9)):
            cv2.rectangle(texture, (left, y + 4), (left + 8, y + 17), stripe if number % 2 else (240, 236, 226), -1)
        return
    cv2.rectangle(texture, (0, bottom - 14), (w, bottom), mix(wall, (50, 46, 46), 0.45), -1)
    door = int(rng.integers(columns)) * _CELL
    for x in range(0, w, _CELL):
        if x != door:
            _window(texture, x, y, 12, mix(wall, (250, 246, 238), 0.6), False, weather, rng)
    colour = pick(rng, (112, 62, 42), (44, 84, 74), (60, 60, 92), (150, 44, 44))
    cv2.rectangle(texture, (door + 13, y + 8), (door + _CELL - 13, bottom), colour, -1)
    cv2.circle(texture, (door + _CELL - 17, y + 30), 2, (232, 200, 120), -1)
