"""Other people's loops around our modules: what each trains, keeps and goes on with. Lightning, Accelerate, Trainer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import intarsia

pytest.importorskip("timm", reason="timm is not installed")
pytestmark = pytest.mark.slow  # half a minute, most of it imports

CLASSES = ["a", "b", "c"]


def made() -> intarsia.SegmentationModel:
    torch.manual_seed(0)
    return intarsia.create_model("unet", trunk="test_resnet", num_classes=len(CLASSES), pretrained=False)


def tensors() -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(8, 3, 64, 72, generator=generator)
    return TensorDataset(images, torch.randint(0, 3, (8, 64, 72), generator=generator))


def assert_same(found: nn.Module, expected: nn.Module) -> None:
    state = expected.state_dict()
    assert found.state_dict().keys() == state.keys()
    assert all(value.equal(state[name]) for name, value in found.state_dict().items())


def assert_saved(model: nn.Module, inner: intarsia.SegmentationModel, file: Path) -> None:
    """The file holds what the module holds, under its names."""
    intarsia.save(model, file, classes=CLASSES)
    assert_same(intarsia.create_model(file), inner)


def test_lightning(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning", reason="lightning is not installed")

    class Segmenter(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.model = made()

        def training_step(self, batch: list[Tensor], index: int) -> Tensor:
            return intarsia.losses.cross_entropy(self.model(batch[0]), batch[1])

        def validation_step(self, batch: list[Tensor], index: int) -> None:
            assert not self.model.training
            assert not self.model.network.training
            self.log("val_loss", intarsia.losses.cross_entropy(self.model(batch[0]), batch[1]))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=1e-3)

    def fit(epochs: int, **arguments: Any) -> tuple[Any, Any]:
        segmenter, loader = Segmenter(), DataLoader(tensors(), batch_size=2)
        trainer = lightning.Trainer(
            max_epochs=epochs, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
        )  # fmt: skip
        trainer.fit(segmenter, loader, loader, **arguments)
        return segmenter, trainer

    whole, trainer = fit(2)
    assert trainer.callback_metrics["val_loss"].isfinite()
    half, trainer = fit(1)
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    assert_same(Segmenter.load_from_checkpoint(tmp_path / "one.ckpt"), half)
    resumed, _ = fit(2, ckpt_path=tmp_path / "one.ckpt")
    assert_same(resumed, whole)
    assert_saved(whole.model, whole.model, tmp_path / "w.safetensors")


ACCELERATED = """
import sys

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader
from test_python_loops import CLASSES, assert_saved, assert_same, made, tensors

import intarsia

accelerator = Accelerator(cpu=True)


def prepared():
    model = made()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    return accelerator.prepare(model, optimizer, DataLoader(tensors(), batch_size=2))


def epoch(model, optimizer, loader):
    model.train()
    for images, labels in loader:
        accelerator.backward(intarsia.losses.cross_entropy(model(images), labels))
        optimizer.step()
        optimizer.zero_grad()


def pixels_seen(model, optimizer, loader):
    model.eval()
    metric = intarsia.metrics.IoUMetric(num_classes=3, classes=CLASSES)
    for images, labels in loader:
        with torch.inference_mode():
            metric.update(*accelerator.gather_for_metrics((model(images).argmax(dim=1), labels)))
    return sum(one.pixels for one in metric.report().classes)


whole = prepared()
epoch(*whole)
accelerator.save_state(sys.argv[1] + "/state")
accelerator.wait_for_everyone()
epoch(*whole)
assert pixels_seen(*whole) == 8 * 64 * 72
expected = accelerator.unwrap_model(whole[0])
accelerator.free_memory()
resumed = prepared()
accelerator.load_state(sys.argv[1] + "/state")
epoch(*resumed)
pixels_seen(*resumed)  # statistics of norms are those of the first process then
assert_same(accelerator.unwrap_model(resumed[0]), expected)
if accelerator.is_main_process:
    from pathlib import Path

    assert_saved(resumed[0], expected, Path(sys.argv[1]) / "w.safetensors")
accelerator.end_training()
"""


@pytest.mark.parametrize("processes", [1, 2])
def test_accelerate(processes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    (tmp_path / "script.py").write_text(ACCELERATED)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", ":".join(path for path in sys.path if path))
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes > 1 else []
    command = [sys.executable, *launch, str(tmp_path / "script.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert (tmp_path / "w.safetensors").is_file()


class Dicts(Dataset[dict[str, Tensor]]):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        image, label = tensors()[index]
        return {"images": image, "labels": label}


class WithLoss(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, labels: Tensor | None = None) -> dict[str, Tensor | None]:
        logits = self.model(images)
        return {"loss": None if labels is None else intarsia.losses.cross_entropy(logits, labels), "logits": logits}


def test_the_trainer_of_transformers(tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="accelerate, which the Trainer needs, is not installed")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")

    def scores(found: Any) -> dict[str, float]:
        assert found.predictions.shape == found.label_ids.shape == (8, 64, 72)
        return {"mIoU": intarsia.metrics.iou(found.predictions, found.label_ids, num_classes=3).nanmean().item()}

    def fit(**resume: Any) -> tuple[WithLoss, dict[str, float]]:
        model = WithLoss(made())
        arguments = transformers.TrainingArguments(
            str(tmp_path / "trainer"), use_cpu=True, per_device_train_batch_size=2, num_train_epochs=2, seed=0,
            learning_rate=1e-3, save_strategy="epoch", report_to=[], disable_tqdm=True,
        )  # fmt: skip
        trainer = transformers.Trainer(
            model=model, args=arguments, train_dataset=Dicts(), eval_dataset=Dicts(), compute_metrics=scores,
            preprocess_logits_for_metrics=lambda logits, labels: logits.argmax(dim=1),
        )  # fmt: skip
        trainer.train(**resume)
        return model, trainer.evaluate()

    whole, metrics = fit()
    assert 0 < metrics["eval_mIoU"] < 1
    resumed, again = fit(resume_from_checkpoint=str(tmp_path / "trainer" / "checkpoint-4"))
    assert_same(resumed, whole)
    assert again["eval_mIoU"] == metrics["eval_mIoU"]
    assert_saved(whole.model, whole.model, tmp_path / "w.safetensors")  # type: ignore[arg-type]
