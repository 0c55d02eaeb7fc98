"""What to do where a norm has a single value to average over: torch says that it is so, but not what a run can change.

Several methods pool the image to a single pixel and normalise that. Of one image, each channel then has one value.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

TORCHS_WORDS = ("Expected more than 1 value per channel", "Expected more than 1 spatial element")
"""How torch's batch and group norms, and its instance norms, begin."""


@contextmanager
def explained_norms(network: object) -> Iterator[None]:
    """Around a call of the network: errors of its norms about too few values name the norm, and the way out.

    Raises ValueError instead of torch's error, also of a compiled network, where torch raises RuntimeError.
    """
    try:
        yield
    except (ValueError, RuntimeError) as error:
        if not any(words in str(error) for words in TORCHS_WORDS):
            raise
        raise ValueError(_explanation(error, network)) from error


def _explanation(error: Exception, network: object) -> str:
    norm = _culprit(error)
    modules = network.named_modules() if isinstance(network, nn.Module) else ()
    name = next((name for name, module in modules if norm is not None and module is norm), "")
    which = f"{name} ({type(norm).__name__})" if name else "a batch norm"
    if isinstance(norm, nn.GroupNorm | nn.modules.instancenorm._InstanceNorm):
        return (
            f"{which} has a single value to average over, since its map is one pixel; more images do not help. Give "
            f"it another norm_cfg: dict(type='BN'), or dict(type='GN', num_groups=...) with fewer groups than channels"
        )
    return (
        f"this network needs two images or more per process in training: {which} sees one value per channel in a "
        f"batch of one image, whose map is one pixel. Use a batch_size of 2 or more, SyncBN over several processes, "
        f"or norm_cfg=dict(type='GN', num_groups=...)"
    )


def _culprit(error: Exception) -> nn.Module | None:
    """The innermost norm that was running; None where the network was compiled, of which no frame tells."""
    kinds = nn.modules.batchnorm._NormBase | nn.GroupNorm
    running = (frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__))
    norms = [owner for owner in running if isinstance(owner, kinds)]
    return norms[-1] if norms else None
