"""The examples for training loops, carried out on small models and a small set."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

CLASSES = ["dark", "light"]
FOLDER = Path(__file__).parents[2] / "examples" / "training"
FLAT = {"classes": CLASSES, "size": 32, "mean": (0.5,) * 3, "std": (0.5,) * 3, "crop_pct": 1.0}


def example(name: str) -> ModuleType:
    path = FOLDER / f"{name}.py"
    assert len(path.read_text().splitlines()) < 60
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Squares on noise; how light the square is tells the class."""
    folder, rng = tmp_path_factory.mktemp("squares"), np.random.default_rng(0)
    lines = ["image,label,x0,y0,x1,y1"]
    for k in range(16):
        pixels = rng.integers(96, 160, (32, 32, 3), np.uint8)
        pixels[8:24, 8:24] = (20, 235)[k % 2]
        Image.fromarray(pixels).save(folder / f"{k}.png")
        lines.append(f"{k}.png,{CLASSES[k % 2]},8,8,24,24")
    (folder / "manifest.csv").write_text("\n".join(lines))
    return folder / "manifest.csv"


def samples(manifest: Path) -> tuple[Tensor, Tensor]:
    levels = np.stack([np.asarray(Image.open(manifest.parent / f"{k}.png")) for k in range(16)])
    return torch.tensor(levels).permute(0, 3, 1, 2) / 127.5 - 1, torch.arange(16) % 2


def net() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 5, 4), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(196, 2))


def test_a_plain_loop_keeps_the_best_weights(manifest: Path) -> None:
    model = net()
    seen = list(example("plain_loop").train(model, [samples(manifest)], str(manifest), CLASSES, 32, epochs=3))
    assert [epoch for epoch, _, _ in seen] == [0, 1, 2]
    assert seen[-1][1] >= seen[0][1]
    assert all(share is None or 0 <= share <= 1 for _, _, share in seen)
    assert model.training


@pytest.mark.slow
def test_lightning_logs_both_numbers(manifest: Path, tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning.pytorch")
    warnings.simplefilter("ignore", UserWarning)  # on workers of the loader and on few batches, which are meant

    class Small(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = net()

        def forward(self, pixels: Tensor) -> Tensor:
            return self.net(pixels)

        def training_step(self, batch: tuple[Tensor, Tensor], number: int) -> Tensor:
            return nn.functional.cross_entropy(self(batch[0]), batch[1])

        def validation_step(self, batch: tuple[Tensor, Tensor], number: int) -> None:
            self.log("val", self.training_step(batch, number))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    batches = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*samples(manifest)), batch_size=8)
    model = Small()
    trainer = lightning.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        callbacks=[example("lightning_callback").RightReasons(str(manifest), **FLAT)],
    )
    trainer.fit(model, batches, batches)
    assert trainer.callback_metrics.keys() >= {"val", "pt"}
    assert 0 <= float(trainer.callback_metrics["pt"]) <= 1
    assert model.training


@pytest.mark.slow
def test_the_trainer_of_transformers_has_both_numbers(manifest: Path, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    layers = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    named = {
        "id2label": dict(enumerate(CLASSES)),
        "label2id": {name: k for k, name in enumerate(CLASSES)},
    }
    config = transformers.ViTConfig(**layers, **named, image_size=32, patch_size=8)
    model = transformers.ViTForImageClassification(config)
    processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
    data = [{"pixel_values": pixels, "labels": label} for pixels, label in zip(*samples(manifest), strict=True)]
    trainer = transformers.Trainer(
        model=model,
        args=transformers.TrainingArguments(
            output_dir=str(tmp_path),
            num_train_epochs=2,
            eval_strategy="epoch",
            save_strategy="best",
            metric_for_best_model="pt",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
        ),
        train_dataset=data,
        eval_dataset=data,
        processing_class=processor,
        callbacks=[example("trainer_callback").RightReasons(str(manifest))],
    )
    trainer.train()
    metrics = trainer.evaluate()
    assert 0 <= metrics["eval_pt"] <= 1
    assert trainer.state.best_metric is not None
