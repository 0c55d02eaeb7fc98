"""The things in the street: trees, lamps, signs, cars, people. Each stands on the ground at (across, scale)."""

from __future__ import annotations

import math

import numpy as np

from intarsia.demo.canvas import Colour, mix
from intarsia.demo.view import CAR, PEDESTRIAN, POLE, SIGN, VEGETATION, View, Weather, pick

_PAINTS: tuple[Colour, ...] = (
    (196, 44, 44),
    (230, 230, 228),
    (44, 46, 54),
    (58, 96, 168),
    (148, 152, 158),
    (72, 118, 84),
    (228, 178, 58),
    (122, 60, 84),
    (130, 176, 196),
    (214, 118, 62),
)
_COATS: tuple[Colour, ...] = ((206, 48, 44), (232, 118, 40), (240, 186, 52), (178, 40, 92))
_METAL: Colour = (52, 84, 86)
_LEAVES: tuple[Colour, ...] = ((70, 120, 58), (96, 142, 66), (122, 150, 70), (58, 100, 66))
_AUTUMN: tuple[Colour, ...] = ((206, 134, 52), (178, 84, 48), (216, 172, 76))
_BLOSSOM: tuple[Colour, ...] = ((236, 178, 196), (246, 214, 222))
_SKIN: tuple[Colour, ...] = ((236, 196, 168), (198, 148, 112), (128, 86, 62), (92, 62, 46))


def paint_tree(view: View, weather: Weather, across: float, scale: float, rng: np.random.Generator) -> None:
    """A trunk and a crown of leaves, green, autumnal or in blossom; its shadow lies on the ground."""
    unit = view.metre * scale
    x, y = view.ground(across, scale)
    height, spread = rng.uniform(3.4, 5.2), rng.uniform(1.0, 1.7)
    view.canvas.shadow((x, y), (spread * unit, 0.35 * unit), 0.35)
    bark = weather.on(pick(rng, (112, 76, 46), (126, 92, 64)), scale)
    view.canvas.line([(x, y), (x + rng.normal(0, 0.1) * unit, y - 0.7 * height * unit)], 0.34 * unit, bark, VEGETATION)
    kind = rng.random()
    leaf = pick(rng, *(_LEAVES if kind < 0.85 else _AUTUMN if kind < 0.95 else _BLOSSOM))
    for number in range(34):
        angle, radius = rng.uniform(0, 2 * math.pi), math.sqrt(rng.random()) * spread
        bx, by = radius * math.cos(angle), radius * math.sin(angle) * 0.95
        light = 0.72 + 0.5 * number / 34 - 0.12 * by / spread
        shade: Colour = (leaf[0] * light, leaf[1] * light, leaf[2] * light)
        size = rng.uniform(0.22, 0.5) * spread * unit * (1.15 - 0.5 * number / 34)
        centre = (x + bx * unit, y - (height - spread * 0.6) * unit + by * unit)
        view.canvas.ellipse(centre, (size, size * 0.9), weather.on(shade, scale), VEGETATION)


def paint_hedge(view: View, weather: Weather, side: int, rng: np.random.Generator) -> None:
    """A hedge along a stretch of the pavement's inner edge."""
    leaf = pick(rng, *_LEAVES)
    near, far = (scale := rng.uniform(0.4, 0.9)), scale * rng.uniform(0.4, 0.7)
    for share in np.linspace(0, 1, 40):
        scale = 1 / (1 / far + (1 / near - 1 / far) * share)
        x, y = view.ground(side * (view.wall - 0.35), scale)
        unit = view.metre * scale
        shade = mix(leaf, (30, 60, 30), rng.uniform(0, 0.45))
        centre = (x + rng.normal(0, 0.08) * unit, y - rng.uniform(0.3, 0.75) * unit)
        view.canvas.ellipse(centre, (0.36 * unit, 0.34 * unit), weather.on(shade, scale), VEGETATION)


def paint_lamp(view: View, weather: Weather, across: float, scale: float, rng: np.random.Generator) -> None:
    """A street lamp whose arm reaches over the road, lit in the dark."""
    unit = view.metre * scale
    x, y = view.ground(across, scale)
    metal = weather.on(pick(rng, _METAL), scale)
    height, arm = rng.uniform(4.6, 5.6), -math.copysign(rng.uniform(0.5, 0.9), across)
    view.canvas.shadow((x, y), (0.4 * unit, 0.12 * unit), 0.4)
    top = y - height * unit
    width = 0.32 * unit
    view.canvas.line([(x, y), (x, top), (x + arm * unit, top - 0.15 * unit)], width, metal, POLE)
    view.canvas.box(x - width, y - 0.6 * unit, x + width, y, metal, POLE)
    bulb: Colour = (255, 232, 168) if weather.glow > 0.2 else weather.on((216, 214, 204), scale)
    view.canvas.ellipse((x + arm * unit, top - 0.02 * unit), (0.3 * unit, 0.13 * unit), bulb, POLE)


def paint_sign(view: View, weather: Weather, across: float, scale: float, rng: np.random.Generator) -> None:
    """A round, triangular or square traffic sign, or a hanging board, on its pole."""
    unit = view.metre * scale
    x, y = view.ground(across, scale)
    height, size = rng.uniform(2.3, 3.0), rng.uniform(0.48, 0.66) * unit
    view.canvas.shadow((x, y), (0.3 * unit, 0.1 * unit), 0.35)
    view.canvas.line([(x, y), (x, y - height * unit)], 0.28 * unit, weather.on(_METAL, scale), POLE)
    y -= height * unit
    white, red, blue = (weather.on(c, scale) for c in ((240, 240, 236), (206, 42, 46), (40, 92, 176)))
    kind = rng.integers(4)
    if kind == 0:
        view.canvas.ellipse((x, y), (size, size), red, SIGN)
        view.canvas.ellipse((x, y), (size * 0.7, size * 0.7), white)
        if rng.random() < 0.5:
            view.canvas.box(
                x - size * 0.5, y - size * 0.14, x + size * 0.5, y + size * 0.14, weather.on((40, 40, 44), scale)
            )
    elif kind == 1:
        for grow, colour, label in ((1.2, red, SIGN), (0.7, white, None)):
            reach = size * grow
            corners = [(x, y - reach), (x + reach * 0.95, y + reach * 0.7), (x - reach * 0.95, y + reach * 0.7)]
            view.canvas.polygon(corners, colour, label)
    elif kind == 2:
        view.canvas.box(x - size, y - size, x + size, y + size, blue, SIGN)
        view.canvas.box(x - size * 0.3, y - size * 0.6, x + size * 0.3, y + size * 0.6, white)
    else:
        board = weather.on(pick(rng, (44, 120, 84), (226, 184, 60)), scale)
        view.canvas.box(x - size * 1.5, y - size * 0.8, x + size * 1.5, y + size * 0.8, board, SIGN)
        for row in (-0.3, 0.3):
            view.canvas.line([(x - size, y + row * size), (x + size * 0.8, y + row * size)], size * 0.2, white)


def paint_car(view: View, weather: Weather, across: float, scale: float, rng: np.random.Generator) -> None:
    """A car from behind (right of the middle) or from the front (left of it)."""
    unit = view.metre * scale
    x, y = view.ground(across, scale)
    behind = across > 0
    half, tall, cabin = rng.uniform(0.82, 0.95) * unit, rng.uniform(1.35, 1.85) * unit, rng.uniform(0.66, 0.82)
    colour = pick(rng, *_PAINTS)
    body, dark = weather.on(colour, scale), weather.on(mix(colour, (16, 16, 20), 0.45), scale)
    canvas = view.canvas
    canvas.shadow((x, y), (half * 1.25, 0.28 * unit), 0.6)
    for side in (-1, 1):
        canvas.box(x + side * half * 0.78 - 0.13 * unit, y - 0.34 * unit, x + side * half * 0.78 + 0.13 * unit, y,
                   weather.on((26, 26, 28), scale), CAR)  # fmt: skip
    waist, sill = y - tall * 0.56, y - 0.17 * unit
    roof = [
        (x - half * cabin, y - tall),
        (x + half * cabin, y - tall),
        (x + half * 0.94, waist),
        (x - half * 0.94, waist),
    ]
    canvas.polygon(roof, body, CAR)
    canvas.polygon([(x - half, waist), (x + half, waist), (x + half * 1.02, sill), (x - half * 1.02, sill)], body, CAR)
    canvas.ellipse((x, waist), (half, 0.1 * unit), body, CAR)
    glass = weather.on(pick(rng, (60, 76, 90), (120, 140, 152), (40, 46, 54)), scale)
    pane = [(x - half * cabin * 0.86, y - tall * 0.94), (x + half * cabin * 0.86, y - tall * 0.94),
            (x + half * 0.8, waist + 0.02 * unit), (x - half * 0.8, waist + 0.02 * unit)]  # fmt: skip
    canvas.polygon(pane, glass)
    glint = [pane[0], (x - half * 0.2, pane[0][1]), (x - half * 0.45, pane[2][1]), pane[3]]
    canvas.polygon(glint, mix(glass, (255, 255, 255), 0.18))
    canvas.box(x - half * 0.98, y - 0.36 * unit, x + half * 0.98, sill, dark)
    canvas.box(x - 0.28 * unit, y - 0.5 * unit, x + 0.28 * unit, y - 0.38 * unit, weather.on((232, 232, 222), scale))
    lamp: Colour = weather.on((214, 40, 40), 1) if behind else (255, 244, 206)
    for side in (-1, 1):
        canvas.ellipse((x + side * half * 0.78, y - 0.62 * unit), (0.17 * unit, 0.1 * unit), lamp)


def paint_person(view: View, weather: Weather, across: float, scale: float, rng: np.random.Generator) -> None:
    """Someone walking: legs, coat, arms, head, now and then a hat, a bag, or in the rain an umbrella."""
    unit = view.metre * scale * rng.uniform(1.1, 1.3)
    x, y = view.ground(across, scale)
    canvas = view.canvas

    def at(right: float, up: float) -> tuple[float, float]:
        return x + right * unit, y - up * unit

    coat = weather.on(pick(rng, *_COATS), scale)
    legs = weather.on(pick(rng, (44, 52, 78), (62, 58, 56), (136, 118, 92), (34, 34, 38)), scale)
    skin = weather.on(pick(rng, *_SKIN), scale)
    stride, swing = rng.uniform(0.06, 0.26), rng.uniform(-0.12, 0.12)
    canvas.shadow((x, y), (0.5 * unit, 0.12 * unit), 0.45)
    for side in (-1, 1):
        canvas.line([at(side * 0.1, 0.85), at(side * stride, 0.04)], 0.24 * unit, legs, PEDESTRIAN)
        canvas.ellipse(at(side * stride + 0.05, 0.04), (0.12 * unit, 0.06 * unit), legs, PEDESTRIAN)
    hem = rng.uniform(0.6, 0.86)
    canvas.polygon([at(-0.26, 1.42), at(0.26, 1.42), at(0.34, hem), at(-0.34, hem)], coat, PEDESTRIAN)
    canvas.ellipse(at(0, 1.42), (0.26 * unit, 0.1 * unit), coat, PEDESTRIAN)
    for side in (-1, 1):
        canvas.line([at(side * 0.27, 1.38), at(side * 0.37 + swing, 0.86)], 0.16 * unit, coat, PEDESTRIAN)
    canvas.ellipse(at(0, 1.63), (0.16 * unit, 0.19 * unit), skin, PEDESTRIAN)
    hair = weather.on(pick(rng, (52, 38, 30), (150, 110, 60), (30, 28, 30), (170, 166, 160), (180, 60, 60)), scale)
    canvas.ellipse(at(0, 1.72), (0.17 * unit, 0.11 * unit), hair, PEDESTRIAN)
    if rng.random() < 0.35:
        bag = weather.on(pick(rng, *_PAINTS), scale)
        canvas.box(*at(0.26, 0.92), *at(0.46, 0.66), bag, PEDESTRIAN)
    if weather.wet and rng.random() < 0.7:
        cloth = weather.on(pick(rng, *_PAINTS), scale)
        canvas.line([at(0.2, 1.1), at(0.2, 2.1)], 0.05 * unit, legs, PEDESTRIAN)
        dome = [at(0.2 + 0.62 * math.cos(a), 1.82 + 0.42 * math.sin(a)) for a in np.linspace(0, math.pi, 16)]
        canvas.polygon(dome, cloth, PEDESTRIAN)
