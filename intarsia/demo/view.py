"""Where things stand and in which light: a street seen along its length, and the weather over it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from intarsia.demo.canvas import Canvas, Colour, Point, mix

CLASSES = ("sky", "building", "road", "pavement", "vegetation", "car", "pedestrian", "pole", "sign")
SKY, BUILDING, ROAD, PAVEMENT, VEGETATION, CAR, PEDESTRIAN, POLE, SIGN = range(len(CLASSES))
PALETTE = (
    (112, 168, 219),
    (166, 124, 98),
    (92, 88, 108),
    (214, 176, 196),
    (94, 153, 82),
    (44, 74, 168),
    (222, 64, 74),
    (246, 204, 84),
    (244, 130, 38),
)

METRE = 41.0
"""Pixels of the final picture per metre at its lower edge, where scale is 1."""


@dataclass(frozen=True)
class View:
    """One camera position. Lengths are metres; `scale` runs from 1 at the lower edge to 0 at the horizon.

    vanishing: the point where everything along the street meets, in canvas pixels.
    road: half the width of the road; pavement: the width of each pavement.
    """

    canvas: Canvas
    vanishing: Point
    road: float
    pavement: float
    metre: float

    def ground(self, across: float, scale: float) -> Point:
        """The canvas point on the ground, `across` metres to the right of the middle of the road."""
        x, horizon = self.vanishing
        return x + across * self.metre * scale, horizon + (self.canvas.height - horizon) * scale

    def above(self, across: float, scale: float, height: float) -> Point:
        """The canvas point `height` metres above the ground."""
        x, y = self.ground(across, scale)
        return x, y - height * self.metre * scale

    @property
    def wall(self) -> float:
        """Where the buildings begin, in metres from the middle."""
        return self.road + self.pavement


@dataclass(frozen=True)
class Weather:
    """The light of one scene. `tint` multiplies every colour; far things fade into `haze` by at most `fog`.

    top, bottom: colours of the sky. glow: how many windows and lamps are lit, 0-1.
    """

    name: str
    top: Colour
    bottom: Colour
    tint: Colour
    haze: Colour
    fog: float
    glow: float = 0.0
    wet: bool = False

    def on(self, colour: Colour, scale: float) -> Colour:
        """A colour as this light shows it at a distance."""
        red, green, blue = (value * factor for value, factor in zip(colour, self.tint, strict=True))
        return mix((red, green, blue), self.haze, self.fog * (1 - scale) ** 2)


WEATHERS = (
    Weather("noon", (92, 156, 226), (198, 226, 244), (1.05, 1.04, 1.0), (196, 216, 232), 0.30),
    Weather("spring", (126, 190, 228), (236, 240, 230), (1.06, 1.04, 0.98), (224, 228, 220), 0.30),
    Weather("overcast", (152, 162, 174), (204, 208, 210), (0.86, 0.88, 0.91), (190, 196, 202), 0.45),
    Weather("golden", (120, 140, 190), (252, 200, 132), (1.10, 0.92, 0.74), (246, 200, 150), 0.45, glow=0.25),
    Weather("dusk", (58, 62, 122), (232, 138, 122), (0.82, 0.70, 0.80), (164, 116, 134), 0.45, glow=0.6),
    Weather("rain", (112, 122, 134), (158, 166, 172), (0.72, 0.77, 0.82), (150, 158, 166), 0.60, glow=0.3, wet=True),
    Weather("fog", (196, 200, 202), (214, 216, 214), (0.92, 0.93, 0.93), (208, 210, 210), 0.75),
    Weather("evening", (22, 28, 66), (74, 70, 112), (0.58, 0.58, 0.74), (70, 70, 106), 0.40, glow=0.8),
)


def pick(rng: np.random.Generator, *choices: Colour) -> Colour:
    """One of some colours, slightly varied."""
    base = choices[int(rng.integers(len(choices)))]
    varied = zip(base, rng.normal(0, 9, 3).tolist(), strict=True)
    red, green, blue = (min(max(value + change, 0.0), 255.0) for value, change in varied)
    return (red, green, blue)
