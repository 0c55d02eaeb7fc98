"""A total batch, shared out over processes and over micro-batches that are accumulated. Imports no torch.

Learning rates belong to the number of images per optimizer step, so that number is what a run states; how it comes
about depends on the machine.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SharedBatch:
    """Images of one optimizer step: in each of `accumulation_steps`, every process sees `micro_batch_size` of them."""

    processes: int
    micro_batch_size: int
    accumulation_steps: int = 1

    @property
    def total(self) -> int:
        """Images per optimizer step."""
        return self.processes * self.micro_batch_size * self.accumulation_steps

    def __str__(self) -> str:
        factors = [_count(self.processes, "process", "processes"), _count(self.micro_batch_size, "image", "images")]
        if self.accumulation_steps > 1:
            factors.append(f"{self.accumulation_steps} accumulation steps")
        return f"{_count(self.total, 'image', 'images')} per step: {' x '.join(factors)}"


def share(total: int, *, processes: int, micro_batch_size: int) -> SharedBatch:
    """How a total batch is accumulated, when each process can hold `micro_batch_size` images at once.

    Raises ValueError, naming the nearest totals that work, if that is no whole number.
    """
    at_once = processes * micro_batch_size
    steps, rest = divmod(total, at_once)
    if rest or steps < 1:
        totals = [steps * at_once, (steps + 1) * at_once] if steps > 0 else [at_once]
        held = f"{_count(processes, 'process', 'processes')} x {_count(micro_batch_size, 'image', 'images')}"
        raise ValueError(
            f"a total batch of {total} is no multiple of {held}; the nearest that "
            f"{'are' if len(totals) > 1 else 'is'}: {' and '.join(map(str, totals))}. Or let each process hold another "
            "number of images (--batch-per-device)"
        )
    return SharedBatch(processes, micro_batch_size, steps)


def reshare(
    before: SharedBatch, processes: int, *, micro_batch_size: int | None = None, synchronised: bool
) -> SharedBatch:
    """The same total batch in another number of processes, for a run that goes on there.

    micro_batch_size: images that a process sees at once, if the user says so. Otherwise as many as make a batch norm
    see what it has seen: those of one process, or those of all processes if norms are synchronised. Where that is no
    whole number, the accumulation steps stay as many as they were.

    Raises ValueError if the total cannot be shared by so many processes.
    """
    if micro_batch_size is not None:
        return share(before.total, processes=processes, micro_batch_size=micro_batch_size)
    at_once = before.processes * before.micro_batch_size
    wanted = at_once // processes if synchronised and at_once % processes == 0 else before.micro_batch_size
    for size in (wanted, before.total // (processes * before.accumulation_steps)):
        if size and before.total % (processes * size) == 0:
            return SharedBatch(processes, size, before.total // (processes * size))
    raise ValueError(
        f"the run has {before.total} images per step, which {processes} processes cannot share evenly; "
        f"it was last in {_count(before.processes, 'process', 'processes')}"
    )


def remark(batch: SharedBatch, written_for: int | None) -> str:
    """How the batch comes about, and whether it is the one that the learning rate is meant for. For the log."""
    if written_for is None or written_for == batch.total:
        return str(batch)
    return (
        f"{batch}. The learning rate of this recipe is meant for {written_for} images per step: --batch {written_for} "
        f"--batch-per-device {batch.micro_batch_size} accumulates as many, or scale the learning rate"
    )


def _count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"
