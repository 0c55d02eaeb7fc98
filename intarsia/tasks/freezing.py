"""Parts of a network that training leaves as they are."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
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
            modules, parameters = matching(network, pattern, what="freeze")
            self._modules += modules
            for parameter in (parameter for parameter in parameters if id(parameter) not in kept):
                self.parameters += parameter.numel() if parameter.requires_grad else 0
                parameter.requires_grad_(False)
        if patterns and not any(parameter.requires_grad for parameter in network.parameters()):
            raise ValueError(f"freeze: {', '.join(patterns)} leave nothing to train")

    def norms(self) -> Iterator[nn.Module]:
        """The norms inside of frozen modules, which keep their statistics."""
        for frozen in self._modules:
            yield from (module for module in frozen.modules() if isinstance(module, NORMS))

    def hold(self) -> None:
        """To be called whenever the network was put into training mode: frozen norms go on with what they know."""
        for norm in self.norms():
            norm.eval()


def matching(network: nn.Module, pattern: str, *, what: str) -> tuple[list[nn.Module], list[nn.Parameter]]:
    """The modules that a pattern names, and all parameters that it names or that are in these modules.

    what: for whom, at the beginning of a message. Raises ValueError if there are none, with the nearest names.
    """
    if not isinstance(pattern, str):
        raise ValueError(
            f"{what} takes names, each as an argument of its own: {what}('backbone', ...); found {pattern!r}"
        )
    modules = [module for name, module in network.named_modules() if name and fnmatchcase(name, pattern)]
    single = [parameter for name, parameter in network.named_parameters() if fnmatchcase(name, pattern)]
    if not modules and not single:
        raise ValueError(f"{what}: {pattern!r} matches no module or parameter. {_nearest(network, pattern)}")
    return modules, [*single, *(parameter for module in modules for parameter in module.parameters())]


def frozen_names(network: nn.Module) -> tuple[str, ...]:
    """What has no gradients, as names that `Frozen` takes: whole modules where all of their parameters have none."""
    return tuple(_frozen_names(network, ""))


def _frozen_names(module: nn.Module, prefix: str) -> Iterator[str]:
    for name, parameter in module.named_parameters(recurse=False):
        if not parameter.requires_grad:
            yield f"{prefix}{name}"
    for name, child in module.named_children():
        parameters = list(child.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            yield f"{prefix}{name}"
        else:
            yield from _frozen_names(child, f"{prefix}{name}.")


def _nearest(network: nn.Module, pattern: str) -> str:
    names = [name for name, _ in network.named_modules() if name]
    close = difflib.get_close_matches(pattern, names, n=3, cutoff=0.6)
    children = f"There are: {', '.join(dict(network.named_children()))}, and what is below them"
    return f"Did you mean {' or '.join(map(repr, close))}? {children}" if close else children
