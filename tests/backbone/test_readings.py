"""Readings of a number: the first that is not contradicted is taken, and only if every other one is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from onnx_fc2conv.backbone.readings import MAX_TRIES, Readings, resolved
from onnx_fc2conv.errors import Contradiction, Unliftable
from onnx_fc2conv.ops import Op

NUMBERS = {name: Op(i, "Reshape", name, "", [], [name], 17, {}) for i, name in enumerate("abcd")}


def model(fits: Callable[..., bool], options: dict[str, int]) -> Callable[[Readings], dict[str, int]]:
    """An attempt that reads these numbers and is contradicted unless they fit together."""

    def attempt(readings: Readings) -> dict[str, int]:
        read = {name: readings.choose(NUMBERS[name], 0, n, f"{name} may be many things") for name, n in options.items()}
        if not fits(**read):
            raise Contradiction("does not fit", "Conv 'c'")
        return read

    return attempt


@pytest.mark.parametrize(
    ("fits", "options", "expected"),
    [
        (lambda: True, {}, {}),
        (lambda a: a == 0, {"a": 2}, {"a": 0}),
        (lambda a: a == 1, {"a": 2}, {"a": 1}),
        (lambda a: a == 2, {"a": 3}, {"a": 2}),
        (lambda a, b: (a, b) == (1, 0), {"a": 2, "b": 2}, {"a": 1, "b": 0}),
        (lambda a, b, c: (a, b, c) == (1, 2, 1), {"a": 2, "b": 3, "c": 2}, {"a": 1, "b": 2, "c": 1}),
    ],
)
def test_the_only_reading_that_fits_is_taken(
    fits: Callable[..., bool], options: dict[str, int], expected: dict[str, int]
) -> None:
    assert resolved(model(fits, options)) == expected


@pytest.mark.parametrize(
    ("fits", "options", "node"),
    [
        (lambda a: True, {"a": 2}, "Reshape 'a'"),
        (lambda a: a != 1, {"a": 3}, "Reshape 'a'"),
        (lambda a, b: a == 0, {"a": 2, "b": 2}, "Reshape 'b'"),
    ],
)
def test_two_readings_that_fit_are_refused(fits: Callable[..., bool], options: dict[str, int], node: str) -> None:
    with pytest.raises(Unliftable, match="may be many things") as caught:
        resolved(model(fits, options))
    assert caught.value.node == node


def test_where_none_fits_the_first_contradiction_is_said() -> None:
    with pytest.raises(Unliftable, match="does not fit") as caught:
        resolved(model(lambda a: False, {"a": 3}))
    assert type(caught.value) is Unliftable
    assert caught.value.node == "Conv 'c'"


def test_a_refusal_for_another_reason_does_not_prove_a_reading() -> None:
    def attempt(readings: Readings) -> int:
        option = readings.choose(NUMBERS["a"], 0, 2, "a may be many things")
        if option == 1:
            raise Unliftable("something else is wrong")
        return option

    with pytest.raises(Unliftable, match="may be many things"):
        resolved(attempt)


def test_numbers_that_are_met_under_the_other_reading_only_are_tried_too() -> None:
    """Under the second reading of ``a`` another number appears, one of whose readings fits: so ``a`` is not proven."""

    def attempt(readings: Readings) -> int:
        option = readings.choose(NUMBERS["a"], 0, 2, "a may be many things")
        if option == 1 and readings.choose(NUMBERS["b"], 0, 2, "b may be many things") == 0:
            raise Contradiction("does not fit", "Conv 'c'")
        return option

    with pytest.raises(Unliftable, match="a may be many things"):
        resolved(attempt)


def test_the_search_ends() -> None:
    tried = 0

    def attempt(readings: Readings) -> None:
        nonlocal tried
        tried += 1
        for i in range(20):
            readings.choose(NUMBERS["a"], i, 2, "")
        raise Contradiction("never fits", "Conv 'c'")

    with pytest.raises(Unliftable, match="never fits"):
        resolved(attempt)
    assert tried == MAX_TRIES
