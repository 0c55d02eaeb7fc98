"""Files that lack the backbone they were trained on, or hold differences to it: it is put in, from a file of its own.

Who publishes weights made of others' may not pass these on, such as those of DINOv3: what is published is then the
head alone, or with it what was changed in the backbone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from intarsia.weights.maps import recognise
from intarsia.weights.maps.eomt import DINOV3

if TYPE_CHECKING:
    from torch import Tensor

    from intarsia.weights.maps.rules import KeyMap

WHOLE: Literal["none"] = "none"
"""Instead of a file: that the tensors are whole as they are."""

Base = Path | Literal["none"] | None

_PART = "backbone."


def with_base(
    state: Mapping[str, Tensor], found: KeyMap, file: Path, base: Mapping[str, Tensor] | Literal["none"] | None
) -> dict[str, Tensor]:
    """The tensors of `file` with those of the backbone that it was trained on, both under our names.

    base: of a network of ours, or of its backbone alone, under the names of timm or, of a DINOv3, of transformers.
    Raises ValueError where it is not given or does not fit.
    """
    if base == WHOLE:
        return dict(state)
    if base is None:
        what = "differences to the weights of its backbone" if found.base == "added" else "no backbone"
        raise ValueError(
            f"{file} ({found.name}) holds {what}, which are under a licence of their own: expected them, too. Make one "
            "file of both first: intarsia weights convert FILE --base timm://NAME -o model.safetensors, where NAME is "
            "that of timm, or the path of the original file; or --base none, if the file is whole as it is"
        )
    named = recognise(base)
    if named is not None and named.name == DINOV3:
        base = named.convert(base)[0]
    inside = any(name.startswith(_PART) for name in base)
    own = {name if inside else f"{_PART}{name}": value for name, value in base.items()}
    own = {name: value for name, value in own.items() if name.startswith(_PART)}
    if found.base == "taken":
        return {**own, **state}
    differences = {name: value for name, value in state.items() if name.startswith(_PART)}
    wrong = [name for name, value in differences.items() if name not in own or own[name].shape != value.shape]
    if wrong:
        raise ValueError(
            f"the base does not fit {file}: expected {len(differences)} tensors of the same names and shapes, and "
            f"{len(wrong)} are not there, or are of others: {', '.join(wrong[:3])}. It must be the very network that "
            "was trained on"
        )
    return {**state, **{name: own[name].float() + value.float() for name, value in differences.items()}}
