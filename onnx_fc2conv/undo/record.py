"""What a converted model says of its original, as one line of text in its ``metadata_props``.

It is a difference of two models. What both have is named by where the converted model has it; what only the original
has is stored, without the values of its weights; for each of those there is a recipe. It is read from files of unknown
origin, so nothing in it is believed: whatever does not fit is a ``UsageError``, and no text can make it take more
memory than its own bounds.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import DecodeError
from onnx import ModelProto

from ..errors import UsageError
from .recipes import Recipe
from .sources import natural

METADATA_KEY = "onnx_fc2conv.original"
SCHEMA = 1
LARGEST = 4 * 2**20  #: bytes of text; nothing is recorded where it would be more
LARGEST_FRAME = 16 * 2**20  #: bytes, unpacked

#: what reading damaged text raises
DAMAGE = (
    *(ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, OverflowError),
    *(zlib.error, DecodeError),
)

Run = tuple[int, int]  #: position of the first and number of items in the converted model; of stored ones it is -1


@dataclass(frozen=True)
class Lost:
    """An FC of the original: its title, what stands for it, and its weight's name and dims."""

    node: str
    replaced: tuple[str, ...]
    weight: str
    dims: tuple[int, ...]


@dataclass(frozen=True)
class Record:
    """The difference.

    Attributes:
        skeleton: digest of the converted model.
        frame: the original without what the converted model has too, and without the values of its weights.
        nodes, initializers, functions, sparse: the original's, as runs of items.
        recipes: for the tensors of the frame, by their position in ``bits.listed``; others are stored with values.
        typed: those of them that have their values in a field for their type.
        guards: digests of the tensors that the conversion made and no recipe is about, by position.
        lost: the FC nodes.
        trained: dims of every input at the trained size.
        grids: grid axes of every output.
    """

    skeleton: str
    frame: ModelProto
    nodes: list[Run]
    initializers: list[Run]
    functions: list[Run]
    sparse: list[Run]
    recipes: dict[int, Recipe]
    typed: list[int] = field(default_factory=list)
    guards: dict[int, str] = field(default_factory=dict)
    lost: list[Lost] = field(default_factory=list)
    trained: dict[str, tuple[int | None, ...]] = field(default_factory=dict)
    grids: dict[str, int] = field(default_factory=dict)

    def to_text(self) -> str | None:
        """One line of text; ``None`` if it would be too long."""
        frame = self.frame.SerializeToString(deterministic=True)
        if len(frame) > LARGEST_FRAME:
            return None
        row: dict[str, Any] = {
            "schema": SCHEMA,
            "skeleton": self.skeleton,
            "nodes": self.nodes,
            "initializers": self.initializers,
            "functions": self.functions,
            "sparse": self.sparse,
            "recipes": {str(i): recipe.to_json() for i, recipe in self.recipes.items()},
            "typed": self.typed,
            "guards": {str(i): found for i, found in self.guards.items()},
            "lost": [[f.node, list(f.replaced), f.weight, list(f.dims)] for f in self.lost],
            "trained": self.trained,
            "grids": self.grids,
            "frame": base64.b64encode(zlib.compress(frame, 9)).decode(),
        }
        text = json.dumps(row, separators=(",", ":"))
        return text if len(text) <= LARGEST else None

    @classmethod
    def from_text(cls, text: str) -> Record:
        """The record that was written.

        Raises:
            UsageError: it is damaged, or of a schema that this version does not know.
        """
        try:
            if len(text) > LARGEST:
                raise ValueError(f"it has {len(text)} characters, more than are ever written")
            row = json.loads(text)
            if row["schema"] != SCHEMA:
                raise UsageError(f"the record of the original has schema {row['schema']}, this version reads {SCHEMA}")
            return _parsed(row)
        except DAMAGE as e:
            raise damaged(e) from e


def damaged(e: Exception | str) -> UsageError:
    """The error of a record that cannot be carried out."""
    what = f"it has no {e}" if isinstance(e, KeyError) else str(e)
    return UsageError(f"the model's record of its original is damaged: {what[:200]}")


def _parsed(row: dict[str, Any]) -> Record:
    return Record(
        _text(row["skeleton"]),
        _frame(_text(row["frame"])),
        [*_runs(row["nodes"])],
        [*_runs(row["initializers"])],
        [*_runs(row["functions"])],
        [*_runs(row["sparse"])],
        {natural(int(i)): Recipe.from_json(recipe) for i, recipe in row["recipes"].items()},
        [natural(i) for i in row["typed"]],
        {natural(int(i)): _text(found) for i, found in row["guards"].items()},
        [_lost(*found) for found in row["lost"]],
        {name: tuple(None if n is None else natural(n) for n in dims) for name, dims in row["trained"].items()},
        {name: natural(n) for name, n in row["grids"].items()},
    )


def _frame(text: str) -> ModelProto:
    unpack = zlib.decompressobj()
    data = unpack.decompress(base64.b64decode(text, validate=True), LARGEST_FRAME)
    if not unpack.eof:
        raise ValueError("its frame is cut off, or too large")
    frame: ModelProto = ModelProto.FromString(data)
    return frame


def _runs(rows: Iterable[Any]) -> Iterator[Run]:
    for start, count in rows:
        if not isinstance(start, int) or start < -1:
            raise ValueError(f"no position: {start!r}")
        yield start, natural(count)


def _lost(node: Any, replaced: Any, weight: Any, dims: Any) -> Lost:
    titles = tuple(_text(title) for title in replaced)
    return Lost(_text(node), titles, _text(weight), tuple(natural(n) for n in dims))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"no text: {value!r}")
    return value
