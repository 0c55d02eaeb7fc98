"""The text encoder of CLIP: names of classes as vectors that its image encoder's can be compared with.

Paper: Radford et al., Learning Transferable Visual Models From Natural Language Supervision, ICML 2021,
    arXiv:2103.00020. With a learned vector for what has no name, as SAN uses it: Xu et al., arXiv:2302.12242.
Original code: https://github.com/openai/CLIP

Deviation: the vectors of the names are computed in the precision of the weights, also under autocast, since they are
computed once.

Shape letters: K classes, T sentences that each name is put into, L numbers of a sentence, C channels, E channels of the
vectors that are compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.layers.activation import Activation
from intarsia.layers.clip.templates import templates_of
from intarsia.layers.clip.tokens import SIZE, tokenize
from intarsia.layers.norm import Norm
from intarsia.layers.transformer import ListedEncoderLayer

LN = Norm("LN")
TEMPERATURE = 0.07
"""Of the softmax over similarities, where CLIP's training starts."""


class CLIPTextEncoder(nn.Module):
    """The names of classes -> their vectors (section 2.4). Its weights stay as loaded, but for the background's vector.

    B/16 is the default; that of L/14 has ``embed_dims=768, num_heads=12, output_dims=768``.

    Args:
        vocabulary: the names.
        templates: sentences with a {} for the name, or the name of a set of them: "vild", "imagenet".
        total_vocab_size: how many numbers a text is made of.
        context_length: numbers of a sentence; longer ones are cut.
        embed_dims: channels of a number.
        output_dims: channels of the vectors.
        num_layers: layers.
        num_heads: attention heads.
        mlp_ratio: hidden channels of the feed-forward networks per channel.
        cache_feature: keep the vectors of the names until the weights change.
        cat_bg: a learned vector behind those of the names, for whatever has no name.
        norm: everywhere.

    num_vectors: of the answer: K, or K + 1 with the background's.

    Weights start as CLIP's do.

    Raises ValueError without a name, for a name that is empty or there twice, for unknown templates, or fewer numbers
    than CLIP's texts are made of.
    """

    tokens: Tensor

    def __init__(
        self,
        *,
        vocabulary: Sequence[str],
        templates: str | Sequence[str] = "vild",
        total_vocab_size: int = SIZE,
        context_length: int = 77,
        embed_dims: int = 512,
        output_dims: int = 512,
        num_layers: int = 12,
        num_heads: int = 8,
        mlp_ratio: int = 4,
        cache_feature: bool = True,
        cat_bg: bool = True,
        norm: Norm = LN,
    ) -> None:
        super().__init__()
        _check_names(vocabulary)
        if total_vocab_size < SIZE:
            raise ValueError(f"total_vocab_size is {total_vocab_size}, but CLIP's texts are made of {SIZE} numbers")
        self.cache_feature = cache_feature
        self.num_vectors = len(vocabulary) + cat_bg
        self.output_dims = output_dims
        self.positional_embedding = nn.Parameter(torch.empty(context_length, embed_dims))
        self.text_projection = nn.Parameter(torch.empty(embed_dims, output_dims))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / TEMPERATURE)))
        self.bg_embed = nn.Parameter(torch.empty(1, output_dims)) if cat_bg else None
        self.token_embedding = nn.Embedding(total_vocab_size, embed_dims)
        self.transformer = nn.ModuleList(
            ListedEncoderLayer(
                embed_dims, num_heads, hidden=mlp_ratio * embed_dims, norm=norm, activation=Activation("QuickGELU")
            )
            for _ in range(num_layers)
        )
        self.ln_final = norm(embed_dims)
        sentences = [[template.format(name) for name in vocabulary] for template in templates_of(templates)]
        numbers = [tokenize(row, context_length) for row in sentences]
        self.register_buffer("tokens", torch.tensor(numbers), persistent=False)  # (T, K, L)
        before = torch.full((context_length, context_length), -math.inf).triu(1)  # what comes later is not seen
        self.register_buffer("mask", before, persistent=False)  # (L, L)
        self._kept: Tensor | None = None
        self._kept_of: tuple[Any, ...] = ()
        self.register_load_state_dict_post_hook(_forget)  # type: ignore[no-untyped-call]
        self._initialise(embed_dims, num_layers)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name == "bg_embed")

    def forward(self) -> Tensor:
        """Vectors (K, E), or (K + 1, E) with the background's last, all of the length that comparison needs."""
        vectors = self.vectors_of_names()
        if self.bg_embed is not None:
            vectors = F.normalize(torch.cat([vectors, self.bg_embed.to(vectors.dtype)]), dim=-1)
        return self.logit_scale.exp() * vectors

    @torch.no_grad()
    def vectors_of_names(self) -> Tensor:
        """Of each name the mean over all sentences, (K, E) of length 1; kept until the weights change, or move."""
        if torch.compiler.is_compiling():
            return self._encoded() if self._kept is None else self._kept
        state = self._state()
        if self._kept is not None and self._kept_of == state:
            return self._kept
        with torch.inference_mode(False):  # so that training can go on with what prediction has kept
            found = self._encoded()
        if self.cache_feature and isinstance(found, Tensor):  # under torch.fx it stands for one only
            self._kept, self._kept_of = found, state
        return found

    def _encoded(self) -> Tensor:
        with torch.autocast(self.tokens.device.type, enabled=False):
            sentences = [self._sentences(self.tokens[i]) for i in range(self.tokens.shape[0])]
            return F.normalize(torch.stack(sentences).mean(dim=0), dim=-1)

    def _sentences(self, numbers: Tensor) -> Tensor:
        """Numbers of sentences (K, L) -> vectors (K, E) of length 1: what the mark behind a text has seen of it."""
        x = self.token_embedding(numbers) + self.positional_embedding  # (K, L, C)
        mask = self.mask.to(x.dtype)
        for layer in self.transformer:
            x = layer(x, mask)
        x = self.ln_final(x)
        end = numbers.argmax(dim=-1).view(-1, 1, 1).expand(-1, 1, x.shape[2])  # the mark is the largest number
        return F.normalize(x.gather(1, end).squeeze(1) @ self.text_projection, dim=-1)

    def _state(self) -> tuple[Any, ...]:
        """Changes with every write into the weights."""
        weights = (parameter for name, parameter in self.named_parameters() if name != "bg_embed")
        return tuple((id(weight), weight._version) for weight in weights)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> CLIPTextEncoder:
        """Called for every move to another device or precision, which may write nothing."""
        self._kept = None
        return cast("CLIPTextEncoder", super()._apply(fn, recurse))  # type: ignore[no-untyped-call]

    def _initialise(self, channels: int, num_layers: int) -> None:
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        nn.init.normal_(self.text_projection, std=channels**-0.5)
        if self.bg_embed is not None:
            nn.init.normal_(self.bg_embed, std=self.bg_embed.shape[1] ** -0.5)
        narrow = channels**-0.5 * (2 * num_layers) ** -0.5
        for layer in self.transformer:
            assert isinstance(layer, ListedEncoderLayer)
            layer.initialise(attention=channels**-0.5, projection=narrow, hidden=(2 * channels) ** -0.5)


def _forget(encoder: CLIPTextEncoder, _keys: object) -> None:
    """After weights are loaded. A compiled network asks nothing else."""
    encoder._kept = None


def _check_names(vocabulary: Sequence[str]) -> None:
    if isinstance(vocabulary, str) or not vocabulary:
        raise ValueError(f"vocabulary is a list of class names, one or more; got {vocabulary!r}")
    empty = [i for i, name in enumerate(vocabulary) if not name.strip()]
    if empty:
        raise ValueError(f"vocabulary has an empty name at index {empty[0]}; CLIP knows a class by its name alone")
    twice = sorted({name for name in vocabulary if list(vocabulary).count(name) > 1})
    if twice:
        raise ValueError(f"vocabulary has {twice[0]!r} twice; CLIP cannot tell the two classes apart")
