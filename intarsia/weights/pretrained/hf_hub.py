"""Pretrained weights for the backbones of transformers: the tensors of a folder as the Hugging Face Hub has it.

They are read by Intarsia's own reader. Files name a network in several ways: as it is, below a word ("dinov2."), and as
earlier versions of transformers called its layers, for which transformers has a table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intarsia.io.digest import file_hash
from intarsia.weights.file import read_state
from intarsia.weights.maps.folder import licence_of, tensor_files

if TYPE_CHECKING:
    from torch import Tensor, nn

KINDS = ("HFBackbone",)
"""Types of backbones whose networks are transformers'."""
LICENCES = {"apache-2.0": "Apache-2.0", "mit": "MIT", "bsd-3-clause": "BSD-3-Clause"}
"""Licence as the hub writes it -> as we do; others stay as they are."""


def folder_state(folder: Path, prefix: str | None = None) -> tuple[dict[str, Tensor], list[str], dict[str, Any]]:
    """All tensors of a folder as they are named there, what was done to them, and what run.json says of the folder."""
    files = tensor_files(folder)
    state, notes = read_state(files[0], *files[1:], prefix=prefix, translate=False)
    licence = licence_of(folder)
    said = {"licence": LICENCES.get(licence, licence)} if licence else {}
    return state, notes, {"sha256": file_hash(files[0]), **said}


def as_in_transformers(state: Mapping[str, Tensor], backbone: nn.Module) -> dict[str, Tensor]:
    """Tensors under the names that the installed transformers has for them, as far as it has any.

    backbone: an `HFBackbone`. Of the ways to read the names, the one that finds most of the network.
    """
    own = set(backbone.state_dict())
    words = {name.partition(".")[0] for name in state}
    others = {name.partition(".")[0] for name in own}
    (network,) = backbone.__dict__["network"]
    today = _renaming(network)
    ways: list[Callable[[str], str]] = [
        str,
        *(lambda name, word=word: name.removeprefix(f"{word}.") for word in sorted(words)),
        *(lambda name, word=word: f"{word}.{name}" for word in sorted(others)),
    ]
    readings = [{way(change(name)): value for name, value in state.items()} for change in (str, today) for way in ways]
    return max(readings, key=lambda reading: len(own & reading.keys()))


def _renaming(network: Any) -> Callable[[str], str]:
    """What earlier versions of transformers called a tensor -> what the installed one does; before 5, nothing."""
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping
    except ImportError:
        return str
    found = get_model_conversion_mapping(network)
    steps = [step for step in found if not hasattr(step, "operations") and hasattr(step, "rename_source_key")]

    def renamed(name: str) -> str:
        for step in steps:
            name, _ = step.rename_source_key(name)
        return name

    return renamed
