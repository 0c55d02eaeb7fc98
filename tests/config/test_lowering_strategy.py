"""How processes share a training, by what other engines call it; and batches: their order, number and making."""

from __future__ import annotations

from typing import Any

import pytest
from test_lowering import dataset, problems, training, validation

from intarsia.config.lowering.lower import lower
from intarsia.spec import DataSpec, OptimSpec, RunSpec


def spec(**sections: Any) -> RunSpec:
    return lower(training(**sections))


def optim(wrapper: dict[str, Any] | None = None, **sections: Any) -> OptimSpec:
    given = {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1}, **(wrapper or {})}
    found = spec(optim_wrapper=given, **sections).optim
    assert found is not None
    return found


# --- Strategies ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "sharing"),
    [
        ("DDPStrategy", "ddp"),
        ({"type": "mmengine.SingleDeviceStrategy"}, "ddp"),
        ({"type": "FSDPStrategy", "skip_init_weights": True}, "fsdp"),
        ({"type": "DDPStrategy", "model_wrapper": {"type": "MMFullyShardedDataParallel"}}, "fsdp"),
        ({"type": "DeepSpeedStrategy", "zero_optimization": {"stage": 2}}, "fsdp"),
        ({"type": "DeepSpeedStrategy", "config": {"zero_optimization": {"stage": 0}}}, "ddp"),
    ],
)
def test_strategies_say_who_keeps_the_parameters(given: Any, sharing: str) -> None:
    assert spec(strategy=given, runner_type="FlexibleRunner").runtime.strategy == sharing


def test_deepspeed_says_precision_clipping_and_accumulation() -> None:
    strategy = {
        "type": "DeepSpeedStrategy",
        "fp16": {"enabled": True, "initial_scale_power": 15},
        "gradient_clipping": 0.5,
        "config": {"gradient_accumulation_steps": 2, "fp16": {"enabled": False}},
        "inputs_to_half": ["inputs"],
    }
    found = optim({"type": "DeepSpeedOptimWrapper"}, strategy=strategy)
    assert (found.precision, found.loss_scale, found.clip) == ("16-mixed", "dynamic", {"max_norm": 0.5})
    assert (found.accumulate, found.iterations_per_step) == (2, 2)
    assert optim(strategy={"type": "DeepSpeedStrategy", "bf16": {"enabled": True}}).precision == "bf16-mixed"
    assert optim(strategy={"type": "DeepSpeedStrategy", "fp16": {"enabled": False}}).precision == "32-true"
    [note] = [note for note in spec(strategy=strategy).notes if "DeepSpeed" in note]
    assert note.startswith("strategy: in the place of DeepSpeed each process has the whole network")


@pytest.mark.parametrize(
    ("given", "path", "said"),
    [
        ({"type": "ColossalAIStrategy"}, "strategy.type", "unknown strategy 'ColossalAIStrategy'"),
        ({"type": "FSDPStrategie"}, "strategy.type", "unknown strategy"),
        ({"type": "FSDPStrategy", "shards": 2}, "strategy.shards", "unknown key 'shards'"),
        ({"type": "DDPStrategy", "model_wrapper": {"type": "DDP"}}, "strategy.model_wrapper.type", "unknown wrapper"),
        ({"type": "DeepSpeedStrategy", "config": "zero3.json"}, "strategy.config", "a file of DeepSpeed's is not read"),
    ],
)
def test_strategies_that_are_none(given: Any, path: str, said: str) -> None:
    [(found, message)] = problems(training(strategy=given))
    assert found == path
    assert said in message


# --- Optimizers of other engines ----------------------------------------------------------------------------------


def test_apex_is_half_precision_as_torch_has_it() -> None:
    apex = {"type": "ApexOptimWrapper", "opt_level": "O2", "keep_batchnorm_fp32": True}
    found = optim({**apex, "loss_scale": 512.0})
    assert (found.precision, found.loss_scale) == ("16-mixed", 512.0)
    assert optim({**apex, "loss_scale": None}).loss_scale == "dynamic"
    assert optim({**apex, "opt_level": "O0"}).precision == "32-true"
    assert optim({**apex, "enabled": False}).precision == "32-true"
    wrapper = {"type": "AmpOptimWrapper", "opt_level": "O1", "optimizer": {"type": "SGD", "lr": 0.1}}
    assert problems(training(optim_wrapper=wrapper))[0][0] == "optim_wrapper.opt_level"


def test_an_optimizer_whose_state_was_shared_out() -> None:
    given = {"type": "ZeroRedundancyOptimizer", "optimizer_type": "AdamW", "lr": 0.01, "weight_decay": 0.1}
    found = optim({"optimizer": given}).optimizer
    assert (found.type, dict(found.args)) == ("AdamW", {"lr": 0.01, "weight_decay": 0.1})


def test_what_concerns_precision_and_places_of_files_is_told() -> None:
    found = spec(**validation() | {"val_cfg": {"type": "ValLoop", "fp16": True}}, resume=True)
    assert "val_cfg.fp16: evaluation has the precision of the run (--precision)" in found.notes
    assert any(note.startswith("resume: a run in --out is gone on with by") for note in found.notes)
    hook = {
        "type": "CheckpointHook",
        "interval": 10,
        "by_epoch": False,
        "out_dir": "x",
        "backend_args": {"backend": "s3"},
    }
    assert spec(default_hooks={"checkpoint": hook}).checkpoint is not None


# --- Batches ------------------------------------------------------------------------------------------------------


def train(**keys: Any) -> DataSpec:
    found = spec(train_dataloader={"batch_size": 2, "dataset": dataset(), **keys}).train
    assert found is not None
    return found


def test_order_number_and_making_of_batches() -> None:
    found = train(sampler={"type": "InfiniteSampler", "seed": 7}, num_batch_per_epoch=5)
    assert (found.order_seed, found.first_batches) == (7, 5)
    assert (train().order_seed, train().first_batches) == (None, None)
    for name in ("pseudo_collate", "mmengine.default_collate"):
        assert train(collate_fn={"type": name}) == train()


@pytest.mark.parametrize(
    ("keys", "path", "said"),
    [
        ({"sampler": {"seed": -1}}, "sampler.seed", "expected 0 or more, found -1"),
        ({"num_batch_per_epoch": 0}, "num_batch_per_epoch", "expected 1 or more, found 0"),
        (
            {"collate_fn": {"type": "own_collate"}},
            "collate_fn",
            "batches are made by one function, not by 'own_collate'",
        ),
        ({"worker_init_fn": {"type": "own"}}, "worker_init_fn", "every sample has its own random stream"),
        (
            {"dataset": dataset(backend_args={"backend": "petrel"})},
            "dataset.backend_args",
            "mount what is elsewhere, or copy it (`aws s3 sync s3://... DIR`), and name that folder as data_root",
        ),
    ],
)
def test_batches_that_cannot_be(keys: dict[str, Any], path: str, said: str) -> None:
    [(found, message)] = problems(training(train_dataloader={"batch_size": 2, "dataset": dataset(), **keys}))
    assert found == f"train_dataloader.{path}"
    assert said in message


@pytest.mark.parametrize("backend", [None, {"backend": "local"}, {"backend": "disk"}, {"backend": "hardisk"}])
def test_files_of_this_machine_have_many_names(backend: Any) -> None:
    assert train(dataset=dataset(backend_args=backend)) == train()
