"""Any network of timm as a backbone, by its name there: https://github.com/huggingface/pytorch-image-models

    TIMM("convnext_tiny.in12k")            a pyramid: its levels, at the strides that timm states
    TIMM("vit_small_patch16_dinov3")       a plain transformer: four levels at quarters of its depth, all of one stride

The network is timm's, built and computed by it; what it has for classifying images alone is left away. Its parameters
have the names of timm's published files, since the backbone holds the network's own children and not the network. What
an image must be for it is a table (`timm_sizes.py`). The file that a name's weights are in, their licence and their
normalisation are `weights/pretrained/timm_hub.py`.

timm is an extra, imported when a network is built.

Shape letters: N images, H, W height and width of the images, C channels of a level.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.backbones import timm_smp
from intarsia.backbones.timm_blocks import check_open, check_prefix, levels_with_prefix, open_level
from intarsia.backbones.timm_sizes import FLOORED, IN_BLOCKS, ONE_SIZE, STRIDES, one_size_only, size_policy
from intarsia.contracts import FeatureSpec, Level, TokenLevel
from intarsia.layers.patch_embed import within_image

RESERVED = frozenset(
    {
        "cache_dir", "checkpoint_path", "exportable", "features_only", "img_size", "in_chans", "no_jit", "num_classes",
        "out_indices", "output_stride", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "scriptable",
        "drop_path_rate",
    }
)  # fmt: skip
"""Arguments of timm that are arguments here, or that would fetch or read files."""


class TIMM(nn.Module):
    """A network of timm, without its classifier.

    Args:
        model_name: as timm knows it; what follows a full stop ("resnet50.a1_in1k") says which of its weights are meant.
        in_channels: bands of the image.
        out_indices: levels that are returned, from 0 on; of a plain transformer, blocks. By default all levels of a
            pyramid, and four blocks at quarters of the depth of a plain transformer.
        output_stride: 8 or 16, for networks that can be dilated.
        img_size: (height, width) of the images, for networks that take one size only. Smaller ones are padded to it.
        norm: put the last norm behind each level of a plain transformer, as its own classifier has it.
        open_blocks: leave so many last blocks of a plain transformer to the head, which runs them with tokens of its
            own: the one level is an `OpenLevel`.
        prefix: give the tokens before the patches of a plain transformer with each level, which is an `OpenLevel`
            without blocks.
        tokens: give a token with each level of a plain transformer, which is then a `TokenLevel`: the first of those
            in front of the patches, the class token where there is one ("class"), or the mean of them ("mean").
        smp_encoder: be the encoder that segmentation_models.pytorch has of this network: its levels, borders and
            dilation (`timm_smp.py`), for its checkpoints.
        drop_path_rate: stochastic depth; None is that of timm, which is none.
        norm_eps: what layer norms add to the variance; None is that of timm.
        options: further arguments of timm's own network, such as {"patch_size": 16}.
        checkpoint_activations: recompute blocks in the backward pass instead of keeping their activations.

    Parameters start as timm has it.

    Raises ValueError for a name or argument that timm does not know, for a network that cannot segment images, or takes
    one size only while `img_size` is not given, and where timm is not installed.
    """

    features: tuple[FeatureSpec, ...]
    out_indices: tuple[int, ...]
    model_name: str
    norm_levels: bool
    open_blocks: int
    prefix: bool
    tokens: Literal["class", "mean"] | None
    walk: timm_smp.Walk | None
    size: tuple[int, int] | None
    multiple: int
    least_size: int
    left_away: tuple[str, ...]
    network: tuple[Any]

    def __init__(
        self,
        model_name: str,
        *,
        in_channels: int = 3,
        out_indices: int | Sequence[int] | None = None,
        output_stride: int | None = None,
        img_size: int | tuple[int, int] | None = None,
        norm: bool = False,
        open_blocks: int = 0,
        prefix: bool = False,
        tokens: Literal["class", "mean"] | None = None,
        smp_encoder: bool = False,
        drop_path_rate: float | None = None,
        norm_eps: float | None = None,
        options: Mapping[str, Any] | None = None,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        timm = library()
        file = _file_of(timm, model_name)
        policy = size_policy(file, model_name)
        size = (img_size, img_size) if isinstance(img_size, int) else None if img_size is None else tuple(img_size)
        wanted = {
            "output_stride": None if smp_encoder else output_stride,
            "drop_path_rate": drop_path_rate,
            "img_size": size,
        }
        arguments = {name: value for name, value in wanted.items() if value is not None}
        network = _created(timm, model_name, in_channels, {**policy.arguments, **arguments, **_checked(options)})
        _positions_of_any_size(network)
        if norm_eps is not None:
            _set_norm_eps(network, norm_eps)
        fixed = policy.fixed or _fixed_by_attention(network)
        if fixed and size is None:
            raise one_size_only(model_name, fixed, _own_size(network))
        published = set(network.state_dict())
        walk = timm_smp.prepare(network, file, model_name, output_stride) if smp_encoder else None
        levels = _levels(network, file)
        if norm and len(set(levels)) > 1:
            raise ValueError(f"norm=True is for plain transformers, whose levels are alike; {model_name} is a pyramid")
        if open_blocks:
            check_open(network, file, model_name, open_blocks)
            if out_indices is not None or norm:
                raise ValueError(
                    "open_blocks gives one level, the last, whose norm is the head's: no out_indices, no norm"
                )
            out_indices, levels = -1, tuple(replace(level, open_blocks=open_blocks) for level in levels)
        if prefix:
            check_prefix(network, levels, model_name, open_blocks)
            levels = tuple(replace(level, prefix=True) for level in levels)
        if tokens is not None:
            _check_tokens(network, model_name, tokens, open_blocks)
        indices = _indices(levels, out_indices, model_name)
        if smp_encoder:
            timm_smp.prune(network, indices)
        else:
            _without_classifier(network, indices, norm=norm or open_blocks > 0)
        features = tuple(replace(levels[index], tokens=tokens is not None) for index in indices)
        if output_stride is not None and any(level.stride > output_stride for level in features):
            raise ValueError(f"{model_name} cannot be given output_stride={output_stride}")
        # Assigned as they are: networks of timm have children of such names ("features"), which stay what they are.
        self.__dict__ |= {
            "features": features,
            "out_indices": indices,
            "model_name": model_name,
            "norm_levels": norm,
            "open_blocks": open_blocks,
            "prefix": prefix,
            "tokens": tokens,
            "walk": walk,
            "size": size if fixed else None,
            "multiple": math.lcm(policy.multiple or _patch(network), *_of_blocks(network, file)),
            "least_size": max(size) if fixed and size is not None else max(level.stride for level in features),
            "left_away": tuple(sorted(published - set(network.state_dict()))),
            "network": (network,),  # in a tuple, and so no child
        }
        # One and the same children, parameters and buffers, so that names are those of timm's files.
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
                f"{self.model_name} has batch norms, which would count a batch twice if its blocks were computed again"
            )
        try:
            network.set_grad_checkpointing(wanted)
        except (AssertionError, AttributeError) as error:
            raise ValueError(f"{self.model_name} of timm cannot recompute its blocks") from error
        self.__dict__["recomputes"] = wanted

    def forward(self, images: Tensor) -> tuple[Level, ...]:
        """(N, bands, H, W) -> for each of `out_indices` (N, C, H / stride, W / stride), or the `OpenLevel`.

        Rounded up where images are padded, and else as the network has it. Raises ValueError for images that are larger
        than the one size of a network that has one.
        """
        height, width = images.shape[-2:]
        (network,) = self.network
        if self.open_blocks:
            stride, padded = self.features[0].stride, self._padded(images)
            return (open_level(network, padded, self.open_blocks, stride=stride, size=(height, width)),)
        if self.prefix:
            stride, padded = self.features[0].stride, self._padded(images)
            indices = list(self.out_indices)
            return levels_with_prefix(
                network, padded, indices, norm=self.norm_levels, stride=stride, size=(height, width)
            )
        if self.tokens is not None:
            return self._with_tokens(images)
        return tuple(self._cut(self._maps(images), height, width))

    def _maps(self, images: Tensor) -> list[Tensor]:
        (network,) = self.network
        if self.walk is not None:
            return self.walk(network, self._padded(images), self.out_indices)
        levels: list[Tensor] = network.forward_intermediates(
            self._padded(images),
            indices=list(self.out_indices),
            output_fmt="NCHW",
            intermediates_only=True,
            **({"norm": True} if self.norm_levels else {}),
        )
        return levels

    def _with_tokens(self, images: Tensor) -> tuple[Level, ...]:
        """Each level as a map and the first, or the mean, of the tokens (N, P, C) in front of its patches."""
        (network,) = self.network
        pairs = network.forward_intermediates(
            self._padded(images),
            indices=list(self.out_indices),
            norm=self.norm_levels,
            return_prefix_tokens=True,
            output_fmt="NCHW",
            intermediates_only=True,
        )
        maps = self._cut([pair[0] for pair in pairs], images.shape[-2], images.shape[-1])
        prefixes = [pair[1] for pair in pairs]
        tokens = [prefix[:, 0] if self.tokens == "class" else prefix.mean(dim=1) for prefix in prefixes]
        return tuple(TokenLevel(level, token) for level, token in zip(maps, tokens, strict=True))

    def _cut(self, levels: Sequence[Tensor], height: int, width: int) -> list[Tensor]:
        """Without what only the padding of the images has made."""
        if self.size is None and self.multiple == 1:
            return list(levels)
        cut = zip(levels, self.features, strict=True)
        return [within_image(x, (height, width), level.stride) for x, level in cut]

    def train(self, mode: bool = True) -> TIMM:
        """Training mode, also of timm's network, which is no child."""
        super().train(mode)
        self.network[0].training = mode
        return self

    def _padded(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        if self.size is not None:
            if height > self.size[0] or width > self.size[1]:
                raise ValueError(
                    f"{self.model_name} takes images of {self.size[0]} x {self.size[1]} (img_size), found {height} x "
                    f"{width}: train on crops of that size, and predict in windows of it (test_cfg mode 'slide')"
                )
            return F.pad(images, (0, self.size[1] - width, 0, self.size[0] - height))
        if self.multiple == 1:
            return images
        return F.pad(images, (0, -width % self.multiple, 0, -height % self.multiple))


def library() -> Any:
    """The package timm. Raises ValueError where it is not installed."""
    try:
        import timm
    except ImportError as error:
        raise ValueError("backbones of timm need the package timm: pip install 'intarsia[timm]'") from error
    return timm


def _file_of(timm: Any, name: str) -> str:
    """The file of timm that defines a network. Raises ValueError for a name that timm does not know."""
    architecture, _, tag = str(name).partition(".")
    if not re.fullmatch(r"[\w.-]+", str(name)) or not timm.is_model(architecture):
        near = _nearest(architecture, timm.list_models())
        hint = f"; did you mean {' or '.join(near)}?" if near else "."
        raise ValueError(f"timm {timm.__version__} has no network {str(name)[:100]!r}{hint}")
    known = timm.list_pretrained(f"{architecture}.*") if tag else [name]
    if name not in known:
        has = ", ".join(known) or "none"
        raise ValueError(f"{architecture} has no weights {tag!r}; timm {timm.__version__} has {has}")
    return str(timm.model_entrypoint(architecture).__module__).rpartition(".")[2]


def _nearest(name: str, known: Sequence[str]) -> list[str]:
    """Names that go on where this one ends, have it as a word, or are spelt like it."""
    longer = [one for one in known if one.startswith(f"{name}_")] or [one for one in known if f"_{name}" in one]
    return longer[:3] or difflib.get_close_matches(name, known, n=3, cutoff=0.5)


def _checked(options: Mapping[str, Any] | None) -> Mapping[str, Any]:
    taken = RESERVED & set(options or {})
    if taken:
        raise ValueError(f"options cannot have {', '.join(sorted(taken))}: those have arguments of their own, or none")
    return options or {}


def _created(timm: Any, name: str, bands: int, arguments: Mapping[str, Any]) -> nn.Module:
    """Timm's network from random weights. Raises ValueError, whatever its constructor raises about arguments."""
    try:
        network: nn.Module = timm.create_model(name.partition(".")[0], pretrained=False, in_chans=bands, **arguments)
    except NotImplementedError:
        raise
    except (TypeError, ValueError, AssertionError, KeyError) as error:
        shown = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        said = f": {error}" if str(error) else ""
        raise ValueError(f"timm's {name} cannot be built with {shown or 'these arguments'}{said}") from error
    if not hasattr(network, "forward_intermediates"):
        raise ValueError(f"timm {timm.__version__} does not give the levels of {name}; a newer one may")
    return network


def _positions_of_any_size(network: nn.Module) -> None:
    from intarsia.backbones.timm_positions import of_any_size  # imports timm

    of_any_size(network)


def _set_norm_eps(network: nn.Module, eps: float) -> None:
    norms = [module for module in network.modules() if isinstance(module, nn.LayerNorm)]
    for norm in norms:
        norm.eps = eps
    if not norms:
        raise ValueError("norm_eps is for networks with layer norms, and this one has none")


def _levels(network: Any, file: str) -> tuple[FeatureSpec, ...]:
    """All levels, as timm states them before anything is computed."""
    stated = getattr(network.feature_info, "info", network.feature_info)
    corrected = STRIDES.get(file, {})
    return tuple(
        FeatureSpec(level["num_chs"], corrected.get(index, int(level["reduction"])))
        for index, level in enumerate(stated)
    )


def _indices(levels: Sequence[FeatureSpec], out_indices: int | Sequence[int] | None, name: str) -> tuple[int, ...]:
    """The levels that are asked for, or the usual ones. Raises ValueError for levels that there are not."""
    count = len(levels)
    if out_indices is None:
        plain = len(set(levels)) == 1 and count >= 4
        return tuple(count * quarter // 4 - 1 for quarter in (1, 2, 3, 4)) if plain else tuple(range(count))
    asked = (out_indices,) if isinstance(out_indices, int) else tuple(out_indices)
    found = tuple(index + count if -count <= index < 0 else index for index in asked)
    if not found or any(not 0 <= index < count for index in found) or list(found) != sorted(set(found)):
        raise ValueError(
            f"out_indices must name levels of {name} from 0 to {count - 1}, in order, each once; got {asked}"
        )
    return found


def _check_tokens(network: Any, name: str, tokens: str, open_blocks: int) -> None:
    if tokens not in ("class", "mean"):
        raise ValueError(f"tokens must be 'class' or 'mean'; got {tokens!r}")
    if open_blocks:
        raise ValueError("open_blocks gives a level with tokens of its own; leave tokens away")
    if not getattr(network, "num_prefix_tokens", 0) or not hasattr(network, "blocks"):
        raise ValueError(f"{name} has no tokens in front of its patches; leave tokens away")


def _without_classifier(network: Any, indices: Sequence[int], *, norm: bool) -> None:
    """Leave away what lies behind the last level."""
    network.prune_intermediate_layers(list(indices), prune_norm=not norm, prune_head=True)


def _fixed_by_attention(network: nn.Module) -> str:
    found = {type(module).__name__ for module in network.modules() if _is_of_one_size(module)}
    return f"its {min(found)} is made for images of one size" if found else ""


def _is_of_one_size(module: nn.Module) -> bool:
    kind = type(module).__name__
    return kind in ONE_SIZE or (kind == "LambdaLayer" and getattr(module, "conv_lambda", None) is None)


def _of_blocks(network: nn.Module, file: str) -> set[int]:
    """Of what an image's sides must be multiples for some layers of the network."""
    found = {
        IN_BLOCKS[type(module).__name__] * int(getattr(module, "block_size", 1))
        for module in network.modules()
        if type(module).__name__ in IN_BLOCKS
    }
    pools = (module for module in network.modules() if isinstance(module, nn.AvgPool2d) and file in FLOORED)
    if any(pool.stride not in (1, (1, 1)) and not pool.ceil_mode for pool in pools):
        found.add(32)
    return found


def _own_size(network: Any) -> tuple[int, int] | None:
    size = (getattr(network, "default_cfg", None) or {}).get("input_size")
    return None if not size else (int(size[1]), int(size[2]))


def _patch(network: Any) -> int:
    """The side of the patches that an image is cut into: what every stride of a plain transformer is."""
    strides = {int(level["reduction"]) for level in getattr(network.feature_info, "info", network.feature_info)}
    return math.lcm(*strides)
