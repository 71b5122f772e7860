"""The grids of all outputs of a converted model, and how they are stored in it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from .grid import Grid
from .pixels import Mode, Numbers, Size
from .stored import from_row, to_row

SCHEMA = 1
METADATA_KEY = "onnx_fc2conv.geometry"


@dataclass(frozen=True)
class Geometry:
    """The grid of every converted output.

    What is asked of the geometry itself is answered by the grid that all outputs share; of one output, by its name:
    ``geometry["prob"].box(3, 7)``. Everything but ``outputs`` raises ``ValueError`` where the outputs' grids differ.
    """

    outputs: dict[str, Grid]

    def __getitem__(self, output: str) -> Grid:
        if output not in self.outputs:
            raise KeyError(f"no output '{output}'; there are: {', '.join(self.outputs)}")
        return self.outputs[output]

    @property
    def grid(self) -> Grid:
        """The grid that all outputs share.

        Raises:
            ValueError: the outputs have different grids (ask for one by name: ``geometry["prob"]``), or there is none.
        """
        grids = list(self.outputs.values())
        if not grids:
            raise ValueError("no output has a grid")
        if any(g != grids[0] for g in grids):
            raise ValueError(f"outputs have different grids; choose one: {', '.join(self.outputs)}")
        return grids[0]

    # -- the same of the grid that all outputs share ---------------------------------------------------------------

    @property
    def window(self) -> tuple[int, ...]:
        """``Grid.window``: cells of the feature map that one answer is computed from."""
        return self.grid.window

    @property
    def stride(self) -> tuple[int, ...]:
        """``Grid.stride``: pixels from one answer to the next."""
        return self.grid.stride

    @property
    def offset(self) -> tuple[int, ...]:
        """``Grid.offset``: the pixel at which the first box starts."""
        return self.grid.offset

    @property
    def smallest_size(self) -> tuple[int, ...]:
        """``Grid.smallest_size``: the trained size, in pixels."""
        return self.grid.smallest_size

    def is_valid(self, size: Size) -> bool:
        """``Grid.is_valid``: whether there are answers for an input of this size."""
        return self.grid.is_valid(size)

    def grid_size(self, size: Size) -> tuple[int, ...]:
        """``Grid.grid_size``: how many answers there are along each axis."""
        return self.grid.grid_size(size)

    def loses(self, size: Size) -> tuple[int, ...]:
        """``Grid.loses``: pixels behind the last box."""
        return self.grid.loses(size)

    def fitting(self, size: Size) -> tuple[int, ...]:
        """``Grid.fitting``: what to pad a picture of this size up to."""
        return self.grid.fitting(size)

    def box(self, *cell: int, size: Size | None = None) -> tuple[int, ...]:
        """``Grid.box``: the pixels that an answer is about."""
        return self.grid.box(*cell, size=size)

    def receptive_box(self, *cell: int, size: Size | None = None) -> tuple[int, ...]:
        """``Grid.receptive_box``: the pixels that an answer can depend on."""
        return self.grid.receptive_box(*cell, size=size)

    def center(self, *cell: int, size: Size | None = None) -> tuple[float, ...]:
        """``Grid.center``: the middle of a box."""
        return self.grid.center(*cell, size=size)

    def cells(self, box: Numbers, mode: Mode = "overlapping", size: Size | None = None) -> tuple[slice, ...]:
        """``Grid.cells``: the answers that belong to a box of the picture."""
        return self.grid.cells(box, mode, size)

    def boxes(self, size: Size) -> np.ndarray:
        """``Grid.boxes``: the boxes of all answers."""
        return self.grid.boxes(size)

    def centers(self, size: Size) -> np.ndarray:
        """``Grid.centers``: the middles of all boxes."""
        return self.grid.centers(size)

    # -- as text ---------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form, also what is stored in the converted model's ``metadata_props``; see ``stored``."""
        return {"schema": SCHEMA, "outputs": {name: to_row(grid) for name, grid in self.outputs.items()}}

    def to_json(self) -> str:
        """``to_dict`` as one line of text."""
        return json.dumps(self.to_dict(), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Geometry:
        """The inverse of ``to_json``.

        Raises:
            ValueError: not JSON of a schema that this version knows, or its numbers contradict each other.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as e:
            raise ValueError(f"geometry is damaged: {e}") from e
        if not isinstance(data, dict) or type(data.get("schema")) is not int:
            raise ValueError("geometry is damaged: it has no schema")
        if data["schema"] != SCHEMA:
            raise ValueError(f"geometry has schema {data['schema']}, this version reads {SCHEMA}")
        outputs = data.get("outputs")
        if not isinstance(outputs, dict):
            raise ValueError("geometry is damaged: it has no outputs")
        try:
            return cls({name: from_row(row) for name, row in outputs.items()})
        except (ValueError, RecursionError) as e:
            raise ValueError(f"geometry is damaged: {e}") from e
