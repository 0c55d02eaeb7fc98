"""Features of a trunk that stands still, computed once: what `--cache-features` writes into a config, and what it does.

The trunk sees each sample by itself, so that what is kept does not depend on the company that it had, and evaluates:
what it would drop in training is not dropped.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from intarsia.distributed.launchers import is_first
from intarsia.terminal import progress, say

if TYPE_CHECKING:
    from torch import Tensor, nn

    from intarsia.config.language.reader import Config
    from intarsia.contracts import Sample, Task
    from intarsia.data.feature_cache import FeatureCache
    from intarsia.data.pipeline import Pipeline
    from intarsia.distributed.runtime import FabricRuntime
    from intarsia.spec import RunSpec
    from intarsia.workflows.run_options import RunOptions

TRUNK = "backbone"
HEADROOM = 0.95
"""Share of the free room of a disk that may be filled."""


def settings_for(config: Config, *, folder: Path | None, views: int | None) -> Iterator[str]:
    """Overrides of a training's config. Raises ValueError for views without a folder."""
    own = (config.values.get("intarsia") or {}).get("cache_features") or {}
    if views is not None and folder is None and not own:
        raise ValueError("--views says how many views of each image are kept: add --cache-features DIR")
    given: dict[str, Any] = {}
    if folder is not None:
        given["folder"] = str(folder.expanduser().resolve())
    if views is not None:
        given["views"] = views
    if given:
        yield f"intarsia.cache_features={ {**own, **given}!r}"


def cached(
    spec: RunSpec, task: Task, pipeline: Pipeline, options: RunOptions, runtime: FabricRuntime
) -> tuple[Task, FeatureCache | None]:
    """The task that learns from features, and the cache, filled; without `--cache-features` the task alone.

    Every process must call it. Raises ValueError for a trunk that is trained or whose levels cannot be kept, samples of
    several sizes, and too little room.
    """
    if spec.features is None:
        return task, None
    from intarsia.data.feature_cache import FeatureCache, FixedViews
    from intarsia.tasks.from_features import FromFeatures

    _check(spec)
    learning = cast("Task", FromFeatures(task))
    trunk = cast("nn.Module", task.model).get_submodule(TRUNK)
    if options.resume:
        _as_it_was(cast("nn.Module", task), options.out)
    samples = FixedViews(pipeline, spec.features.views, spec.seed)
    name = _identity(spec, trunk, pipeline)
    cache = FeatureCache(Path(spec.features.folder) / name, samples, half=spec.features.precision == "16")
    _fill(cache, task, trunk, runtime)
    runtime.barrier()
    return learning, cache


def _check(spec: RunSpec) -> None:
    freeze = spec.safeguards.freeze
    if spec.safeguards.lora is not None or not any(fnmatchcase(TRUNK, pattern) for pattern in freeze):
        raise ValueError(
            "--cache-features computes what the backbone makes of an image once for all, so it must stand still: add "
            "--freeze backbone (and no --lora)"
        )
    if spec.unlabelled is not None or spec.teacher is not None:
        raise ValueError("--cache-features leaves images away, which --unlabelled and --teacher need: give one of them")


def _as_it_was(task: nn.Module, out: Path) -> None:
    """Give the trunk of a resumed run the weights that it stands still with, which its checkpoint has."""
    from intarsia.engine.training.checkpoint import Checkpoints
    from intarsia.engine.training.run import RunFolder

    found = Checkpoints(RunFolder(out).checkpoints).restore()
    if found is not None:
        inside = f"model.{TRUNK}."
        state = {key: value for key, value in found.state["task"].items() if key.startswith(inside)}
        task.load_state_dict(state, strict=False)


def _identity(spec: RunSpec, trunk: nn.Module, pipeline: Pipeline) -> str:
    """16 digits of all that features depend on, but for the files of each image: another trunk, another folder."""
    from intarsia.engine.training.environment import fingerprint

    assert spec.train is not None
    assert spec.features is not None
    digest = sha256()
    said = (
        spec.model.args.get(TRUNK), spec.preprocess, spec.train.transforms, spec.seed, spec.features.views,
        spec.features.precision, spec.optim and spec.optim.precision, fingerprint(pipeline.dataset),
    )  # fmt: skip
    digest.update(_plain(said).encode())
    for name, tensor in sorted(trunk.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(_bytes()).numpy().tobytes())
    return digest.hexdigest()[:16]


def _plain(value: Any) -> str:
    """Values of a spec in words, without where they were written."""
    if isinstance(value, dict):
        return repr({key: _plain(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return repr([_plain(item) for item in value])
    if hasattr(value, "args") and hasattr(value, "type"):
        return f"{value.type}({_plain(dict(value.args))})"
    return repr(value)


def _bytes() -> Any:
    import torch

    return torch.uint8


def _fill(cache: FeatureCache, task: Task, trunk: nn.Module, runtime: FabricRuntime) -> None:
    """Compute the samples that have no file, each process its share of them."""
    missing = cache.missing()
    if not missing:
        _say(f"features: all {len(cache.samples):,} samples are in {cache.folder}")
        return
    own = missing[runtime.rank :: runtime.world_size]
    module = cast("nn.Module", task)
    module.to(runtime.device)
    was_training = module.training
    module.eval()
    size: tuple[Any, ...] | None = None
    with progress("features") as show:
        for done, (index, view) in enumerate(own):
            sample = cache.samples.get(index, view)
            levels = levels_of(task, trunk, sample, runtime)
            found = (sample.image.shape, *(tuple(level.shape) for level in levels))
            if size not in (None, found):
                raise ValueError(
                    f"{sample.meta.image_path or index}: the training images are of several sizes ({found[0]}, before "
                    f"{size[0] if size else ''}), and features of one size are cached: give --crop H W"
                )
            size = found
            taken = cache.write(index, view, sample, levels)
            if not done:
                _tell(cache, levels, taken, len(missing))
            show(done + 1, len(own))
    module.train(was_training)


def levels_of(task: Task, trunk: nn.Module, sample: Sample, runtime: FabricRuntime) -> list[Tensor]:
    """What the trunk makes of a sample, as training shows it: each level (C, h, w).

    Raises ValueError for levels that are more than maps.
    """
    import torch

    from intarsia.data.collate import collate

    batch = collate([sample], ignore_index=task.ignore_index).to(runtime.device)
    with torch.no_grad(), runtime.autocast():
        images = cast(Any, task).preprocess(batch.images, batch.sizes, train=True)
        levels: Sequence[Any] = trunk(images)
    if not all(isinstance(level, torch.Tensor) for level in levels):
        raise ValueError(
            f"levels of {type(trunk).__name__} are more than maps here (tokens, or blocks that the head runs), and are "
            "not cached; take a head that reads maps"
        )
    return [level[0] for level in levels]


def _tell(cache: FeatureCache, levels: Sequence[Tensor], taken: int, count: int) -> None:
    """How much room it will take. Raises ValueError where there is not as much."""
    needed, free = taken * count, shutil.disk_usage(cache.folder).free
    shapes = ", ".join(" x ".join(map(str, level.shape)) for level in levels)
    _say(
        f"features: {count:,} samples of {len(cache.samples):,} to compute, each {taken / 2**20:.2f} MiB (levels "
        f"{shapes}; {'16' if cache.half else '32'} bits): {needed / 2**30:.2f} GiB in {cache.folder}"
    )
    if needed > HEADROOM * (free + taken):
        raise ValueError(
            f"--cache-features needs {needed / 2**30:.1f} GiB in {cache.folder}, and {free / 2**30:.1f} GiB are free; "
            "take another folder, fewer --views, a smaller --crop, or --set intarsia.cache_features.precision=16"
        )


def _say(text: str) -> None:
    if is_first():
        say(text)
