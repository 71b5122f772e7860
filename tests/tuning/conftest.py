"""Times that are given, and not measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from onnx_fc2conv import tuned
from onnx_fc2conv.tuning import Compared


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[float]]:
    """Gives the ratios that will be measured, in order; whoever asks for more fails."""

    def give(*ratios: float) -> list[float]:
        left = list(ratios)

        def compare(run: Callable[[], Any], other: Callable[[], Any]) -> Compared:
            run(), other()
            return Compared(left.pop(0), 3)

        monkeypatch.setattr(tuned, "compared", compare)
        return left

    return give
