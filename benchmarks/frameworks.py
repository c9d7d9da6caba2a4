"""Loops as public distillation frameworks write them, to compare with: per-image PIL transforms in a DataLoader, the
teacher's forward pass in every step, the default AdamW, the loss read on the host in every step.

Written for this comparison; no framework's code is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.transforms import v2

from crossres.suites.datasets import CIFAR100_NORMALISATION
from crossres.training.augment import cutmix, mixup
from crossres.training.device import autocast


def pil_transform(size_px: int = 32) -> Any:
    """Return torchvision's pipeline of the thesis's strong recipe, on PIL images."""
    return transforms.Compose(
        [
            transforms.RandomCrop(size_px, padding=size_px // 8),
            transforms.RandomHorizontalFlip(),
            transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10),
            transforms.ToTensor(),
            transforms.Normalize(*CIFAR100_NORMALISATION),
            transforms.RandomErasing(p=0.25, scale=(0.02, 0.2)),
        ]
    )


def tensor_transform(size_px: int = 32) -> Any:
    """Return the same with torchvision's v2 transforms, image by image, on uint8 tensors."""
    return v2.Compose(
        [
            v2.RandomCrop(size_px, padding=size_px // 8),
            v2.RandomHorizontalFlip(),
            v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(*map(list, CIFAR100_NORMALISATION)),
            v2.RandomErasing(p=0.25, scale=(0.02, 0.2)),
        ]
    )


class Images(Dataset):
    """A data set in memory, transformed image by image."""

    def __init__(self, images: Tensor, labels: Tensor, transform: Any, as_pil: bool) -> None:
        self.labels, self.transform = labels.tolist(), transform
        self.images = [Image.fromarray(i.permute(1, 2, 0).numpy()) for i in images] if as_pil else list(images)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), self.labels[index]


def loader(dataset: Dataset, batch_size: int, workers: int) -> Iterator[list[Tensor]]:
    """Yield shuffled batches for ever."""
    made: DataLoader = DataLoader(dataset, batch_size, shuffle=True, num_workers=workers, drop_last=True)
    while True:
        yield from made


def mix(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, float]:
    """Mix a batch with CutMix or Mixup, by torch's global generator."""
    partner, lam = torch.randperm(len(images), device=images.device), float(torch.rand(()))
    if torch.rand(()) < 0.5:
        return mixup(images, partner, lam), labels, labels[partner], lam
    side = int(images.shape[-1] * (1 - lam) ** 0.5)
    return cutmix(images, partner, (0, side, 0, side)), labels, labels[partner], 1 - side**2 / images.shape[-1] ** 2


class PlainLoop:
    """A training loop with a teacher, step by step.

    Args:
        student: The network in training.
        teacher: The teacher.
        batches: Batches of images and labels, from the DataLoader.
        teacher_px: What the mixed batch is upsampled to for the teacher.
        precision: `fp32`, or an autocast type on CUDA.
    """

    def __init__(
        self, student: nn.Module, teacher: nn.Module, batches: Iterator[list[Tensor]], teacher_px: int, precision: str
    ) -> None:
        self.student, self.teacher, self.batches = student.train(), teacher.eval(), batches
        self.device, self.teacher_px, self.precision = next(student.parameters()).device, teacher_px, precision
        self.optimiser = torch.optim.AdamW(student.parameters(), lr=1e-3, weight_decay=0.05)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        self.loss = 0.0

    def step(self) -> None:
        """Take one step."""
        images, labels = (part.to(self.device) for part in next(self.batches))
        images, a, b, lam = mix(images, labels)
        with autocast(self.device, self.precision):
            with torch.no_grad():
                size = (self.teacher_px, self.teacher_px)
                seen = images if images.shape[-1] == self.teacher_px else functional.interpolate(images, size)
                teacher_logits = self.teacher(seen)
            student_logits = self.student(images)
            loss = kd_loss(student_logits, teacher_logits, a, b, lam)
        self.optimiser.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimiser)
        nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.loss = loss.item()


def kd_loss(student_logits: Tensor, teacher_logits: Tensor, a: Tensor, b: Tensor, lam: float) -> Tensor:
    """The thesis's KD: `0.7 · T² · KL + 0.3 · CE` with T = 4, label smoothing 0.1 and two labels."""
    soft = functional.kl_div(
        functional.log_softmax(student_logits / 4, 1), functional.softmax(teacher_logits / 4, 1), reduction="batchmean"
    )
    hard = lam * functional.cross_entropy(student_logits, a, label_smoothing=0.1)
    hard = hard + (1 - lam) * functional.cross_entropy(student_logits, b, label_smoothing=0.1)
    return 0.7 * 16 * soft + 0.3 * hard
