"""The pretrained weights of timm: whose file a network's name stands for, under which licence, for which images.

    timm://convnext_tiny.dinov3_lvd1689m     the file that timm publishes for it, at the Hugging Face Hub
    timm://convnext_tiny                     that of the network's usual weights

What timm says of a name is read from its tables; nothing is fetched or built here.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from intarsia.weights.pretrained.table import NON_COMMERCIAL, Pretrained, digits_of
from intarsia.weights.timm_names import published_name

if TYPE_CHECKING:
    from torch import Tensor, nn

SCHEME = "timm"
KINDS = ("TIMM", "TIMMBackbone", "ViTAdapter")
"""Types of backbones whose networks are timm's."""
HUB = "hf://"
LICENCES = {
    "apache-2.0": "Apache-2.0",
    "mit": "MIT",
    "bsd-3-clause": "BSD-3-Clause",
    "cc-by-nc-4.0": NON_COMMERCIAL,
    "dinov3-license": "DINOv3 License: commercial use is allowed; what is made of these weights is passed on under the "
    "same licence only, with a copy of it; no military, nuclear or espionage use",
}
"""Licence as timm writes it -> as we do; others stay as they are."""


@dataclass(frozen=True)
class Normalisation:
    """What pretrained weights have seen: mean and deviation of red, green and blue, of 0 to 255."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def entry(name: str) -> Pretrained | None:
    """The weights that a name of timm stands for; None for a network without any, or where timm is not installed."""
    config = _config(name)
    if config is None or not (config.hf_hub_id or config.url):
        return None
    if config.hf_hub_id:
        repository = config.hf_hub_id
        if repository == "timm/":
            repository = f"timm/{config.architecture}.{config.tag}" if config.tag else f"timm/{config.architecture}"
        address = f"{HUB}{repository}" + (f"/{config.hf_hub_filename}" if config.hf_hub_filename else "")
        address = address if config.hf_hub_filename else f"{address}/model.safetensors"
        digits = ""
    else:
        address, digits = config.url, digits_of(config.url)
    licence = str(config.license or "").lower()
    full = f"{config.architecture}.{config.tag}" if config.tag else str(config.architecture)
    return Pretrained(f"{SCHEME}://{full}", address, digits, LICENCES.get(licence, licence))


def normalisation(name: str) -> Normalisation | None:
    """Of the images that a network's weights were trained with; None where it has none."""
    config = _config(name)
    if config is None or len(config.mean) != 3:
        return None
    mean, std = ([round(255 * value, 3) for value in values] for values in (config.mean, config.std))
    return Normalisation((mean[0], mean[1], mean[2]), (std[0], std[1], std[2]))


def unknown(written: str) -> str:
    """What to say of a name that timm has no weights for."""
    try:
        import timm
    except ImportError:
        return f"{written} is a name of timm, which is not installed: pip install 'intarsia[timm]'"
    name = written.partition("://")[2]
    known = timm.list_pretrained(f"{name.partition('.')[0]}.*")
    has = f"it has {', '.join(known)}" if known else "names: timm.list_pretrained()"
    return f"timm {timm.__version__} has no weights {name!r}; {has}; or give a file, or none"


def _config(name: str) -> Any:
    """What timm says of a name."""
    try:
        import timm
    except ImportError:
        return None
    try:
        return timm.get_pretrained_cfg(name, allow_unregistered=False)
    except (RuntimeError, KeyError, ValueError):
        return None


def as_published(state: Mapping[str, Tensor], backbone: nn.Module) -> dict[str, Tensor]:
    """Tensors as timm itself would load them: other codes' names translated, positions resampled for other grids.

    backbone: a `TIMM`, of whose network it is.
    """
    (network,) = backbone.__dict__["network"]
    state = {published_name(name): value for name, value in state.items()}
    module = sys.modules.get(type(network).__module__)
    translate = getattr(module, "checkpoint_filter_fn", None)
    if translate is None:
        return state
    found: Mapping[str, Tensor] = translate(dict(state), network)
    return dict(found)
