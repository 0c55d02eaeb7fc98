"""What a training is asked for, and the config that it has: of a recipe or a config file, data, and wishes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intarsia.contracts import PathLike
from intarsia.distributed.launchers import is_first, process_count
from intarsia.io.cores import available_cores
from intarsia.terminal import say
from intarsia.workflows import nnunet_volumes, plan_nnunet
from intarsia.workflows.adjust import TrainingOptions
from intarsia.workflows.run_options import GivenNetwork

if TYPE_CHECKING:
    from intarsia.config.language.reader import Config
    from intarsia.data.description.model import DataDescription
    from intarsia.data.doctor.findings import Findings
    from intarsia.engine.callbacks.base import Observer


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """What a training is asked for.

    name: a recipe or a config file. out: the run's folder. data: a folder of images and masks, or a description.
    training: what goes into the config. settings: overrides by dotted path. trust: run a .py config as Python.
    overwrite: replace a run that is in the folder. weights: to start from, of the whole model (file, name).
    pretrained: of the backbone: auto, imagenet, none, a file, a name; None is auto for `data`, else as in the config.
    first_convolution: how it is made for other bands than those of pretrained weights.
    key, prefix: where the network's tensors are in them, and what their names begin with there.
    devices: number of processes.
    find: "lr" or "batch" tries that out instead of training.
    notify: a command that is told how the run goes. observers: objects that are told, besides those of the config.
    fold: "2/5" validates on the second of five parts of the training images. by: what stays together in
    a part, and where a share for validation is taken out.
    plain: choices of `own_defaults` that are not made. rare_every: samples of which one is drawn for each rare class.
    cache_features, views: where features of a frozen backbone are kept (`workflows.cached_features`).
    lora, layer_decay: what of a pretrained trunk is trained, and how fast (`workflows.fine_tuning`).
    unlabelled, confidence, teacher: what is learned from besides the labels (`workflows.less_labels`).
    image_classes: the weight of a head beside the others that learns which classes an image shows.
    augment: none, light, strong or a file (`workflows.augmentation`); None: as the recipe or config has it.
    network: to be trained instead of the one that `name` describes; all else is as that says.
    """

    name: str
    out: Path
    data: Path | None = None
    training: TrainingOptions = field(default_factory=TrainingOptions)
    settings: tuple[str, ...] = ()
    trust: bool = False
    overwrite: bool = False
    weights: PathLike | None = None
    pretrained: str | None = None
    first_convolution: str | None = None
    allow_partial: bool = False
    key: str | None = None
    prefix: str | None = None
    devices: int | None = None
    device: str = "auto"
    find: str | None = None
    notify: str | None = None
    observers: tuple[Observer, ...] = ()
    fold: str | None = None
    by: str | None = None
    augment: str | None = None
    plain: tuple[str, ...] = ()
    rare_every: int | None = None
    unlabelled: Path | None = None
    confidence: float | str | None = None
    teacher: PathLike | None = None
    network: GivenNetwork | None = None
    lora: int | None = None
    layer_decay: float | None = None
    cache_features: Path | None = None
    views: int | None = None
    image_classes: float | None = None


def training_config(request: TrainingRequest, file: Path) -> Config:
    """The config that a training would have, but for its length.

    file: where the description of the request's data is written. Raises ValueError for what cannot be trained on.
    """
    base = base_config(request)
    if request.data is not None:
        prepare_data(request, file)
    return run_config(
        request, base, None if request.data is None else OwnData.read(file), process_count(request.devices)
    )


@dataclass(frozen=True)
class OwnData:
    """The user's data: description, its file in the run's folder, and the size (height, width) of a typical image."""

    description: DataDescription
    file: Path
    image_size: tuple[int, int]

    @classmethod
    def read(cls, file: Path) -> OwnData:
        """What the first process has prepared."""
        from intarsia.data.description.read import read_description
        from intarsia.workflows.names import typical_size

        description = read_description(file)
        return cls(description, file, typical_size(description))


def prepare_data(request: TrainingRequest, file: Path) -> None:
    """Let the doctor look at the data, and keep what it concludes in the run's folder."""
    from intarsia.data.description.write import write_description
    from intarsia.workflows.names import usable_data

    assert request.data is not None
    groups = None if request.fold is not None else request.by
    description, findings = usable_data(request.data, groups=groups)
    if groups is not None:
        _check_groups(groups, description, request.data)
    if description.shares is None:
        description = replace(description, shares=findings.shares() or None)
    file.parent.mkdir(parents=True, exist_ok=True)
    proposed = description.scale
    if plan_nnunet.is_planned(request.name):
        volumes = nnunet_volumes.look_at(description) if "train" in description.splits else None
        nnunet_volumes.keep(volumes, file.parent)
        description = plan_nnunet.normalised(description, volumes, proposed=not request.data.is_file())
    _tell(description, findings, is_scaled_anew=description.scale != proposed)
    if request.fold is not None:
        from intarsia.workflows.folds import fold_of_run

        description, note = fold_of_run(description, request.fold, request.by, file.parent)
        say_first(note)
    write_description(description, file)


def _check_groups(groups: str, description: DataDescription, data: Path) -> None:
    """Raises ValueError where no share is taken out of a split, and for groups that only a division finds."""
    from intarsia.data.description.divide import COPIES
    from intarsia.data.description.mixed import MixedDescription
    from intarsia.data.description.splits import ShareSplit

    if groups == COPIES:
        raise ValueError(f"--by {COPIES} compares images, as folds (--fold 1/5) and intarsia data split do; add --fold")
    members = [m.description for m in description.members] if isinstance(description, MixedDescription) else []
    if not any(isinstance(rule, ShareSplit) for one in (description, *members) for rule in one.splits.values()):
        raise ValueError(
            f"--by {groups!r}: {data} has splits of its own, so that nothing is divided; leave --by out, validate on a "
            "fold (--fold 1/5), or divide anew: intarsia data split"
        )


_OF_TRAINING = ("train_dataloader", "optim_wrapper", "train_cfg")
"""What a config must have to be trained, also on other data than its own: `--data` replaces the data sets in it."""


def base_config(request: TrainingRequest) -> Config | None:
    """The config that is named; None for a recipe that becomes one through the data."""
    from intarsia import recipes
    from intarsia.workflows.names import find_config

    if not recipes.is_for_data(request.name):
        if request.rare_every is not None:
            raise ValueError(
                "--rare-every looks for rare classes in data that a recipe for own data is trained on; in a config, "
                "write train_dataloader.sampler.rare=[...] and sampler.every=N"
            )
        if request.plain:
            raise ValueError(
                "--plain leaves out what a recipe for own data chooses from them; a config, or a published recipe, has "
                "its own choices: change them with --set"
            )
        config = find_config(request.name, trust=request.trust)
        given = {setting.partition("=")[0].partition(".")[0] for setting in request.settings}
        missing = [key for key in _OF_TRAINING if not config.values.get(key) and key not in given]
        if missing:
            raise ValueError(
                f"{config.file} describes no training: it has no {' and no '.join(missing)}. Write what is missing, "
                "inherit it with _base_, or train a recipe on your data: intarsia train RECIPE --data DIR --out RUN "
                "(intarsia config list)"
            )
        return config
    if request.data is None:
        raise ValueError(f"the recipe {request.name} is for your own data: add --data DIR (images and masks)")
    return None


def run_config(request: TrainingRequest, base: Config | None, data: OwnData | None, devices: int) -> Config:
    """The config of the run, but for its length."""
    from intarsia.workflows import cached_features, fine_tuning, less_labels
    from intarsia.workflows.adjust import settings_for, with_data

    if data is None:
        assert base is not None
        config = base
    else:
        config = _own_config(request, data, devices) if base is None else with_data(base, data.description, data.file)
    if request.network is not None and base is not None:
        model = network_section(config.values["model"], request.network, None if data is None else data.description)
        config = config.override([f"model={model!r}"])
    config = config.override(settings_for(config, request.training, devices=devices))
    if request.augment is not None:
        from intarsia.workflows.augmentation import augmented

        found = augmented(config, request.augment)
        say_first(found.line)
        config = config.override(found.settings)
    config = config.override(_start_settings(config, request))
    if request.image_classes is not None:
        config = config.override([_with_image_classes(config, request.image_classes)])
    config = config.override(fine_tuning.settings_for(config, lora=request.lora, layer_decay=request.layer_decay))
    config = config.override(cached_features.settings_for(config, folder=request.cache_features, views=request.views))
    taught = less_labels.settings_for(
        config, unlabelled=request.unlabelled, confidence=request.confidence, teacher=request.teacher
    )
    config = config.override(taught)
    return config.override(request.settings)


def _with_image_classes(config: Config, weight: float) -> str:
    from intarsia import recipes

    if weight <= 0:
        raise ValueError(f"--image-classes is the weight of its loss, more than 0, usually 0.2; found {weight:g}")
    return f"model.auxiliary_head={recipes.with_image_classes(config.values['model'], weight)['auxiliary_head']!r}"


def _start_settings(config: Config, request: TrainingRequest) -> Iterator[str]:
    """What the backbone starts from, so that the config in the run's folder says it."""
    asked = request.pretrained if request.network is None else "none"
    if request.network is not None and request.network.frozen:
        yield f"intarsia.freeze={list(request.network.frozen)!r}"
    if asked is None and request.data is not None and request.weights is None:
        asked = None if (config.values.get("intarsia") or {}).get("pretrained") else "auto"
    if asked is not None:
        is_path = asked not in ("auto", "imagenet", "none") and Path(asked).exists()
        yield f"intarsia.pretrained={(str(Path(asked).resolve()) if is_path else asked)!r}"
    if request.first_convolution is not None:
        yield f"intarsia.first_convolution={request.first_convolution!r}"


def network_section(
    planned: Mapping[str, Any], network: GivenNetwork, description: DataDescription | None
) -> dict[str, Any]:
    """The section `model` of a training of a given network: its parts, and what the training planned around them.

    Raises ValueError if the data have other classes or bands than it has.
    """
    from intarsia import recipes

    model = dict(network.values)
    model |= {key: planned[key] for key in ("train_cfg", "test_cfg") if key in planned}
    preprocessor = dict(planned.get("data_preprocessor") or model.get("data_preprocessor") or {})
    if network.knows_normalisation:
        preprocessor |= {key: network.values["data_preprocessor"][key] for key in ("mean", "std")}
    model["data_preprocessor"] = preprocessor
    if description is None:
        return model
    found = {"classes": description.num_classes, "bands": description.channels}
    for what, own in (("classes", network.num_classes), ("bands", network.bands)):
        if found[what] != own:
            named = f" ({', '.join(description.classes)})" if what == "classes" else ""
            fix = f"{'num_classes' if what == 'classes' else what}={found[what]}"
            raise ValueError(f"the data have {found[what]} {what}{named}, the model has {own}: create it with {fix}")
    fitted: dict[str, Any] = recipes.fit_heads(
        model, description.num_classes, description.ignore_index, description.classes
    )
    return fitted


def _own_config(request: TrainingRequest, data: OwnData, devices: int) -> Config:
    """The config of a recipe for own data, with what these call for."""
    from intarsia import recipes
    from intarsia.config.language.reader import Config
    from intarsia.workflows.adjust import dataset_values
    from intarsia.workflows.hub_trunks import network_at
    from intarsia.workflows.own_defaults import BATCH, Amount, choose, has
    from intarsia.workflows.trunks import normalisation

    description = data.description
    if "train" not in description.splits:
        raise ValueError(f"{data.file} has no train split; it has {', '.join(description.splits)}")
    images = len(description.pairs("train"))
    batch, crop = min(BATCH, max(2, images)), recipes.default_crop(data.image_size)
    asked = request.training
    taken = asked.batch or devices * batch * (asked.accumulate or 1)
    amount = Amount.of(images, data.image_size, asked.crop or crop, taken)
    is_open = asked.duration is None and not plan_nnunet.is_planned(request.name)
    steps = amount.steps if is_open and has("steps", request.plain) else amount.plain_steps
    planned, volumes = None, nnunet_volumes.kept(data.file.parent) if plan_nnunet.is_planned(request.name) else None
    size = data.image_size if volumes is None else volumes.size
    if plan_nnunet.is_planned(request.name):
        planned = plan_nnunet.plan(
            request.name, image_size=size, images=images, patch=asked.crop,
            spacing=(1.0, 1.0) if volumes is None else volumes.spacing,
            num_logits=description.num_classes + description.multi_label,  # it counts labels, the background, too
        )  # fmt: skip
        batch, crop, steps = planned.batch, planned.topology.patch, planned.steps
    start = request.pretrained if request.network is None else "none"  # a given network has its own, if it has any
    mean, std = normalisation(request.name, description, start, say_first)
    values = recipes.for_data(
        request.name,
        find=network_at,
        num_classes=description.num_classes,
        ignore_index=description.ignore_index,
        multi_label=description.multi_label,
        mean=mean,
        std=std,
        raw_bands=description.bands == "raw",
        crop=crop,
        batch=batch,
        steps=steps,
        workers=min(4, available_cores()),
        data={
            split: dataset_values(data.file, split) for split in ("train", "val", "test") if split in description.splits
        },
    )
    if request.network is not None:
        values["model"] = network_section(values["model"], request.network, description)
    config = Config.from_values(values, file=f"recipe {request.name}")
    if planned is not None:
        for line in plan_nnunet.lines_of(planned, description, image_size=size, images=images, volumes=volumes):
            say_first(line)
        config = config.override(plan_nnunet.settings_of(planned, config, description, volumes))
    choices = choose(
        config, description, plain=request.plain, given=request.settings, rare_every=request.rare_every,
        amount=amount if is_open else None,
    )  # fmt: skip
    for choice in choices:
        say_first(choice.line)
        config = config.override(choice.settings)
    return config


def _tell(description: DataDescription, findings: Findings, *, is_scaled_anew: bool) -> None:
    """The data in a few lines, before a training; the whole is what `intarsia data check` prints.

    is_scaled_anew: the recipe has its own way with the numbers of images, so that the doctor's is not said.
    """
    from intarsia.data.doctor.intensities import is_about_values

    splits = ", ".join(f"{split.name} {split.pairs}" for split in findings.splits)
    classes = ", ".join(description.classes[:12]) + (", ..." if description.num_classes > 12 else "")
    say_first(f"data: {splits} images; {description.num_classes} classes: {classes}")
    for finding in findings.warnings:
        say_first(f"warning: {finding.text}" + (f" ({finding.advice})" if finding.advice else ""))
    for note in findings.notes:
        if not (is_scaled_anew and is_about_values(note)):
            say_first(f"note: {note}")


def say_first(text: str) -> None:
    """Said once, however many processes there are."""
    if is_first():
        say(text)
