"""What an exported file takes and gives, as it says itself, for whoever runs it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from intarsia.label_sets import set_count
from intarsia.weights.file import WeightsMeta

KEY = "intarsia"
"""Name of the entry in a file's metadata."""

FORMAT = 1
"""Of this description. A reader refuses later ones, which may mean something else by the same words."""

Answer = Literal["class", "classes", "depth"]
Output = Literal["label", "scores", "probs", "logits", "depth"]
Layout = Literal["NHWC", "NCHW"]
OUTPUTS: tuple[Output, ...] = get_args(Output)
LAYOUTS: tuple[Layout, ...] = get_args(Layout)

MEANINGS: Mapping[Output, Mapping[str, str]] = {
    "label": {"label": "class index of each pixel, (N, H, W)"},
    "scores": {"label": "class index of each pixel, (N, H, W)", "confidence": "its probability, (N, H, W), float32"},
    "probs": {"probs": "probability of each class, (N, K, H, W), float32"},
    "logits": {"logits": "scores of each class before softmax or sigmoid, (N, K, H, W), float32"},
    "depth": {"depth": "distance of each pixel, in the unit of the training, (N, H, W), float32"},
}
"""What a file can give: its outputs by name."""

OF_SETS: Mapping[str, str] = {
    "label": "set of the classes of each pixel: bit k, of value 2 ** k, is class k, (N, H, W)",
    "confidence": "probability of the least sure yes or no of each pixel, (N, H, W), float32",
}
"""The same where a pixel may have several classes, as far as it is another."""


@dataclass(frozen=True, slots=True)
class Contract:
    """What goes in and what comes out.

    output: a key of `MEANINGS`. answer: what the model says of a pixel, as in `InferenceSpec`.
    layout: of the images, `channels` of them, numbers of type `dtype`, in the order of the training (RGB for colours),
    neither normalised nor padded.
    size: (height, width) if the file takes images of this size alone; why: the reason. None: any from `least_size`
    pixels on a side, smaller ones too, which are padded inside.
    batch: how many images at once, None for any number.
    asks_size: whether there is a second input "size", two int64, height and width of the answer: images are resized
    before they are shown, as `resize` says in words, and the answer is at the size of the original.
    precision: of the numbers inside.
    mean, std: by channel, what is subtracted from stored images, and what they are divided by, before the file takes
    them; empty where the file does that itself, as all do but those for programs with rules of their own.
    """

    output: Output
    layout: Layout
    channels: int
    dtype: str = "uint8"
    size: tuple[int, int] | None = None
    why: str = ""
    batch: int | None = None
    asks_size: bool = False
    resize: str = ""
    precision: str = "fp32"
    answer: Answer = "class"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs, in order."""
        return tuple(MEANINGS[self.output])

    @property
    def meanings(self) -> dict[str, str]:
        """What each output is."""
        return {**MEANINGS[self.output]} | {
            name: text for name, text in OF_SETS.items() if name in self.outputs and self.answer == "classes"
        }

    def says_all_of(self, num_classes: int) -> bool:
        """Whether label and confidence are all there is to say: of two classes of which a pixel has one."""
        return self.output == "scores" and self.answer == "class" and num_classes == 2

    def shape(self, batch: int, height: int, width: int) -> tuple[int, ...]:
        """Of the images of this size."""
        if self.layout == "NHWC":
            return (batch, height, width, self.channels)
        return (batch, self.channels, height, width)


@dataclass(frozen=True, slots=True)
class ExportMeta:
    """All that an exported file says: its contract, and what the weights it was made of say about themselves.

    weights_hash: SHA-256 of their file. versions: of the programs that made it, by name. certificate: what comparing
    it with the original gave, `certificate.Certificate` as plain values; empty until that was done. calibration: of
    int8, fingerprints of the images that its ranges were measured on, by which a comparison leaves them out.
    """

    contract: Contract
    weights: WeightsMeta
    weights_hash: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    certificate: Mapping[str, Any] = field(default_factory=dict)
    calibration: tuple[str, ...] = ()

    @property
    def label_dtype(self) -> str:
        """Of the numbers in `label`: 8 bits as long as they hold classes, or sets of them; ONNX hardly knows uint16."""
        classes = len(self.weights.classes)
        values = set_count(classes) if self.contract.answer == "classes" else classes
        return "uint8" if values <= 256 else "int32"

    def to_json(self) -> str:
        """One line of JSON."""
        values = {
            "format": FORMAT,
            "contract": asdict(self.contract),
            "outputs": self.contract.meanings,
            "weights": json.loads(self.weights.to_json()),
            "weights_hash": self.weights_hash,
            "versions": dict(self.versions),
            "certificate": dict(self.certificate),
            "calibration": list(self.calibration),
        }
        return json.dumps(values, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> ExportMeta:
        """The inverse of `to_json`. Raises ValueError for anything else, and for files of a later Intarsia."""
        try:
            found = json.loads(text)
            version = found["format"]
            contract = {name: found["contract"][name] for name in _NAMES if name in found["contract"]}
            if version == FORMAT:
                contract |= {"size": _pair(contract.get("size"))}
                contract |= {name: tuple(map(float, contract.get(name, ()))) for name in ("mean", "std")}
                return cls(
                    _checked(Contract(**contract)), WeightsMeta.from_json(json.dumps(found["weights"])),
                    str(found.get("weights_hash", "")), dict(found.get("versions", {})),
                    dict(found.get("certificate", {})), tuple(map(str, found.get("calibration", ()))),
                )  # fmt: skip
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"the file's description of itself is damaged ({type(error).__name__}: {error})") from None
        raise ValueError(f"the file was exported by a later Intarsia (format {version}, this one reads {FORMAT})")


def check_described(path: Path, contract: Contract, shape: Sequence[Any], names: Collection[str]) -> None:
    """Raises ValueError if a file takes images of another shape than its description says, or gives something else.

    shape: of its input "image", with numbers where it takes nothing else. names: of its outputs.
    """
    height, width = contract.size or (None, None)
    sides = (height, width, contract.channels) if contract.layout == "NHWC" else (contract.channels, height, width)
    expected = (contract.batch, *sides)
    found = tuple(int(one) if isinstance(one, int) else None for one in shape)
    if found != expected:
        raise ValueError(
            f"{path}: its description says images of {contract.layout} {_words(expected)}, but its graph takes "
            f"{_words(found)}; it belongs to another file or was changed: export the model again"
        )
    missing = [name for name in contract.outputs if name not in names]
    if missing:
        raise ValueError(
            f"{path}: its description says that it gives {', '.join(contract.outputs)}, but its graph gives "
            f"{', '.join(names)}; it belongs to another file or was changed: export the model again"
        )


def _words(shape: Sequence[int | None]) -> str:
    return f"({', '.join('any' if side is None else str(side) for side in shape)})"


_NAMES = tuple(one.name for one in fields(Contract))


def _pair(size: Any) -> tuple[int, int] | None:
    if size is None:
        return None
    height, width = size
    return int(height), int(width)


def _checked(contract: Contract) -> Contract:
    if contract.output not in OUTPUTS or contract.layout not in LAYOUTS:
        raise ValueError(f"output {contract.output!r}, layout {contract.layout!r}")
    if contract.answer not in get_args(Answer) or (contract.answer == "depth") != (contract.output == "depth"):
        raise ValueError(f"output {contract.output!r} of a model that answers with {contract.answer!r}")
    if not isinstance(contract.channels, int) or contract.channels < 1:
        raise ValueError(f"{contract.channels!r} channels")
    if contract.mean and not len(contract.mean) == len(contract.std) == contract.channels:
        raise ValueError(f"{len(contract.mean)} means, {len(contract.std)} deviations, {contract.channels} channels")
    return contract
