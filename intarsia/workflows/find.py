"""``intarsia train --find lr|batch``: what a training could be given, tried out on its own network and data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from intarsia.engine.optim.batch_finder import BatchTrial, try_batches
from intarsia.engine.optim.lr_finder import RateSweep, sweep_learning_rate
from intarsia.terminal import out as results
from intarsia.terminal import progress, say, table
from intarsia.visual.comparison import save_sweep
from intarsia.workflows.assemble import assemble, checked
from intarsia.workflows.run_options import RunOptions

if TYPE_CHECKING:
    from intarsia.config.language.reader import Config
    from intarsia.distributed.runtime import FabricRuntime

STEPS = 100


def find_rate(config: Config, options: RunOptions, runtime: FabricRuntime) -> RateSweep:
    """Sweep the learning rate, draw the losses, name the rate at which they fall fastest."""
    run = assemble(config, checked(config), options, runtime)
    with progress("sweeping the learning rate") as bar:
        sweep = sweep_learning_rate(run, steps=STEPS, progress=lambda done: bar(done, STEPS))
    picture = save_sweep(options.out / "learning_rate.png", sweep.rates, sweep.losses, sweep.suggestion)
    written = run.optim.optimizer.args.get("lr")
    said = "" if written is None else f"; the config has {written:g}"
    say(f"the loss falls fastest at a learning rate of {sweep.suggestion:.2g}{said}")
    say(f"losses: {picture}; to use it: --set optim_wrapper.optimizer.lr={sweep.suggestion:.2g}")
    return sweep


def find_batch(config: Config, options: RunOptions, runtime: FabricRuntime) -> list[BatchTrial]:
    """Train a step with larger and larger batches; a table of time and memory, and the largest that fits."""
    run = assemble(config, checked(config), options, runtime)
    say(f"trying batches on {runtime.device}; each takes two steps")
    trials = try_batches(run, on_trial=lambda trial: say(_line(trial)))
    fits = [trial for trial in trials if trial.seconds]
    if not fits:
        raise ValueError("not even two images fit; use a smaller --crop")
    rows = [
        (str(trial.images), f"{trial.seconds:.3f}", f"{trial.images / (trial.seconds or 1):.1f}", _gigabytes(trial))
        for trial in sorted(fits, key=lambda trial: trial.images)
    ]
    results().print(table("", ("images", "s/step", "images/s", "memory"), rows, left=0))
    largest = max(trial.images for trial in fits)
    fastest = max(fits, key=lambda trial: trial.images / (trial.seconds or 1)).images
    shares = runtime.world_size
    say(f"largest that fits: --batch {largest * shares}; most images per second: --batch {fastest * shares}")
    return trials


def _line(trial: BatchTrial) -> str:
    if trial.seconds is None:
        return f"  {trial.images} images: do not fit"
    return f"  {trial.images} images: {trial.seconds:.2f} s, {_gigabytes(trial)}"


def _gigabytes(trial: BatchTrial) -> str:
    return f"{(trial.memory or 0) / 1e9:.2f} GB"
