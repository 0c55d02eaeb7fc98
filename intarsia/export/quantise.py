"""Eight bits instead of 32 after training: weights by channel, activations by the range that images give them.

Only products are made so (convolutions and matrices), where nearly all time goes, and not those of the head, which cost
most of the accuracy and little of the time. onnxruntime and OpenVINO both run the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.contracts import Size
from intarsia.export.contract import ExportMeta

PRODUCTS = ("Conv", "Gemm", "MatMul", "ConvTranspose")
SCOPES = "pkg.torch.onnx.name_scopes"
"""Entry of a node's metadata: the modules that it is of."""

LEFT = ("decode_head", "auxiliary_head")
"""Parts of the model that stay as they are."""


def quantise(
    path: Path, out: Path, meta: ExportMeta, inputs: Iterable[tuple[npt.NDArray[Any], Size | None]], *, large: bool
) -> int:
    """Make an ONNX file of float32 one of int8; gives the number of products that became so.

    inputs: some images as the contract has them, one at a time, and the answer's size where it asks for it: what
    activations are measured on. large: the weights lie beside the file, and will lie beside `out`.

    Raises ValueError if nothing in the file can be made so.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    from intarsia.export.program import quiet

    model = onnx.load(path, load_external_data=False)
    weights = {one.name for one in model.graph.initializer}
    chosen = [node.name for node in model.graph.node if _is_chosen(node, weights)]
    if not chosen:
        raise ValueError("int8: the network has no convolutions or matrices with weights outside of its head")
    with quiet():
        quantize_static(
            path, out, _Reader(meta, inputs),
            quant_format=QuantFormat.QDQ, per_channel=True, nodes_to_quantize=chosen,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, use_external_data_format=large,
            # Weights of seven bits: processors without instructions for it (VNNI) add two products in 16 bits, which
            # does not hold more, and other ones would give other labels.
            reduce_range=True,
        )  # fmt: skip
    return len(chosen)


def _is_chosen(node: Any, weights: set[str]) -> bool:
    if node.op_type not in PRODUCTS or not any(name in weights for name in node.input[1:2]):
        return False
    scopes = next((entry.value for entry in node.metadata_props if entry.key == SCOPES), "")
    return not any(f"model.{part}" in scopes for part in LEFT)


class _Reader:
    """What onnxruntime asks for the next input."""

    def __init__(self, meta: ExportMeta, inputs: Iterable[tuple[npt.NDArray[Any], Size | None]]) -> None:
        self._asks_size = meta.contract.asks_size
        self._inputs: Iterator[tuple[npt.NDArray[Any], Size | None]] = iter(inputs)

    def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
        """An input by names, or None after the last."""
        found = next(self._inputs, None)
        if found is None:
            return None
        image, size = found
        given = {"image": np.ascontiguousarray(image)}
        if self._asks_size:
            given["size"] = np.array(size, dtype=np.int64)
        return given

    def set_range(self, start_index: int, end_index: int) -> None:
        """Asked for by some versions to read a part at a time; all is read in turn here."""


def shown(samples: Iterable[npt.NDArray[Any]], meta: ExportMeta, most: int) -> Iterator[tuple[npt.NDArray[Any], Any]]:
    """Images (H, W, C) as the contract has them, `most` at most; of a file of one size, parts of that size."""
    contract = meta.contract
    for number, image in enumerate(samples):
        if number == most:
            return
        pixels = image if contract.size is None else _part(image, contract.size)
        batch = np.repeat(pixels[None], contract.batch or 1, axis=0).astype(contract.dtype)
        yield (batch if contract.layout == "NHWC" else batch.transpose(0, 3, 1, 2)), image.shape[:2]


def _part(image: npt.NDArray[Any], size: Sequence[int]) -> npt.NDArray[Any]:
    """The middle of an image, at its border continued where it is smaller."""
    height, width = size
    rows, columns = max(0, height - image.shape[0]), max(0, width - image.shape[1])
    image = np.pad(image, ((0, rows), (0, columns), (0, 0)), mode="edge")
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width]
