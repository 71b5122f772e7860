"""A converted model, loaded: where its image input has which axis, and how it is run on one picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto, ValueInfoProto, helper

from .. import model_io
from ..errors import UnreadableModel, UsageError
from ..geometry import Geometry, Grid
from ..output_form import stored
from ..pipeline import read_geometry
from ..verification.choice import runtime
from ..verification.session import RuntimeRefusal, Session

TYPES = ("float16", "float32", "float64", "uint8", "int8")  #: element types of inputs that are pictures


@dataclass(frozen=True)
class Layout:
    """The axes of an image input.

    Attributes:
        rank: how many there are.
        spatial: height and width; ``channel``: of the channels, and how many; ``None`` where there is none.
        batch: how many images it takes at once; 1 if any number.
        dtype: of its elements.
    """

    rank: int
    spatial: tuple[int, int]
    channel: int | None
    channels: int
    batch: int
    dtype: np.dtype

    def tensor(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels [H, W, channels] as the input wants them; a model that takes several images gets copies."""
        axes = [self.spatial[0], self.spatial[1], *([] if self.channel is None else [self.channel])]
        picture = pixels if self.channel is not None else pixels[..., 0]
        ordered = picture.transpose(np.argsort(axes))
        if len(axes) == self.rank:
            return np.ascontiguousarray(ordered)
        return np.repeat(ordered[None], self.batch, 0)


@dataclass(frozen=True)
class Loaded:
    """A converted model that can be run.

    Attributes:
        name: for messages.
        geometry: what its answers are worth in pixels.
    """

    name: str
    geometry: Geometry
    proto: ModelProto
    session: Session

    def output(self, name: str | None) -> str:
        """The output that is asked for, or the only one there is.

        Raises:
            UsageError: there is none of this name, there are several, or it gives no map.
        """
        names = list(self.geometry.outputs)
        listed = ", ".join(names)
        if name is not None and name not in names:
            raise UsageError(f"{self.name} has no output '{name}' with a grid; there are: {listed or 'none'}")
        if name is None and len(names) != 1:
            raise UsageError(f"{self.name} has {len(names)} outputs with a grid; choose one with --output: {listed}")
        chosen = name or names[0]
        form = stored(self.proto).get(chosen)
        if form is not None and form.form != "rows":
            raise UsageError(
                f"output '{chosen}' of {self.name} is the {form.form} of its windows; convert with --output map"
            )
        if self.geometry[chosen].whole_image:
            raise UsageError(
                f"output '{chosen}' of {self.name} is one answer for the whole image, so there is no map of it"
            )
        if len(self.geometry[chosen].stride) != 2:
            axes = len(self.geometry[chosen].stride)
            raise UsageError(f"output '{chosen}' of {self.name} has a grid of {axes} axes, a picture has 2")
        return chosen

    def layout(self, grid: Grid) -> Layout:
        """The axes of the grid's input.

        Raises:
            UsageError: the model wants other inputs beside it, or it is no picture of 1 or 3 channels.
        """
        if self.session.inputs != [grid.source]:
            raise UsageError(
                f"{self.name} takes {', '.join(map(repr, self.session.inputs))}; a heat map is of one picture"
            )
        (value,) = (i for i in self.proto.graph.input if i.name == grid.source)
        return _layout(value)

    def answers(self, output: str, tensor: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """The answers to one picture: [channels, GH, GW].

        Args:
            output: its name.
            tensor: the picture as the input wants it.
            size: its height and width.

        Raises:
            UsageError: the model does not run on it, or gives something else than its geometry says.
        """
        grid = self.geometry[output].grid_size(size)
        try:
            found = self.session.run({self.session.inputs[0]: tensor}, [output])[output]
        except RuntimeRefusal as e:
            raise UsageError(f"{self.name} does not run on a picture of {size[0]}x{size[1]}: {e}") from e
        if found.dtype.kind not in "fiub":
            raise UsageError(f"output '{output}' of {self.name} gives {found.dtype}, not numbers")
        if output in stored(self.proto):  # rows: images first, then cells
            rows = found.reshape(-1, int(np.prod(grid)), *found.shape[1:])[0]
            found = np.moveaxis(rows.reshape(*grid, -1), -1, 0)[None]
        if found.shape[-2:] != grid:
            shape = list(found.shape)
            raise UsageError(
                f"output '{output}' of {self.name} has shape {shape}, its geometry says a grid of {list(grid)}"
            )
        first = found[0] if found.ndim > 2 and found.shape[0] == tensor.shape[0] else found
        return first.reshape(-1, *grid).astype(np.float32)


def load(model: Any) -> Loaded:
    """Load a converted model.

    Args:
        model: a path, or a ModelProto.

    Raises:
        UnreadableModel: no such file, no ONNX model, or the runtime does not load it.
        UsageError: it carries no geometry.
    """
    geometry = read_geometry(model)
    name = "the model" if isinstance(model, ModelProto) else f"'{model}'"
    proto = model if isinstance(model, ModelProto) else model_io.parse(model)
    if not geometry.outputs:
        raise UsageError(f"{name} has no output with a grid, so there is no map of it")
    try:
        session = runtime("onnxruntime").load(model if isinstance(model, ModelProto) else str(model), default=True)
    except RuntimeRefusal as e:
        raise UnreadableModel(f"{name} is not loaded by onnxruntime: {e}") from e
    return Loaded(name, geometry, proto, session)


def _layout(value: ValueInfoProto) -> Layout:
    kind = value.type.tensor_type
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type))
    dims = [d.dim_value or None for d in kind.shape.dim]
    shape = [d.dim_param or d.dim_value for d in kind.shape.dim]
    if dtype.name not in TYPES:
        raise UsageError(f"input '{value.name}' is of {dtype.name}; a picture can be {', '.join(TYPES)}")
    for spatial in ((2, 3), (1, 2), (0, 1)):
        rest = [i for i in range(len(dims)) if i not in spatial]
        if max(spatial) >= len(dims) or any(dims[i] for i in spatial):
            continue
        channel = next((i for i in reversed(rest) if dims[i] in (1, 3)), None)
        batch = next((i for i in rest if i != channel), None)
        if len(rest) - (channel is not None) - (batch is not None) or batch not in (None, 0):
            continue
        if len(rest) == 2 and channel is None:
            continue
        channels = 1 if channel is None else dims[channel] or 1
        return Layout(len(dims), spatial, channel, channels, 1 if batch is None else dims[batch] or 1, dtype)
    raise UsageError(f"input '{value.name}' {shape} is no picture of 1 or 3 channels with free height and width")
