"""Parts of a network that training leaves as they are."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

NORMS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)


class Frozen:
    """Modules and parameters of a network named by patterns: no gradients, and batch norms that keep their statistics.

    patterns: names of modules or parameters, with * and ? as in file names. A module's name stands for all below it:
    "backbone", "backbone.layer[12]", "*.bias". spared: modules whose parameters go on to be trained, wherever they are.

    Raises ValueError for a pattern that matches nothing, with the nearest names.
    """

    def __init__(self, network: nn.Module, patterns: Sequence[str], *, spared: Sequence[nn.Module] = ()) -> None:
        kept = {id(parameter) for module in spared for parameter in module.parameters()}
        self._modules: list[nn.Module] = []
        self.parameters = 0
        for pattern in patterns:
            modules = [module for name, module in network.named_modules() if name and fnmatchcase(name, pattern)]
            single = [parameter for name, parameter in network.named_parameters() if fnmatchcase(name, pattern)]
            if not modules and not single:
                raise ValueError(f"freeze: {pattern!r} matches no module or parameter. {_nearest(network, pattern)}")
            self._modules += modules
            for parameter in (*single, *(parameter for module in modules for parameter in module.parameters())):
                if id(parameter) not in kept:
                    self.parameters += parameter.numel() if parameter.requires_grad else 0
                    parameter.requires_grad_(False)
        if patterns and not any(parameter.requires_grad for parameter in network.parameters()):
            raise ValueError(f"freeze: {', '.join(patterns)} leave nothing to train")

    def hold(self) -> None:
        """To be called whenever the network was put into training mode: frozen norms go on with what they know."""
        for frozen in self._modules:
            for module in frozen.modules():
                if isinstance(module, NORMS):
                    module.eval()


def _nearest(network: nn.Module, pattern: str) -> str:
    names = [name for name, _ in network.named_modules() if name]
    close = difflib.get_close_matches(pattern, names, n=3, cutoff=0.5)
    if close:
        return f"Did you mean {' or '.join(map(repr, close))}?"
    return f"There are: {', '.join(dict(network.named_children()))}, and what is below them"
