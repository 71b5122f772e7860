"""One conversion, built and not yet checked: everything that the checks and the report need to know of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from onnx import ModelProto

from .errors import UsageError
from .geometry import Geometry
from .plan import Cause, Plan
from .rewrite import Rewrite, Windowed
from .settings import Size

Verdict = Literal["exact", "padded", "global context"]

DEFAULT_GROWTHS = ((1, 3, 2), (4, 2, 1))  #: strides added per axis; unequal, so that swapped axes show


@dataclass(frozen=True)
class Conversion:
    """A converted model beside what it was made from.

    Attributes:
        name: the original's name in messages.
        plan: what was understood of the original.
        rewrite: the lifted heads.
        proto: the converted model.
        geometry: the grid of every lifted output.
        original: the model as it was given, which the plan's may be an equivalent of.
        restructured: what was done to the original's structure before, one line each.
    """

    name: str
    plan: Plan
    rewrite: Rewrite
    proto: ModelProto
    geometry: Geometry
    original: ModelProto
    restructured: tuple[str, ...] = ()

    @property
    def outputs(self) -> dict[str, Windowed]:
        """The lifted graph outputs."""
        return {name: self.rewrite.values[name] for name in self.geometry.outputs}

    @property
    def trained(self) -> Size:
        """The input's trained size in pixels."""
        return tuple(a.trained for a in self.plan.image.axes)

    @property
    def step(self) -> Size:
        """The coarsest effective stride of any output, per axis, in pixels."""
        grids = list(self.geometry.outputs.values())
        return tuple(max(g.stride[i] for g in grids) for i in range(len(self.trained)))

    @property
    def verdict(self) -> Verdict:
        """``exact`` only if no node of the backbone pads and none looks beyond its window."""
        kinds = {c.kind for c in self.plan.causes}
        return "global context" if "global context" in kinds else "padded" if "padding" in kinds else "exact"

    @property
    def inexact(self) -> list[Cause]:
        """The nodes because of which answers can differ from the original's on image crops."""
        return [c for c in self.plan.causes if c.kind != "phase"]

    @property
    def phases(self) -> list[Cause]:
        """The nodes because of which only sizes of the form trained + n * stride are valid."""
        return [c for c in self.plan.causes if c.kind == "phase"]

    @property
    def valid_sizes(self) -> str:
        """Which input sizes the converted model takes, in words."""
        aligned = " x ".join(f"{t} + n*{s}" for t, s in zip(self.trained, self.step, strict=True))
        if self.phases:
            return aligned
        return f"any from {text(self.trained)} on (aligned: {aligned})"

    def sizes(self, asked: tuple[Size, ...]) -> list[Size]:
        """The sizes to verify at: the asked ones, or two of the form trained + n * stride.

        Raises:
            UsageError: the model cannot have an asked size.
        """
        if not asked:
            return [
                tuple(t + g * s for t, g, s in zip(self.trained, growth, self.step, strict=False))
                for growth in DEFAULT_GROWTHS
            ]
        for size in asked:
            self._require_valid(size)
        return list(asked)

    def _require_valid(self, size: Size) -> None:
        image = self.plan.image.name
        if len(size) != len(self.trained):
            raise UsageError(
                f"size {text(size)} has {len(size)} axes, input '{image}' has {len(self.trained)} spatial ones"
            )
        if any(n < t for n, t in zip(size, self.trained, strict=True)):
            raise UsageError(f"size {text(size)} is smaller than the trained size {text(self.trained)}")
        aligned = all((n - t) % s == 0 for n, t, s in zip(size, self.trained, self.step, strict=True))
        if self.phases and not aligned:
            cause = self.phases[0]
            raise UsageError(f"size {text(size)} is not of the form {self.valid_sizes}: {cause.detail}", cause.node)


def text(size: Size) -> str:
    """``512x1024``."""
    return "x".join(map(str, size))
