"""Learning rate and weight decay of every parameter, against `facts/param_groups.json.gz`, from the config on.

A network that exists here is built and asked for its parameters. Of the others the facts know the names, and the
reference's records the shapes; that suffices for rules that look at nothing else.
"""

from __future__ import annotations

import gzip
import json
from functools import cache
from typing import Any

import building
import pytest
import references
import torch

from intarsia import catalog
from intarsia.config.build import build_task
from intarsia.config.language.reader import Config
from intarsia.config.lowering.fields import Context
from intarsia.config.lowering.training import lower_optim
from intarsia.engine.optim.param_groups import Parameter, trained_parameters
from intarsia.spec import OptimSpec

FACTS = references.SHARED / "facts"


@cache
def read(name: str) -> dict[str, Any]:
    file = FACTS / name
    return json.loads(gzip.decompress(file.read_bytes())) if file.is_file() else {}


def lowered(wrapper: dict[str, Any]) -> OptimSpec:
    context = Context(Config.from_values({"optim_wrapper": wrapper}, file="reference"))
    spec = lower_optim(context, wrapper, None, None)
    assert not context.problems
    return spec


def parameters(name: str) -> list[Parameter]:
    """What is known of a network's parameters."""
    model = read("mmseg_configs.json.gz")[name]["model"]
    if building.known(model):
        with torch.device("meta"):
            network = build_task(building.described(model)).model
        return [parameter for parameter, _ in trained_parameters(network)]
    shapes = next((record["state"] for record in references.records().values() if record["config"] == name), {})
    return [Parameter(key, tuple(shapes.get(key, ()))) for key in read("param_groups.json.gz")[name]]


@pytest.mark.parametrize("name", read("param_groups.json.gz"))
def test_every_parameter_has_the_settings_of_the_original(name: str) -> None:
    spec = lowered(read("mmseg_configs.json.gz")[name]["optim_wrapper"])
    constructor = catalog.resolve("constructor", spec.constructor)
    described = parameters(name)
    optimizer = spec.optimizer.args
    found = constructor(described, spec.paramwise, optimizer["lr"], optimizer["weight_decay"])
    assert {
        parameter.name: [settings["lr"], settings["weight_decay"]]
        for parameter, settings in zip(described, found, strict=True)
    } == read("param_groups.json.gz")[name]


def test_rules_that_look_at_layers_are_tried_on_networks() -> None:
    """Otherwise the parameters above would have been described too poorly for their rules."""
    for name in read("param_groups.json.gz"):
        config = read("mmseg_configs.json.gz")[name]
        rules = config["optim_wrapper"]["paramwise_cfg"]
        if not building.known(config["model"]):
            layerwise = "num_layers" in rules
            assert set(rules) <= {"custom_keys"} or layerwise, name
            assert not layerwise or any(r["config"] == name for r in references.records().values()), name
