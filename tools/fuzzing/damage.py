"""What happens to files: bits flip, ends go missing, lengths lie. Each works on the bytes, and may break the format."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .wire import FIXED32, FIXED64, LENGTH, VARINT, Field, parse, rows, varint, write

Rng = np.random.Generator
Damage = Callable[[Rng, bytes], bytes]

EXTREMES = (0, 1, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
SHORT = 64  #: bytes; longer fields are weights, and their bits mean little


def bit_flips(rng: Rng, data: bytes) -> bytes:
    """One to eight bits, anywhere."""
    out = bytearray(data)
    for _ in range(rng.integers(1, 9)):
        out[rng.integers(len(out))] ^= 1 << int(rng.integers(8))
    return bytes(out)


def structure_flips(rng: Rng, data: bytes) -> bytes:
    """One or two bits of what is no weight."""
    out = bytearray(data)
    places = _structure(data)
    for _ in range(rng.integers(1, 3)):
        out[places[rng.integers(len(places))]] ^= 1 << int(rng.integers(8))
    return bytes(out)


def _structure(data: bytes) -> np.ndarray:
    """Positions of bytes outside of long fields."""
    keep, at = np.ones(len(data), bool), 0
    for row in rows(parse(data)):
        for f in row:
            if isinstance(f.value, bytes) and len(f.value) > SHORT:
                at = data.find(f.value, 0)
                keep[at : at + len(f.value)] = False
    found = np.flatnonzero(keep)
    return found if found.size else np.arange(len(data))


def truncation(rng: Rng, data: bytes) -> bytes:
    """The end is missing."""
    return data[: rng.integers(len(data))]


def hole(rng: Rng, data: bytes) -> bytes:
    """Some bytes in the middle are missing."""
    start = int(rng.integers(len(data)))
    return data[:start] + data[start + int(rng.integers(1, 40)) :]


def splice(rng: Rng, data: bytes) -> bytes:
    """Some bytes stand there twice, or where others stood."""
    start, length = int(rng.integers(len(data))), int(rng.integers(1, 200))
    to = int(rng.integers(len(data)))
    over = to + length if rng.integers(2) else to
    return data[:to] + data[start : start + length] + data[over:]


def noise(rng: Rng, data: bytes) -> bytes:
    """Some bytes are others."""
    start, length = int(rng.integers(len(data))), int(rng.integers(1, 20))
    return data[:start] + rng.bytes(length) + data[start + length :]


def _on_a_field(change: Callable[[Rng, list[Field], int], None]) -> Damage:
    """A field of some message, anywhere in the tree."""

    def damage(rng: Rng, data: bytes) -> bytes:
        tree = parse(data)
        lists = [row for row in rows(tree) if row]
        row = lists[rng.integers(len(lists))]
        change(rng, row, int(rng.integers(len(row))))
        return write(tree)

    damage.__name__ = change.__name__
    damage.__doc__ = change.__doc__
    return damage


@_on_a_field
def wrong_length(rng: Rng, row: list[Field], at: int) -> None:
    """A length that lies."""
    fields = [f for f in row if f.wire == LENGTH] or row
    f = fields[at % len(fields)]
    true = len(f.value) if isinstance(f.value, bytes) else 0
    f.lie = int(rng.choice([max(true - 1, 0), true + 1, true * 2 + 1, 0, 2**31 - 1, 2**31]))


@_on_a_field
def huge_number(rng: Rng, row: list[Field], at: int) -> None:
    """A number at the end of its range."""
    numbers = [f for f in row if f.wire == VARINT]
    if numbers:
        numbers[at % len(numbers)].value = EXTREMES[rng.integers(len(EXTREMES))]
    else:
        row.append(Field(int(rng.integers(1, 25)), VARINT, EXTREMES[rng.integers(len(EXTREMES))]))


@_on_a_field
def field_twice(rng: Rng, row: list[Field], at: int) -> None:
    """A field stands there twice."""
    row.insert(int(rng.integers(len(row) + 1)), row[at])


@_on_a_field
def field_missing(rng: Rng, row: list[Field], at: int) -> None:
    """A field is not there."""
    del row[at]


@_on_a_field
def fields_swapped(rng: Rng, row: list[Field], at: int) -> None:
    """Two fields have changed places."""
    other = int(rng.integers(len(row)))
    row[at], row[other] = row[other], row[at]


@_on_a_field
def another_number(rng: Rng, row: list[Field], at: int) -> None:
    """A field has another one's number."""
    row[at].number = int(rng.integers(1, 30))


@_on_a_field
def another_wire_type(rng: Rng, row: list[Field], at: int) -> None:
    """A field is coded as another type."""
    wire = int(rng.choice([VARINT, FIXED64, LENGTH, FIXED32, 3, 4]))
    size = {FIXED64: 8, FIXED32: 4, LENGTH: int(rng.integers(20))}.get(wire, 0)
    row[at] = Field(row[at].number, wire, 3 if wire == VARINT else rng.bytes(size))


@_on_a_field
def unknown_field(rng: Rng, row: list[Field], at: int) -> None:
    """A field that the format does not know, or text that is none."""
    data = rng.bytes(int(rng.integers(0, 30)))
    row.insert(at, Field(int(rng.choice([1, 2, 3, 5, 7, 500, 2**28])), LENGTH, data))


@_on_a_field
def grown_field(rng: Rng, row: list[Field], at: int) -> None:
    """Bytes that are a few more or fewer."""
    texts = [f for f in row if isinstance(f.value, bytes)]
    if texts:
        f = texts[at % len(texts)]
        assert isinstance(f.value, bytes)
        f.value = f.value + rng.bytes(int(rng.integers(1, 9))) if rng.integers(2) else f.value[: -rng.integers(1, 9)]


def overlong_number(rng: Rng, data: bytes) -> bytes:
    """A varint of ten bytes or more, somewhere."""
    at = int(rng.integers(len(data)))
    return data[:at] + varint(2**64 - 1)[:-1] * int(rng.integers(1, 3)) + data[at:]


DAMAGES: dict[str, Damage] = {
    d.__name__: d
    for d in (
        *(bit_flips, structure_flips, truncation, hole, splice, noise, overlong_number),
        *(wrong_length, huge_number, field_twice, field_missing, fields_swapped, another_number),
        *(another_wire_type, unknown_field, grown_field),
    )
}
