"""One scene from its number: a view, a weather, and everything in the street from far to near."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from intarsia.demo import backdrop, figures
from intarsia.demo.canvas import FACTOR, Canvas, noise
from intarsia.demo.view import CLASSES, METRE, PAVEMENT, ROAD, WEATHERS, View, Weather

HEIGHT, WIDTH = 160, 240
IGNORE_INDEX = 255

FARTHEST = 2.6
"""The smallest thing is so many times smaller than at the lower edge of the picture."""
DISTANCE = 0.75
"""Between things, in metres to the side; four of these count as much as one step of the inverse scale."""

Painter = Callable[[View, Weather, float, float, np.random.Generator], None]


def draw(number: int, seed: int = 0) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Picture (160, 240, 3) RGB and truth (160, 240), 255 along outlines: a function of the two numbers."""
    rng = np.random.default_rng((seed, number))
    canvas = Canvas(HEIGHT, WIDTH)
    vanishing = (rng.uniform(0.36, 0.64) * canvas.width, rng.uniform(0.40, 0.50) * canvas.height)
    metre = METRE * FACTOR * rng.uniform(0.9, 1.1)
    view = View(canvas, vanishing, rng.uniform(2.3, 2.9), rng.uniform(1.9, 2.5), metre)
    weather = WEATHERS[number % len(WEATHERS)]
    backdrop.paint_sky(view, weather, rng)
    backdrop.paint_far_end(view, weather, rng)
    backdrop.paint_ground(view, weather, rng)
    for side in (-1, 1):
        backdrop.paint_row(view, weather, side, rng)
        if rng.random() < 0.35:
            figures.paint_hedge(view, weather, side, rng)
    for scale, across, paint in sorted(_cast(view, rng), key=lambda thing: thing[0]):
        paint(view, weather, across, scale, rng)
    picture, truth = canvas.develop(len(CLASSES), IGNORE_INDEX)
    return _finish(picture, truth, weather, rng), truth


def _cast(view: View, rng: np.random.Generator) -> list[tuple[float, float, Painter]]:
    """Who and what is in the street: (scale, metres across, painter), unsorted, at some distance from each other."""
    things: list[tuple[float, float, Painter]] = []

    def place(paint: Painter, count: int, nearest: float, across: Callable[[], float]) -> None:
        for _ in range(count):
            for _ in range(8):
                scale, x = 1 / rng.uniform(1 / nearest, FARTHEST), across()
                if all(abs(1 / scale - 1 / s) * 4 + abs(x - other) > DISTANCE for s, other, _ in things):
                    things.append((scale, x, paint))
                    break

    def side() -> float:
        return float(rng.choice((-1, 1)))

    kerb, road = view.road + 0.35, view.road
    place(figures.paint_car, int(rng.integers(1, 4)), 0.8, lambda: side() * road * rng.uniform(0.44, 0.6))
    place(figures.paint_lamp, int(rng.integers(2, 4)), 0.9, lambda: side() * kerb)
    place(figures.paint_person, int(rng.integers(3, 7)), 0.9, lambda: side() * rng.uniform(road + 0.7, view.wall - 0.4))
    place(figures.paint_sign, int(rng.integers(1, 4)), 0.9, lambda: side() * (kerb + rng.uniform(0, 0.2)))
    place(figures.paint_tree, int(rng.integers(1, 4)), 0.7, lambda: side() * (kerb + rng.uniform(0.2, 0.5)))
    if rng.random() < 0.3:
        place(figures.paint_person, 1, 0.8, lambda: rng.uniform(-0.8, 0.8) * road)
    return things


def _finish(
    picture: npt.NDArray[np.uint8], truth: npt.NDArray[np.uint8], weather: Weather, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Rough ground, puddles and rain in the wet, uneven light, and the grain of a sensor."""
    light = picture.astype(np.float32)
    ground = np.isin(truth, (ROAD, PAVEMENT))[..., None]
    rough = (
        1 + 0.04 * rng.standard_normal((HEIGHT, WIDTH, 1), np.float32) + 0.05 * noise(rng, HEIGHT, WIDTH, 12)[..., None]
    )
    light *= np.where(ground, rough, 1)
    if weather.wet:
        puddle = np.where(ground, np.clip(noise(rng, HEIGHT, WIDTH, 17)[..., None], 0, 1) * 0.5, 0)
        light += puddle * (np.asarray(weather.bottom, np.float32) - light)
        for _ in range(70):
            column, top, length = rng.integers(WIDTH), rng.integers(HEIGHT - 12), rng.integers(4, 12)
            light[top : top + length, column] += 22
    y, x = np.ogrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    uneven = 1 + 0.12 * (x * rng.uniform(-1, 1) + y * rng.uniform(-1, 1)) - 0.10 * (x**2 + y**2)
    light *= uneven[..., None] * rng.uniform(0.92, 1.1)
    light += 3.5 * rng.standard_normal((HEIGHT, WIDTH, 1))
    return np.clip(light, 0, 255).astype(np.uint8)
