"""Indices of bands (NDVI and their kin): further channels that are computed from the bands of an image by name.

An expression is read as data: names of bands, numbers, + - * / and brackets, nothing else. It is computed in float32;
where it has no value, as 0 / 0, it is 0.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

KNOWN = {
    "ndvi": "(nir - red) / (nir + red)",
    "ndwi": "(green - nir) / (green + nir)",
    "ndbi": "(swir - nir) / (swir + nir)",
    "ndmi": "(nir - swir) / (nir + swir)",
    "mndwi": "(green - swir) / (green + swir)",
    "gndvi": "(nir - green) / (nir + green)",
    "savi": "1.5 * (nir - red) / (nir + red + 0.5)",
    "evi": "2.5 * (nir - red) / (nir + 6 * red - 7.5 * blue + 1)",
}
"""Indices by their usual names, of bands by theirs. SAVI and EVI are for reflectances from 0 to 1."""

Index = tuple[str, str]
"""The name of a channel, and its expression."""

_LONGEST = 500
_OPERATORS: dict[type[ast.operator], Any] = {
    ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.Div: np.divide,
}  # fmt: skip


def known_indices(names: Sequence[str]) -> tuple[Index, ...]:
    """Raises ValueError for a name that is not in `KNOWN`."""
    for name in names:
        if name.lower() not in KNOWN:
            raise ValueError(f"{name!r} is none of {', '.join(KNOWN)}; others as {{NAME: (nir - red) / (nir + red)}}")
    return tuple((name, KNOWN[name.lower()]) for name in names)


def check_indices(indices: Sequence[Index], bands: Sequence[str]) -> None:
    """Raises ValueError if an expression cannot be read, or names a band that is not among `bands`."""
    for name, expression in indices:
        if not name or name in bands:
            raise ValueError(f"{name!r} cannot be the name of an index: it is empty, or that of a band")
        for band in _bands_of(_parsed(expression)):
            if band not in bands:
                raise ValueError(
                    f"{name} = {expression}: expected bands among {', '.join(b for b in bands if b) or 'none'}, found "
                    f"{band!r}; `names` says what the bands are called"
                )


def with_indices(samples: npt.NDArray[Any], indices: Sequence[Index], bands: Sequence[str]) -> npt.NDArray[np.float32]:
    """(..., B) of named bands -> (..., B + I) float32: the bands, then an index for each expression."""
    wide = samples.astype(np.float32)
    by_name = {name: wide[..., band] for band, name in enumerate(bands) if name}
    found = np.empty((*wide.shape[:-1], wide.shape[-1] + len(indices)), np.float32)
    found[..., : wide.shape[-1]] = wide
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for place, (_, expression) in enumerate(indices, wide.shape[-1]):
            found[..., place] = _value(_parsed(expression), by_name)
    added = found[..., wide.shape[-1] :]
    added[~np.isfinite(added)] = 0
    return found


@lru_cache(maxsize=256)
def _parsed(expression: str) -> ast.expr:
    try:
        if len(expression) > _LONGEST:
            raise ValueError(f"it has {len(expression)} letters, more than {_LONGEST}")
        tree = ast.parse(expression.strip(), mode="eval").body
        _check(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ValueError(
            f"expected an expression of bands such as (nir - red) / (nir + red), found {expression[:80]!r}: {reason}"
        ) from None
    return tree


def _check(node: ast.expr) -> None:
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        _check(node.left)
        _check(node.right)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        _check(node.operand)
    elif not isinstance(node, ast.Name) and not (isinstance(node, ast.Constant) and _is_number(node.value)):
        raise ValueError(f"{ast.unparse(node)} is no name of a band, no number, and none of + - * /")


def _bands_of(node: ast.expr) -> Iterator[str]:
    """The names in an expression that has been checked."""
    if isinstance(node, ast.BinOp):
        yield from _bands_of(node.left)
        yield from _bands_of(node.right)
    elif isinstance(node, ast.UnaryOp):
        yield from _bands_of(node.operand)
    elif isinstance(node, ast.Name):
        yield node.id


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e30


def _value(node: ast.expr, bands: dict[str, npt.NDArray[np.float32]]) -> Any:
    if isinstance(node, ast.BinOp):
        return _OPERATORS[type(node.op)](_value(node.left, bands), _value(node.right, bands))
    if isinstance(node, ast.UnaryOp):
        value = _value(node.operand, bands)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.Name):
        return bands[node.id]
    assert isinstance(node, ast.Constant)
    assert isinstance(node.value, int | float)
    return np.float32(node.value)
