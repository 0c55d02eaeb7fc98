"""THE training loop. There is one; trainer.py has its steps, session.py what comes between them."""

from __future__ import annotations

from intarsia.engine.training.run import Run, TrainingResult
from intarsia.engine.training.session import Session


def train(run: Run) -> TrainingResult:
    """Train, evaluate and save as `run` says; leave everything in its folder.

    Data order, augmentation, dropout and learning rate are functions of the step, so that a run that was stopped and
    resumed ends in the same weights as one that was not. Ctrl-C finishes the step, saves, and says how to go on.

    Raises NonFiniteLossError when the loss stays nan or infinite, DiskFullError when a checkpoint has no room,
    CheckpointError when there are some to resume from but none is whole.
    """
    run.runtime.launch()
    with Session(run) as session:
        session.restore()
        session.evaluate_if_due()
        while session.step < run.steps and not session.stopping:
            result = session.trainer.step()
            session.after_step(result)
            session.evaluate_if_due()
            session.save_if_due()
        return session.finish()
