"""torchvision: deeplabv3_resnet50 with the transform that its weights name."""

from __future__ import annotations

from peer_parts import measuring
from peer_parts.plain_torch import Library


def make(job):
    from torchvision.models.segmentation import deeplabv3_resnet50

    assert job.network == "deeplabv3_r50-d8, projected"
    return deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=job.classes, aux_loss=False)


def loss(model, images, labels):
    from torch.nn.functional import cross_entropy

    return cross_entropy(model(images)["out"], labels, ignore_index=255)


def predictor(model, job):
    import numpy as np
    import torch
    from PIL import Image
    from torch.nn import functional as F
    from torchvision.transforms._presets import SemanticSegmentation

    transform = SemanticSegmentation(resize_size=min(job.input))

    def predict(file):
        image = Image.open(file).convert("RGB")
        with torch.inference_mode():
            logits = model(transform(image)[None])["out"]
            if logits.shape[2:] != (image.height, image.width):
                logits = F.interpolate(logits, (image.height, image.width), mode="bilinear")
            return logits.argmax(1)[0].numpy().astype(np.uint8)

    return predict


def versions():
    import torch
    import torchvision

    return {"torch": torch.__version__, "torchvision": torchvision.__version__}


if __name__ == "__main__":
    measuring.main(Library(make, loss, predictor).works(), versions)
