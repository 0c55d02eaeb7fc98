"""Any data that can be trained on as label images: an index PNG for each image, lists of the splits, a description."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from intarsia.data.datasets.folder import FolderDataset
from intarsia.data.description.mixed import MixedDescription, common_inputs
from intarsia.data.description.model import DataDescription
from intarsia.data.description.pairing import Source
from intarsia.data.description.splits import FolderSplit, PairSplit, Split
from intarsia.data.description.write import write_description
from intarsia.data.labels import shown_values
from intarsia.data.slices import part_of, without_suffix
from intarsia.data.stack import channel_names
from intarsia.io.cores import available_cores
from intarsia.io.whole_files import write_text
from intarsia.terminal import progress
from intarsia.visual.files import save_label
from intarsia.workflows.convert_inputs import save_stack, stacked_file, with_stacks
from intarsia.workflows.convert_scenes import below, convert_scenes, with_indices
from intarsia.workflows.names import usable_data

LABELS, DESCRIPTION = "labels", "data.yaml"


@dataclass(frozen=True, slots=True)
class Converted:
    """What was written. description: the file; labels: how many images have one now."""

    description: Path
    labels: int


def convert_data(place: Path, out: Path, *, threads: int | None = None) -> Converted:
    """Write the labels of a folder, or of what a description file describes, as PNG of class indices, or of sets of
    classes where a pixel may have several; those of scenes as GeoTIFF on the pixels of each scene.

    OUT/labels has them at the paths of their images, OUT/train.txt and its like name the images of the splits, and
    OUT/data.yaml describes it all. Images stay where they are, but for those of samples of several images: these become
    one TIFF with all bands in OUT/images, and OUT can be moved. What was there before is written again. Of several data
    sets each has a folder of its name in OUT, with its own classes, and OUT/data.yaml describes them together.

    Raises ValueError with every problem of the data, if two images would have the same label file, or if several images
    are numbers that a TIFF does not hold.
    """
    description, _ = usable_data(place)
    if not isinstance(description, MixedDescription):
        found, count = _converted(description, out, threads)
    else:
        members, count = [], 0
        for member in description.members:
            own, labels = _converted(member.description, out / member.name, threads)
            members.append(replace(member, description=own))
            count += labels
        found = replace(description, members=tuple(members), inputs=common_inputs(members), notes=())
    write_description(found, out / DESCRIPTION)
    return Converted(out / DESCRIPTION, count)


def _converted(description: DataDescription, out: Path, threads: int | None) -> tuple[DataDescription, int]:
    """(the same data with its labels in OUT/labels, how many these are)."""
    splits: dict[str, Split] = {}
    scenes = [name for name in description.splits if description.shows_scenes(name)]
    count = 0
    if scenes:
        splits, count = convert_scenes(description, scenes, out / LABELS)
    names = [name for name in description.splits if name not in scenes]
    listed = {split: description.pairs(split) for split in names}
    datasets = {split: description.files(split) for split in names}
    images = list(dict.fromkeys(pair.image for pairs in listed.values() for pair in pairs))
    _refuse_twins(images)
    out.mkdir(parents=True, exist_ok=True)
    jobs = {
        pair.image: (dataset, number)
        for split, dataset in datasets.items()
        for number, pair in enumerate(listed[split])
    }
    _write(list(jobs.items()), out, threads, channel_names(description.inputs))
    if description.inputs:
        for split, pairs in listed.items():
            write_text(out / f"{split}.txt", "".join(f"{without_suffix(pair.image)}\n" for pair in pairs))
        return with_indices(with_stacks(description, out, tuple(listed))), len(jobs)
    for split, pairs in listed.items():
        write_text(out / f"{split}.txt", "".join(f"{pair.image}\n" for pair in pairs))
        if any(part_of(pair.image)[1] is not None for pair in pairs):  # slices are in no folder
            folder = below(description.root, out / LABELS)
            labels = (f"{folder}/{without_suffix(pair.image)}.png" for pair in pairs)
            splits[split] = PairSplit(tuple(zip((pair.image for pair in pairs), labels, strict=True)))
            continue
        source = Source(".", below(description.root, out / LABELS), label_suffix=(".png",))
        splits[split] = FolderSplit(source, below(description.root, out / f"{split}.txt"))
    return with_indices(replace(description, splits=splits)), count + len(jobs)


def _write(
    jobs: Sequence[tuple[str, tuple[FolderDataset, int]]],
    out: Path,
    threads: int | None,
    bands: tuple[str, ...],
) -> None:
    """bands: of images that are written, too; none where they stay where they are."""

    def write(job: tuple[str, tuple[FolderDataset, int]]) -> None:
        image, (dataset, number) = job
        sample = dataset.load(number)  # with its image, since their sizes are compared
        label = sample.label
        assert label is not None
        if bands:
            save_stack(stacked_file(out, image), sample.image, bands)
        save_label(out / LABELS / f"{without_suffix(image)}.png", label, shown_values(dataset)[1])

    count = threads if threads is not None else min(8, available_cores())
    with progress("writing labels") as tell, ThreadPoolExecutor(count) as pool:
        for done, _ in enumerate(pool.map(write, jobs), 1):
            tell(done, len(jobs))


def _refuse_twins(images: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for image in images:
        other = seen.setdefault(without_suffix(image), image)
        if other != image:
            raise ValueError(f"{image} and {other} would have the same label file; rename one of them")
