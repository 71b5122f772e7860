"""Training, seeded: the same machine and the same torch give the same weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from .network import Detector
from .samples import Windows

BATCH = 128
RATE, LAST_RATE = 4e-3, 1.2e-3


def train(
    seen: Windows,
    epochs: int,
    seed: int,
    say: Callable[[str], None],
    rate: float = RATE,
    detector: Detector | None = None,
) -> Detector:
    """Train a detector.

    Args:
        seen: what it learns from.
        epochs: how often it sees them, each time in another light, mirrored or not.
        seed: of the weights that it begins with and of the order.
        say: is told about every epoch.
        rate: the largest step.
        detector: one to go on with, which is changed; a new one if there is none.
    """
    torch.manual_seed(seed)
    torch.set_num_threads(1)  # sums in one order on every machine; small batches gain little from more
    detector = detector or Detector()
    detector.train()
    pictures = torch.from_numpy(seen.pictures).permute(0, 3, 1, 2).contiguous()
    answers = torch.from_numpy(seen.answers)
    optimiser = torch.optim.AdamW(detector.parameters(), lr=rate, weight_decay=0.02)
    steps = epochs * (len(answers) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.15)
    loss_of = nn.BCEWithLogitsLoss()
    for epoch in range(epochs):
        order, total = torch.randperm(len(answers)), 0.0
        for start in range(0, len(answers) - BATCH + 1, BATCH):
            chosen = order[start : start + BATCH]
            loss = loss_of(detector(_varied(pictures[chosen])), answers[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss.detach())
        say(f"epoch {epoch + 1} of {epochs}: loss {total / (len(answers) // BATCH):.4f}")
    detector.eval()
    return detector


def _varied(pictures: torch.Tensor) -> torch.Tensor:
    """Pixels from 0 to 1, half of the windows mirrored, each in a light and in colours of its own."""
    x = pictures.float() / 255
    count = len(x)
    x = torch.where(torch.rand(count, 1, 1, 1) < 0.5, x.flip(3), x)
    mixing = torch.eye(3) * (1 + 0.12 * torch.randn(count, 1, 1)) + 0.12 * torch.randn(count, 3, 3)
    x = torch.einsum("nij,njhw->nihw", mixing, x - 0.5)
    return (x + 0.5 + 0.04 * torch.randn(count, 1, 1, 1)).clamp(0, 1)


def answers_of(detector: Detector, windows: Windows) -> np.ndarray:
    """The detector's probabilities for windows: [count]."""
    pictures = torch.from_numpy(windows.pictures).permute(0, 3, 1, 2)
    with torch.no_grad():
        parts = [torch.sigmoid(detector(part.float() / 255)) for part in pictures.split(512)]
    found: np.ndarray = torch.cat(parts).numpy()
    return found
