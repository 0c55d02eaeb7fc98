"""What of a pretrained trunk is trained, and how fast: what `--lora` and `--layer-decay` write into a config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from intarsia.config.schema.fates import bare

if TYPE_CHECKING:
    from intarsia.config.language.reader import Config

ANY_TRUNK = "LayerWiseDecay"
BY_DEPTH = ("LayerDecayOptimizerConstructor", "LearningRateDecayOptimizerConstructor")
"""OpenMMLab's constructors, which go on to count as their config says."""
_RATES = ("decay_rate", "layer_decay_rate")
_COVERED = {"norm_decay_mult", "bias_decay_mult", "flat_decay_mult", "bypass_duplicate"}
"""Rules that layer-wise decay has, too: what has one dimension is not decayed."""


def settings_for(config: Config, *, lora: int | None, layer_decay: float | None) -> Iterator[str]:
    """Overrides of a training's config. Raises ValueError for what cannot be, or cannot go together."""
    if lora is not None:
        given = (config.values.get("intarsia") or {}).get("lora")
        value: Any = {**given, "rank": lora} if isinstance(given, Mapping) else lora
        yield f"intarsia.lora={value!r}"
    if layer_decay is not None:
        yield from _layer_decay(config.values.get("optim_wrapper") or {}, layer_decay)


def _layer_decay(wrapper: Mapping[str, Any], rate: float) -> Iterator[str]:
    if not 0 < rate <= 1:
        raise ValueError(f"--layer-decay is a number up to 1, usually 0.65 to 0.95; found {rate:g}")
    rules = dict(wrapper.get("paramwise_cfg") or {})
    if bare(str(wrapper.get("constructor", ""))) in (*BY_DEPTH, ANY_TRUNK):
        name = next((name for name in _RATES if name in rules), "decay_rate")
        yield f"optim_wrapper.paramwise_cfg.{name}={rate!r}"
        return
    others = sorted(
        name for name, value in rules.items() if name not in _COVERED or (name != "bypass_duplicate" and value)
    )
    if others:
        raise ValueError(
            f"--layer-decay would replace what optim_wrapper.paramwise_cfg of this config says ({', '.join(others)}); "
            "take that away first, by --set optim_wrapper.paramwise_cfg-, or leave --layer-decay out"
        )
    yield f"optim_wrapper.constructor={ANY_TRUNK!r}"
    yield f"optim_wrapper.paramwise_cfg={ {'decay_rate': rate}!r}"
