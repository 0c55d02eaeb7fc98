"""transformers: SegformerForSemanticSegmentation, its image processor and its post-processing."""

from __future__ import annotations

from peer_parts import measuring
from peer_parts.plain_torch import Library


def make(job):
    """SegFormer-B0 is what its configuration describes by default, but for the head's channels."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    assert job.network.startswith("segformer_mit-b0")
    return SegformerForSemanticSegmentation(
        SegformerConfig(num_labels=job.classes, decoder_hidden_size=256, semantic_loss_ignore_index=255)
    )


def loss(model, images, labels):
    return model(pixel_values=images, labels=labels).loss


def predictor(model, job):
    import numpy as np
    import torch
    from PIL import Image
    from transformers import SegformerImageProcessor

    height, width = job.input
    processor = SegformerImageProcessor(size={"height": height, "width": width})

    def predict(file):
        image = Image.open(file).convert("RGB")
        with torch.inference_mode():
            outputs = model(**processor(images=image, return_tensors="pt"))
        sizes = [(image.height, image.width)]
        return processor.post_process_semantic_segmentation(outputs, target_sizes=sizes)[0].numpy().astype(np.uint8)

    return predict


def versions():
    import torch
    import transformers

    return {"torch": torch.__version__, "transformers": transformers.__version__}


if __name__ == "__main__":
    measuring.main(Library(make, loss, predictor).works(), versions)
