"""segmentation_models.pytorch, whose networks take sides that are multiples of 32: images are padded, labels cut."""

from __future__ import annotations

from peer_parts import measuring
from peer_parts.plain_torch import Library


def make(job):
    import segmentation_models_pytorch as smp

    if job.network.startswith("segformer_mit-b0"):
        return smp.Segformer("mit_b0", encoder_weights=None, classes=job.classes, decoder_segmentation_channels=256)
    assert job.network == "deeplabv3_r50-d8, projected"
    return smp.DeepLabV3("resnet50", encoder_weights=None, classes=job.classes, encoder_output_stride=8)


def loss(model, images, labels):
    from torch.nn.functional import cross_entropy

    return cross_entropy(model(images), labels, ignore_index=255)


def predictor(model, job):
    import cv2
    import numpy as np
    import torch
    from torch.nn import functional as F

    height, width = job.input

    def predict(file):
        image = cv2.imread(str(file))[:, :, ::-1]
        pixels = torch.from_numpy(cv2.resize(image, (width, height)).transpose(2, 0, 1).copy())[None]
        padded = F.pad(measuring.normalised(pixels), (0, -width % 32, 0, -height % 32))
        with torch.inference_mode():
            logits = model(padded)[:, :, :height, :width]
            if image.shape[:2] != (height, width):
                logits = F.interpolate(logits, image.shape[:2], mode="bilinear")
            return logits.argmax(1)[0].numpy().astype(np.uint8)

    return predict


def versions():
    import segmentation_models_pytorch as smp
    import torch

    return {"torch": torch.__version__, "segmentation_models.pytorch": smp.__version__}


if __name__ == "__main__":
    measuring.main(Library(make, loss, predictor).works(), versions)
