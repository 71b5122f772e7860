"""Which form is chosen, given what was measured; and what measuring makes of times."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from onnx_fc2conv.tuning import Compared, Timed, Trial, chosen, compared, tried
from onnx_fc2conv.tuning import measuring as clockwork

PLAIN = Trial("conv", (Timed("8x8", 1.0, 0), Timed("16x16", 1.0, 0)))


def trial(form: str, *ratios: float) -> Trial:
    return Trial(form, tuple(Timed(str(i), ratio, 3) for i, ratio in enumerate(ratios)))


CHOICES = [
    # the forms' ratios, the simplest first, and which is chosen
    ({}, "conv"),
    ({"folded": (0.9,)}, "folded"),
    ({"folded": (0.98,)}, "conv"),
    ({"folded": (0.9,), "unfolded": (0.5,), "gemm": (0.7,)}, "unfolded"),
    ({"unfolded": (0.5,), "gemm": (0.49,)}, "unfolded"),
    ({"unfolded": (0.5,), "gemm": (0.48,)}, "gemm"),
    ({"unfolded": (1.1,), "gemm": (1.2,)}, "conv"),
    ({"unfolded": (0.25, 2.0)}, "unfolded"),  # four times as fast at one size, half as fast at the other
    ({"unfolded": (0.5, 1.99)}, "conv"),
    ({"unfolded": (0.25, 4.0)}, "conv"),
    ({"unfolded": (), "gemm": (0.9,)}, "gemm"),
]


@pytest.mark.parametrize(("ratios", "form"), CHOICES, ids=[str(ratios) for ratios, _ in CHOICES])
def test_choice(ratios: dict[str, Sequence[float]], form: str) -> None:
    assert chosen([trial("conv", 1.0, 1.0), *(trial(name, *found) for name, found in ratios.items())]).form == form


MEASURED = [
    # what is measured one after the other at two sizes, relative to the best so far, and the ratios that count
    ([(0.5, 0.6)], (0.5, 0.6)),
    ([(1.2, 1.1)], (1.2, 1.1)),
    ([(0.9, 0.95), (0.9, 0.99)], (0.9, 0.99)),
    ([(0.9, 0.95), (0.8, 0.85)], (0.9, 0.95)),
    ([(0.9, 0.9), (1.3, 1.3)], (1.3, 1.3)),
    ([(1.0, 0.98)], (1.0, 0.98)),
]


@pytest.mark.parametrize(("found", "counts"), MEASURED)
@pytest.mark.parametrize("best", [1.0, 0.5])
def test_small_gains_are_measured_twice(
    found: list[tuple[float, float]], counts: tuple[float, float], best: float
) -> None:
    left = [[Compared(ratio, 5) for ratio in pair] for pair in found]
    fastest = Trial("unfolded", tuple(Timed(size, best, 5) for size in ("8x8", "16x16")))
    result = tried("gemm", fastest, lambda: left.pop(0))
    assert [t.ratio for t in result.timed] == pytest.approx([best * ratio for ratio in counts])
    assert [t.size for t in result.timed] == ["8x8", "16x16"]
    assert not left


class Machine:
    """Two models on a clock of their own: each run takes the next of its times, in seconds."""

    def __init__(self, first: Iterator[float], second: Iterator[float]) -> None:
        self.now, self.order = 0.0, ""
        self._times = {"a": first, "b": second}

    def run(self, which: str) -> Callable[[], None]:
        def once() -> None:
            self.now += next(self._times[which])
            self.order += which

        return once

    def compared(self) -> Compared:
        return compared(self.run("a"), self.run("b"), lambda: self.now)


def always(seconds: float) -> Iterator[float]:
    while True:
        yield seconds


def spoiled(seconds: float, every: int) -> Iterator[float]:
    """Something else keeps the machine busy now and then."""
    while True:
        yield from [seconds] * (every - 1)
        yield 100 * seconds


def test_the_ratio_is_a_median() -> None:
    assert Machine(spoiled(0.3, 4), spoiled(0.6, 7)).compared().ratio == pytest.approx(0.5)


def test_turns_change_sides() -> None:
    """What runs first in a turn finds what the other one has left in the caches."""
    machine = Machine(always(1.0), always(1.0))
    assert machine.compared() == Compared(1.0, 3)
    assert machine.order[-6:] == "abbaab"


def test_it_ends_after_its_time() -> None:
    machine = Machine(always(0.1), always(0.1))
    found = machine.compared()
    assert clockwork.LEAST < found.turns < clockwork.MOST
    assert machine.now < clockwork.BUDGET + 1


def test_it_ends_early_where_it_is_clear() -> None:
    assert Machine(always(0.2), always(0.1)).compared() == Compared(pytest.approx(2.0), clockwork.LEAST)


def test_short_runs_are_repeated() -> None:
    machine = Machine(always(0.001), always(0.002))
    assert machine.compared().ratio == pytest.approx(0.5)
    assert machine.order.count("a") > 20 * clockwork.LEAST - 1
    assert len(machine.order) < 2 * 25 * clockwork.MOST
