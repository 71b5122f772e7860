"""The grids of all outputs of a converted model, and how they are stored in it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from .grid import Grid
from .sizes import SizeLaw

SCHEMA = 1
METADATA_KEY = "onnx_fc2conv.geometry"


@dataclass(frozen=True)
class Geometry:
    """The grid of every converted output."""

    outputs: dict[str, Grid]

    def __getitem__(self, output: str) -> Grid:
        return self.outputs[output]

    @property
    def grid(self) -> Grid:
        """The grid that all outputs share.

        Raises:
            ValueError: the outputs have different grids; ask for one by name: ``geometry["prob"]``.
        """
        grids = list(self.outputs.values())
        if any(g != grids[0] for g in grids):
            raise ValueError(f"outputs have different grids; choose one: {', '.join(self.outputs)}")
        return grids[0]

    def grid_size(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """``Grid.grid_size`` of the grid that all outputs share."""
        return self.grid.grid_size(size)

    def box(self, *cell: int, size: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """``Grid.box`` of the grid that all outputs share."""
        return self.grid.box(*cell, size=size)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, also what is stored in the converted model's ``metadata_props``."""
        outputs = {
            name: {
                "input": g.source,
                "trained_size": list(g.trained_size),
                "window": list(g.window),
                "stride": list(g.stride),
                "grid_law": [[list(step) for step in law.steps] for law in g.laws],
                "receptive_field": list(g.field),
                "padding": list(g.padding),
            }
            for name, g in self.outputs.items()
        }
        return {"schema": SCHEMA, "outputs": outputs}

    def to_json(self) -> str:
        """``to_dict`` as one line of text."""
        return json.dumps(self.to_dict(), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Geometry:
        """The inverse of ``to_json``.

        Raises:
            ValueError: not JSON of a schema that this version knows.
        """
        try:
            data = json.loads(text)
            if data["schema"] != SCHEMA:
                raise ValueError(f"geometry has schema {data['schema']}, this version reads {SCHEMA}")
            return cls({name: _grid_from_dict(row) for name, row in data["outputs"].items()})
        except (KeyError, TypeError, AttributeError, RecursionError) as e:
            raise ValueError(f"geometry is damaged: {e}") from e


def _grid_from_dict(row: dict[str, Any]) -> Grid:
    laws = tuple(SizeLaw(tuple((int(m), int(a), int(d)) for m, a, d in law)) for law in row["grid_law"])
    ints = {
        k: tuple(int(v) for v in row[k]) for k in ("trained_size", "window", "stride", "receptive_field", "padding")
    }
    return Grid(
        row["input"],
        ints["trained_size"],
        ints["window"],
        ints["stride"],
        laws,
        ints["receptive_field"],
        ints["padding"],
    )
