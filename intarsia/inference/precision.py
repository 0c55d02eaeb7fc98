"""What a network computes in when it predicts: float32, or half precision by autocast.

In half precision torch computes convolutions, matrix products and attention in 16 bits, and what needs more digits in
float32 (`layers/precision.py`). Weights stay as they are and logits become float32, so that scores, resizing and
decisions are those of any other logits. Labels differ where two classes are nearly alike.
"""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from intarsia.terminal import Notice

AUTOCAST: dict[str, torch.dtype | None] = {"32": None, "16": torch.float16, "bf16": torch.bfloat16}
"""What `--precision` says -> the type that autocast computes in; None: it does not."""

INSTRUCTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "x86_64": {"bf16": ("avx512_bf16", "amx_bf16"), "16": ("avx512_fp16", "amx_fp16")},
    "aarch64": {"bf16": ("bf16", "sve_bf16"), "16": ("fp16_arith",)},
}
"""For each architecture and precision the instruction sets, as torch names them, of which a processor needs one."""

SAME = {"arm64": "aarch64", "amd64": "x86_64"}
"""Other names of architectures."""


def check_precision(precision: str, device: torch.device) -> None:
    """Raises ValueError for an unknown precision. Warns where the device is slower in it than in float32."""
    if precision not in AUTOCAST:
        raise ValueError(f"precision is one of {', '.join(AUTOCAST)}, found {precision!r}")
    if AUTOCAST[precision] is None:
        return
    missing = missing_instructions(precision) if device.type == "cpu" else missing_on_gpu(precision, device)
    if missing:
        others = [name for name in AUTOCAST if name != precision and not (device.type == "cpu" and _is_slow(name))]
        warnings.warn(f"precision {precision}: {missing}; try {' or '.join(others)}", Notice, stacklevel=3)


def missing_instructions(precision: str) -> str:
    """What the processor lacks to be fast in a precision; "" if nothing, or where torch does not say."""
    found = _capabilities()
    architecture = str(found.get("architecture")).lower()
    wanted = INSTRUCTIONS.get(SAME.get(architecture, architecture), {}).get(precision)
    if wanted is None or any(found.get(name) for name in wanted):
        return ""
    names = " nor ".join(name.upper() for name in wanted)
    return f"this processor has no {names} instructions, without which it is slower than in float32, not faster"


def missing_on_gpu(precision: str, device: torch.device) -> str:
    """The same of a GPU: bfloat16 came with compute capability 8.0."""
    if precision != "bf16" or device.type != "cuda":
        return ""
    major, minor = torch.cuda.get_device_capability(device)
    if torch.version.hip or major >= 8:
        return ""
    return f"compute capability {major}.{minor} has no bfloat16 (8.0 has), so that it is slower than in float32"


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Within, networks compute in this precision."""
    kind = AUTOCAST[precision]
    return nullcontext() if kind is None else torch.autocast(device.type, dtype=kind)


def _is_slow(precision: str) -> bool:
    return AUTOCAST[precision] is not None and bool(missing_instructions(precision))


def _capabilities() -> dict[str, Any]:
    """What torch says of the processor; nothing, in versions that do not say it."""
    ask = getattr(torch.cpu, "get_capabilities", None)
    return {} if ask is None else dict(ask())
