"""A total batch, shared out over processes and over parts that are accumulated. Imports no torch.

Learning rates belong to the number of images per optimizer step, so that number is what a run states; how it comes
about depends on the machine.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SharedBatch:
    """Images of one optimizer step: in each of `parts`, every process sees `images` of them."""

    processes: int
    images: int
    parts: int = 1

    @property
    def total(self) -> int:
        """Images per optimizer step."""
        return self.processes * self.images * self.parts

    def __str__(self) -> str:
        factors = [_count(self.processes, "process", "processes"), _count(self.images, "image", "images")]
        if self.parts > 1:
            factors.append(f"{self.parts} accumulated parts")
        return f"{_count(self.total, 'image', 'images')} per step: {' x '.join(factors)}"


def share(total: int, *, processes: int, images: int) -> SharedBatch:
    """The parts in which a total batch is accumulated, when each process can hold `images` at once.

    Raises ValueError, naming the nearest totals that work, if that is no whole number.
    """
    at_once = processes * images
    parts, rest = divmod(total, at_once)
    if rest or parts < 1:
        totals = [parts * at_once, (parts + 1) * at_once] if parts > 0 else [at_once]
        held = f"{_count(processes, 'process', 'processes')} x {_count(images, 'image', 'images')}"
        raise ValueError(
            f"a total batch of {total} is no multiple of {held}; the nearest that "
            f"{'are' if len(totals) > 1 else 'is'}: {' and '.join(map(str, totals))}. Or let each process hold another "
            "number of images (--batch-per-device)"
        )
    return SharedBatch(processes, images, parts)


def reshare(before: SharedBatch, processes: int, *, images: int | None = None, synchronised: bool) -> SharedBatch:
    """The same total batch in another number of processes, for a run that goes on there.

    images: that a process sees at once, if the user says so. Otherwise as many as make a batch norm see what it has
    seen: those of one process, or those of all processes if norms are synchronised. Where that is no whole number, the
    accumulated parts stay as many as they were.

    Raises ValueError if the total cannot be shared by so many processes.
    """
    if images is not None:
        return share(before.total, processes=processes, images=images)
    at_once = before.processes * before.images
    wanted = at_once // processes if synchronised and at_once % processes == 0 else before.images
    for size in (wanted, before.total // (processes * before.parts)):
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
        f"--batch-per-device {batch.images} accumulates as many, or scale the learning rate"
    )


def _count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"
