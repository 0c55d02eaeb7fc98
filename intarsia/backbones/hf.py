"""The backbones of transformers, by their configs: https://github.com/huggingface/transformers

    HFBackbone({"model_type": "dinov2", "hidden_size": 384, "num_attention_heads": 6})

The values are those of a `config.json` of the Hugging Face Hub. They are data: the network is one of the installed
transformers, and code of a repository is never asked for. Its parameters have the names that they have in transformers,
since the backbone holds the network's own children and not the network. What an image must be for it is a table
(`hf_sizes.py`). transformers states channels and no strides, and its channels are wrong for some settings, so that both
are measured once, on an image of zeros that takes no memory where the network allows it.

transformers is an extra, imported when a network is built.

Shape letters: N images, H, W height and width of the images, C channels of a level.
"""

from __future__ import annotations

import difflib
import inspect
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.backbones.hf_sizes import FIXED, THREE_BANDS, SizePolicy, pair, size_policy
from intarsia.contracts import FeatureSpec
from intarsia.layers.patch_embed import within_image

LARGEST_DUMMY = 4096
"""Pixels of a side of the image that strides are measured with."""

IGNORED = frozenset(
    {
        "_commit_hash", "_name_or_path", "_out_features", "_out_indices", "architectures", "auto_map",
        "chunk_size_feed_forward", "dtype", "id2label", "is_encoder_decoder", "label2id", "model_type", "num_labels",
        "out_features", "out_indices", "output_attentions", "output_hidden_states", "problem_type", "return_dict",
        "stage_names", "torch_dtype", "transformers_version",
    }
)  # fmt: skip
"""Values of a `config.json` that say nothing of the network, or what is said by arguments here."""


class HFBackbone(nn.Module):
    """A backbone of transformers.

    Args:
        config: values of its config, as a `config.json` has them; "model_type" says which network it is, and what is
            not among them is as transformers has it. Where a config file is read, it may also be the folder of such a
            file or its address, hf://OWNER/NAME, whose values are then put in its place.
        in_channels: bands of the image; None is what the config says, usually 3.
        out_indices: levels that are returned, as numbers of the stages that transformers names: 0 is its stem, if it
            has one, and of a plain transformer what goes into the first block. By default all stages of a pyramid, and
            four blocks at quarters of the depth of a plain transformer.
        checkpoint_activations: recompute blocks in the backward pass instead of keeping their activations.

    Parameters start as transformers has it. Those behind the last level, and others that no level is made of, stand
    still (`requires_grad` is False): no gradient reaches them.

    Raises ValueError for a type or value that transformers does not know, for a network that cannot segment images, and
    where transformers is not installed.
    """

    features: tuple[FeatureSpec, ...]
    out_indices: tuple[int, ...]
    model_type: str
    prefix: str
    multiple: int
    size: tuple[int, int] | None
    least_size: int
    network: tuple[Any]

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        in_channels: int | None = None,
        out_indices: int | Sequence[int] | None = None,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        bands = {} if in_channels is None else {"num_channels": in_channels}
        text = _text(config, bands)
        asked = (out_indices,) if isinstance(out_indices, int) else None if out_indices is None else tuple(out_indices)
        found = _measured(text, asked)
        settings = _settings(text)
        settings.out_indices = list(found.indices)
        network = _built(settings)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name not in found.unused)
        self.__dict__ |= {
            "features": found.features,
            "out_indices": found.indices,
            "model_type": settings.model_type,
            "prefix": str(getattr(network, "base_model_prefix", "")),
            "multiple": found.policy.multiple,
            "size": found.policy.size,
            "least_size": max(found.policy.size or [level.stride for level in found.features]),
            "network": (network,),  # in a tuple, and so no child
        }
        # One and the same children, parameters and buffers, so that names are those of transformers.
        for own in ("_modules", "_parameters", "_buffers", "_non_persistent_buffers_set"):
            self.__dict__[own] = getattr(network, own)
        if checkpoint_activations:
            self.checkpoint_activations = True

    @property
    def checkpoint_activations(self) -> bool:
        """Whether blocks are recomputed in the backward pass. Raises ValueError where the network cannot do so."""
        return bool(self.__dict__.get("recomputes", False))

    @checkpoint_activations.setter
    def checkpoint_activations(self, wanted: bool) -> None:
        (network,) = self.network
        if wanted and any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules()):
            raise ValueError(
                f"{self.model_type} has batch norms, which would count a batch twice if its blocks were computed again"
            )
        if wanted and not network.supports_gradient_checkpointing:
            raise ValueError(f"{self.model_type} of transformers cannot recompute its blocks")
        word = "activation" if hasattr(network, "activation_checkpointing_enable") else "gradient"  # before 5
        if wanted:
            getattr(network, f"{word}_checkpointing_enable")({"use_reentrant": False})
        elif self.checkpoint_activations:
            getattr(network, f"{word}_checkpointing_disable")()
        self.__dict__["recomputes"] = wanted

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, bands, H, W) -> for each of `out_indices` (N, C, H / stride, W / stride).

        Rounded up where images are padded, and else as the network has it. Raises ValueError for images that are larger
        than the one size of a network that has one.
        """
        height, width = images.shape[-2:]
        levels = self.network[0](self._padded(images)).feature_maps
        if self.size is None and self.multiple == 1:
            return tuple(levels)
        cut = zip(levels, self.features, strict=True)
        return tuple(within_image(x, (height, width), level.stride) for x, level in cut)

    def __getstate__(self) -> dict[str, Any]:
        """For pickles and copies: without the hooks of transformers, which are local functions.

        It puts them there in the first forward, and again where they are missing; nobody may compute meanwhile.
        """
        for module in self.network[0].modules():
            module.__dict__.pop("_output_capturing_hooks_installed", None)
            for place, hook in list(module._forward_hooks.items()):
                if getattr(hook, "__module__", "") == "transformers.utils.output_capturing":
                    del module._forward_hooks[place]
        return self.__dict__.copy()

    def train(self, mode: bool = True) -> HFBackbone:
        """Training mode, also of transformers' network, which is no child."""
        super().train(mode)
        self.network[0].training = mode
        return self

    @staticmethod
    def known_values(config: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Of the values of a `config.json`, those that a network is made of, and the names of those nobody knows."""
        return known_values(config)

    @staticmethod
    def measured(config: Mapping[str, Any]) -> Measured:
        """What a network gives, with the levels that are usual. Raises ValueError as the constructor."""
        return _measured(_text(config), None)

    @staticmethod
    def with_patches(config: Mapping[str, Any], side: int) -> dict[str, Any]:
        """The config of a plain transformer with patches of other sides and as many positions as before."""
        settings = _settings(_text(config))
        patches, sides = pair(settings.patch_size, "patch_size"), pair(settings.image_size, "image_size")
        image = [length // patch * side for length, patch in zip(sides, patches, strict=True)]
        return {**config, "patch_size": side, "image_size": image[0] if image[0] == image[1] else image}

    def _padded(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        if self.size is not None:
            if height > self.size[0] or width > self.size[1]:
                raise ValueError(
                    f"{self.model_type} takes images of {self.size[0]} x {self.size[1]} (image_size of its config; "
                    f"{FIXED[self.model_type]}), found {height} x {width}: train on crops of that size, and predict in "
                    "windows of it (test_cfg mode 'slide')"
                )
            return F.pad(images, (0, self.size[1] - width, 0, self.size[0] - height))
        if self.multiple == 1:
            return images
        return F.pad(images, (0, -width % self.multiple, 0, -height % self.multiple))


def library() -> Any:
    """The package transformers. Raises ValueError where it is not installed."""
    try:
        import transformers
    except ImportError as error:
        raise ValueError("HFBackbone needs the package transformers: pip install 'intarsia[transformers]'") from error
    return transformers


# --- From values to a network -------------------------------------------------------------------------------------


def known_values(config: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Of the values of a `config.json`, those that a network is made of, and the names of those that nobody knows.

    Only arguments of the config's own class are let through: none that says where code, kernels or weights are.

    Raises ValueError for a type that transformers does not know, and where it is not installed.
    """
    if not isinstance(config, Mapping):
        raise ValueError(
            f"config holds the values of a config.json, found {str(config)[:100]!r}; a folder or an address stands "
            "there in a config file, or in intarsia.trunk('hf://OWNER/NAME')"
        )
    own = _own_arguments(_config_class(config.get("model_type")))
    values = {name: value for name, value in config.items() if name in own and name not in IGNORED}
    values.pop("reshape_hidden_states", None)  # maps are what is wanted
    unknown = [name for name in config if name not in own and name not in IGNORED]
    return values, tuple(unknown)


def _config_class(kind: Any) -> Any:
    """The class of configs of a type. Raises ValueError for a type that is no backbone."""
    transformers = library()
    from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING_NAMES as BACKBONES

    if not isinstance(kind, str):
        raise ValueError('config says no model_type, as in {"model_type": "dinov2"}')
    if kind not in BACKBONES:
        near = difflib.get_close_matches(kind, BACKBONES, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else f"; it has {', '.join(sorted(BACKBONES))}"
        raise ValueError(f"transformers {transformers.__version__} has no backbone of model_type {kind[:100]!r}{hint}")
    return transformers.CONFIG_MAPPING[kind]


def _own_arguments(config_class: Any) -> set[str]:
    """Arguments of a class of configs, without those that all classes have."""
    transformers = library()
    base = getattr(transformers, "PreTrainedConfig", None) or transformers.PretrainedConfig  # its name before 5
    shared = set(inspect.signature(base.__init__).parameters)
    return {
        name
        for name, parameter in inspect.signature(config_class.__init__).parameters.items()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD and name not in shared
    }


def _text(config: Mapping[str, Any], others: Mapping[str, Any] | None = None) -> str:
    """The values of a config, and some in their place, as text. Raises ValueError for values that nobody knows."""
    values, unknown = known_values(config)
    if unknown:
        raise _unknown_values(config, unknown)
    return json.dumps({**values, **(others or {}), "model_type": config["model_type"]}, sort_keys=True)


def _unknown_values(config: Mapping[str, Any], unknown: Sequence[str]) -> ValueError:
    own = _own_arguments(_config_class(config["model_type"]))
    near = difflib.get_close_matches(unknown[0], own, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(sorted(own - IGNORED))}"
    return ValueError(
        f"{config['model_type']} of transformers {library().__version__} has no {', '.join(unknown)}; {hint}"
    )


def _settings(text: str) -> Any:
    """The config of these values. Raises ValueError for those that its class refuses."""
    values = json.loads(text)
    kind = values.pop("model_type")
    config_class = _config_class(kind)
    if kind in THREE_BANDS and values.pop("num_channels", 3) != 3:
        raise ValueError(f"{kind} of transformers takes images of 3 bands only")
    try:
        settings = config_class(**values)
    except Exception as error:  # of transformers, about values that a person or a file of somebody's gives
        raise ValueError(f"{kind} of transformers refuses its config: {error}") from error
    if hasattr(settings, "reshape_hidden_states"):
        settings.reshape_hidden_states = True
    return settings


def _built(settings: Any) -> Any:
    """The network from random weights. Raises ValueError, whatever it raises about its config."""
    try:
        return library().AutoBackbone.from_config(settings)
    except (TypeError, AttributeError, LookupError, AssertionError, ArithmeticError, ImportError) as error:
        raise ValueError(f"{settings.model_type} of transformers cannot be built: {error}") from error


# --- Levels -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """stages: the level of each, None where it is not given. features: of the levels at `indices`. unused: names of
    parameters that none of these levels is made of. policy: which images it takes.
    """

    stages: tuple[FeatureSpec | None, ...]
    features: tuple[FeatureSpec, ...]
    indices: tuple[int, ...]
    unused: frozenset[str]
    policy: SizePolicy


@lru_cache(maxsize=32)
def _measured(text: str, asked: tuple[int, ...] | None) -> Measured:
    """A network of all its levels computes an image of zeros: without memory, or with some where it cannot do without.

    Raises ValueError where levels are no maps, or do not divide the image evenly.
    """
    settings = _settings(text)
    policy = size_policy(settings.model_type, vars(settings))
    count = len(settings.stage_names)
    settings.out_indices = list(range(policy.first, count))
    sides = policy.size or (_dummy_side(policy, settings),) * 2
    bands = getattr(settings, "num_channels", 3)
    for device in ("meta", "cpu"):
        try:
            with torch.random.fork_rng(devices=[]), torch.device(device), torch.enable_grad():
                network = _built(settings).eval()
                levels = network(torch.zeros(1, bands, *sides)).feature_maps
                specs = [_level(x, sides, settings.model_type) for x in levels]
                stages = (*[None] * policy.first, *specs)
                indices = _indices(stages, asked, settings)
                chosen = torch.stack([levels[index - policy.first].sum() for index in indices]).sum()
                names, parameters = zip(*network.named_parameters(), strict=True)
                gradients = torch.autograd.grad(chosen, parameters, allow_unused=True)
            break
        except RuntimeError as error:  # tables that are computed with tensors, and what else needs numbers
            if device == "cpu":
                raise ValueError(f"{settings.model_type} cannot compute {sides[0]} x {sides[1]}: {error}") from error
    unused = frozenset(name for name, gradient in zip(names, gradients, strict=True) if gradient is None)
    features = tuple(specs[index - policy.first] for index in indices)
    return Measured(stages, features, indices, unused, policy)


def _dummy_side(policy: SizePolicy, settings: Any) -> int:
    side = math.lcm(policy.multiple, 64)
    if side > LARGEST_DUMMY:
        raise ValueError(f"{settings.model_type}: patches of {policy.multiple} pixels are no patches of an image")
    return side


def _level(x: Tensor, sides: tuple[int, int], kind: str) -> FeatureSpec:
    if x.dim() != 4:
        raise ValueError(f"{kind} of transformers gives levels of {x.dim()} dimensions, which are no maps")
    strides = {side / found for side, found in zip(sides, x.shape[2:], strict=True)}
    stride = strides.pop()
    if strides or stride != int(stride):
        raise ValueError(f"{kind} makes a level of {x.shape[2]} x {x.shape[3]} of {sides[0]} x {sides[1]} pixels")
    return FeatureSpec(x.shape[1], int(stride))


def _indices(levels: Sequence[FeatureSpec | None], asked: tuple[int, ...] | None, settings: Any) -> tuple[int, ...]:
    """The levels that are asked for, or the usual ones. Raises ValueError for levels that there are not."""
    count = len(levels)
    first = next(index for index, level in enumerate(levels) if level is not None)
    if asked is None:
        stages = [index for index in range(first, count) if settings.stage_names[index] != "stem"]
        plain = len({levels[index] for index in stages}) == 1 and len(stages) >= 4
        return tuple(stages[len(stages) * part // 4 - 1] for part in (1, 2, 3, 4)) if plain else tuple(stages)
    found = tuple(index + count if -count <= index < 0 else index for index in asked)
    if not found or any(not first <= index < count for index in found) or list(found) != sorted(set(found)):
        raise ValueError(
            f"out_indices must name levels of {settings.model_type} from {first} to {count - 1} "
            f"({', '.join(settings.stage_names[first:])}), in order, each once; got {asked}"
        )
    return found
