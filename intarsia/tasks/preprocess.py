"""From stored pixels to network input, on the device: channel order, normalisation, padding.

Shape letters: N images, C channels, H, W height and width of the batch; H', W' the same after padding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import Batch, Size
from intarsia.spec import PreprocessSpec


def least_size(network: object) -> int:
    """The smallest side of an image that a network sees, in pixels; smaller images are padded to it."""
    return max(int(getattr(part, "least_size", 1)) for part in (network, getattr(network, "backbone", None)))


class Preprocess(nn.Module):
    """Normalises a batch and pads it to the size that the network wants.

    Images come as they are stored, any dtype, RGB, smaller ones padded with anything at the right and bottom. Each
    becomes (x - mean) / std; everything outside its own size becomes `pad_value`, which is meant after normalising.

    Raises ValueError if `spec` asks for both a size and a divisor, or if mean and std differ in length.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: PreprocessSpec) -> None:
        super().__init__()
        for mode, size, divisor in (
            ("train", spec.train_size, spec.train_size_divisor),
            ("eval", spec.eval_size, spec.eval_size_divisor),
        ):
            if size is not None and divisor is not None:
                raise ValueError(
                    f"{mode} images can be padded to size={size} or to multiples of {divisor}, not to both"
                )
        if len(spec.mean) != len(spec.std):
            raise ValueError(f"mean and std need one value per channel each; got {len(spec.mean)} and {len(spec.std)}")
        self.spec = spec
        # Not part of the weights file's tensors: the file's metadata holds the whole preprocessing.
        self.register_buffer("mean", torch.tensor(spec.mean, dtype=torch.float32).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std, dtype=torch.float32).view(-1, 1, 1), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Preprocess:
        """What `to`, `double` and their like do; in float64 the values are those of `spec`, not rounded to float32."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.mean.dtype == torch.float64:
            self.mean = self.mean.new_tensor(self.spec.mean).view(-1, 1, 1)
            self.std = self.std.new_tensor(self.spec.std).view(-1, 1, 1)
        return self

    def forward(self, images: Tensor, sizes: Sequence[Size], *, train: bool) -> Tensor:
        """Images (N, C, H, W) of unpadded `sizes` -> network input (N, C, H', W') in float32, or what the task is in.

        Raises ValueError if the images have another number of channels than mean and std.
        """
        x = self.normalised(self.in_order(images))  # (N, C, H, W)
        return self._pad(x, sizes, self.padded_size(images.shape[-2:], train=train), self.spec.pad_value)

    def in_order(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) with their channels in the network's order.

        Raises ValueError if they have another number of channels than mean and std.
        """
        if images.shape[1] != len(self.mean):
            raise ValueError(
                f"mean and std of the preprocessing have {len(self.mean)} values, but the images have "
                f"{images.shape[1]} channels"
            )
        return images.flip(1) if self.spec.channel_order == "bgr" else images

    def normalised(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W), their channels in the network's order -> (x - mean) / std, in float32 or as the task."""
        return (images.to(self.mean.dtype) - self.mean) / self.std

    def training_inputs(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Network input (N, C, H', W') and labels (N, H', W') of a batch, padded alike.

        Raises ValueError if the batch has no labels of its images' size.
        """
        labels = self.training_labels(batch)
        return self(batch.images, batch.sizes, train=True), labels

    def training_labels(self, batch: Batch) -> Tensor:
        """Labels (N, H', W') of a batch, padded like its images. Rescaled ones (`SegRescale`) get as many pixels more.

        Raises ValueError if the batch has no labels of its images' size.
        """
        if not isinstance(batch.labels, Tensor):
            found = "none" if batch.labels is None else "labels of their own sizes"
            raise ValueError(f"training needs labels of the images' size; this batch has {found}")
        height, width = batch.images.shape[-2:]
        return self.labels(batch.labels, batch.sizes, train=True, images=(height, width))

    def training_maps(self, batch: Batch) -> dict[str, Tensor]:
        """The further maps (N, H', W') of a batch, padded like its labels: integers with their value, others with 0."""
        size = self.padded_size(batch.images.shape[-2:], train=True)
        return {
            name: self._pad(x, batch.sizes, size, 0.0 if x.is_floating_point() else self.spec.label_pad_value)
            for name, x in batch.maps.items()
        }

    def labels(self, labels: Tensor, sizes: Sequence[Size], *, train: bool, images: Size | None = None) -> Tensor:
        """Labels (N, H, W) of any integer dtype -> (N, H', W') in int64, padded like the images; depths stay real.

        images: (H, W) of the images, if the labels are rescaled.
        """
        height, width = labels.shape[-2:]
        rows, columns = images or (height, width)
        values = labels if labels.is_floating_point() else labels.long()
        padded = self.padded_size((rows, columns), train=train)
        more = (height - rows, width - columns)  # 0 but for rescaled labels
        sizes = [(size[0] + more[0], size[1] + more[1]) for size in sizes]
        return self._pad(values, sizes, (padded[0] + more[0], padded[1] + more[1]), self.spec.label_pad_value)

    def padded_size(self, size: Sequence[int], *, train: bool) -> Size:
        """What a batch of this height and width is padded to; never smaller than it is."""
        height, width = size
        spec = self.spec
        target, divisor = (
            (spec.train_size, spec.train_size_divisor) if train else (spec.eval_size, spec.eval_size_divisor)
        )
        if target is not None:
            return max(height, target[0]), max(width, target[1])
        if divisor is not None:
            return -(-height // divisor) * divisor, -(-width // divisor) * divisor
        return height, width

    @staticmethod
    def _pad(x: Tensor, sizes: Sequence[Size], padded: Size, value: float) -> Tensor:
        """(..., H, W) -> (..., *padded), `value` outside of each sample's size."""
        height, width = x.shape[-2:]
        x = F.pad(x, (0, padded[1] - width, 0, padded[0] - height), value=value)
        for sample, size in zip(x, sizes, strict=True):
            # Equal sizes, the usual case, need no writing.
            if size[0] < height:
                sample[..., size[0] :, :] = value
            if size[1] < width:
                sample[..., size[1] :] = value
        return x
