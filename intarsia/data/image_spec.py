"""What images a model was trained on, as its weights file keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from intarsia.data.band_indices import Index, check_indices
from intarsia.data.bands import RGB, Bands, band_mode
from intarsia.data.orientation import AXES, PLANES
from intarsia.data.value_range import Scale, ValueRange

MOST_CHANNELS = 10_000
"""Of one of several images."""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One of several images that a sample is made of, by its name; the rest as of `ImageSpec`."""

    name: str
    bands: Bands = "rgb"
    channels: int = 3
    names: tuple[str, ...] = ()
    values: ValueRange | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> InputSpec:
        """The inverse of `to_json`. Raises ValueError, TypeError or KeyError for anything else."""
        mode = band_mode(str(values.get("bands", "rgb")))
        channels = values.get("channels", 3 if mode == "rgb" else 1)
        names = tuple(map(str, values.get("names", ())))
        if not isinstance(channels, int) or not 1 <= channels <= MOST_CHANNELS or (mode == "rgb" and channels != 3):
            raise ValueError(f"{channels} channels: rgb images have 3, others from 1 to {MOST_CHANNELS}")
        if names and len(names) != channels:
            raise ValueError(f"{len(names)} names for {channels} channels")
        found = values.get("values")
        return cls(str(values["name"]), mode, channels, names, None if found is None else ValueRange.from_json(found))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        found: dict[str, Any] = {"name": self.name, "bands": self.bands, "channels": self.channels}
        if self.names:
            found["names"] = list(self.names)
        if self.values is not None:
            found["values"] = self.values.to_json()
        return found


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """What images a model was trained on; weights carry it.

    bands: how files were read. channels: of the network. names: of the channels of "raw" images, "" where their files
    did not say it; empty if unknown. values: what they held; None if unknown, as of weights of before. scale: what
    stored values of colours became 0 and 255, if their files were not read as they are. slices: the axis along which
    volumes were taken apart, "" if there were none. indices: channels behind those of "raw" images, which are computed
    of them; `names` and `values` say nothing of these. inputs: the several images of each sample, whose bands
    `channels` and `names` are, as "raw" ones; none where there is one image.

    Raises ValueError for an index of bands that have no such name.
    """

    bands: Bands = "rgb"
    channels: int = 3
    names: tuple[str, ...] = ()
    values: ValueRange | None = None
    scale: Scale | None = None
    slices: str = ""
    indices: tuple[Index, ...] = ()
    inputs: tuple[InputSpec, ...] = ()

    def __post_init__(self) -> None:
        check_indices(self.indices, self.names)

    @property
    def stored(self) -> int:
        """How many of the channels are bands of a file; 0 if any number is taken."""
        return self.channels - len(self.indices)

    @classmethod
    def from_json(cls, values: Mapping[str, Any], *, bands: Bands, channels: int) -> ImageSpec:
        """What a weights file says, completed from its model's config. Raises ValueError for what makes no sense."""
        found = cls(bands, channels)
        if not values:
            return found
        try:
            mode = band_mode(values.get("bands", bands))
            return cls(
                bands=mode,
                channels=channels,
                names=tuple(map(str, values.get("names", ()))) if mode == "raw" else (),
                values=ValueRange.from_json(values["values"]) if values.get("values") else None,
                scale=Scale.of(list(values["scale"])) if values.get("scale") else None,
                slices=values["slices"] if values.get("slices") in (*AXES, *PLANES) else "",
                indices=tuple((str(name), str(text)) for name, text in values.get("indices", ())),
                inputs=tuple(InputSpec.from_json(one) for one in values.get("inputs", ())),
            )
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"the weights describe their images in an unknown way: {values!r} ({error})") from None

    def to_json(self) -> dict[str, Any]:
        """Plain values for the weights file."""
        found: dict[str, Any] = {"bands": self.bands, "names": list(RGB) if self.bands == "rgb" else list(self.names)}
        if self.values is not None:
            found["values"] = self.values.to_json()
        if self.scale is not None:
            found["scale"] = list(self.scale.ends)
        if self.slices:
            found["slices"] = self.slices
        if self.indices:
            found["indices"] = [list(index) for index in self.indices]
        if self.inputs:
            found["inputs"] = [one.to_json() for one in self.inputs]
        return found
