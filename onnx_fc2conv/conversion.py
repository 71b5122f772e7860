"""One conversion, built and not yet checked: everything that the checks and the report need to know of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from onnx import ModelProto

from .errors import Unliftable, UsageError
from .geometry import Geometry
from .head_form import PLAIN
from .output_form import OutputForm
from .plan import Cause, Plan
from .reach import step, strides
from .rewrite import Rewrite, Windowed
from .settings import Size

Verdict = Literal["exact", "padded", "global context"]

Sizes = dict[str, Size]  #: the size of each image input; inputs that must have one size go by the first of them

DEFAULT_GROWTHS = ((1, 3, 2), (4, 2, 1))  #: strides added per axis; unequal, so that swapped axes show

MOST_NODES = 4  #: that a refusal names


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
        unbaked: which nodes carried the trained size, and what took their place, one line each.
        forms: the form of every lifted output that is not its map.
        limits: the largest kernel and the most channels of a Conv that is written; ``None`` for any.
        form: of the heads, a key of ``head_form.FORMS``.
        kept: titles of the FC nodes that this form has on purpose.
    """

    name: str
    plan: Plan
    rewrite: Rewrite
    proto: ModelProto
    geometry: Geometry
    original: ModelProto
    restructured: tuple[str, ...] = ()
    unbaked: tuple[str, ...] = ()
    forms: dict[str, OutputForm] = field(default_factory=dict)
    limits: tuple[int | None, int | None] = (None, None)
    form: str = PLAIN
    kept: frozenset[str] = frozenset()

    @property
    def map_outputs(self) -> list[str]:
        """The graph outputs that are feature maps."""
        return [name for name in self.plan.model.outputs if name in self.plan.maps and name in self.plan.model.producer]

    @property
    def outputs(self) -> dict[str, Windowed]:
        """The lifted graph outputs, as the maps that they are or are made from."""
        return {name: self.rewrite.values[name] for name in self.geometry.outputs}

    @property
    def trained(self) -> Sizes:
        """The trained sizes in pixels."""
        return {name: tuple(a.trained for a in images[0].axes) for name, images in self.plan.tied.items()}

    @property
    def steps(self) -> Sizes:
        """For each size the pixels per axis that are whole strides of every map in front of the heads."""
        return step(self.plan)

    @property
    def verdict(self) -> Verdict:
        """``exact`` only if no node of the backbone pads and none looks beyond its window."""
        kinds = {c.kind for c in self.plan.causes}
        return "global context" if "global context" in kinds else "padded" if "padding" in kinds else "exact"

    @property
    def inexact(self) -> list[Cause]:
        """The nodes because of which answers can differ from the original's on image crops."""
        return [c for c in self.plan.causes if c.kind != "phase"]

    def not_exact(self) -> Unliftable:
        """The refusal of a model that is not exact: every node because of which it is not, in one line."""
        nodes = [f"{c.node} ({c.detail})" for c in self.inexact]
        shown = f"{', '.join(nodes[:MOST_NODES])}{f' and {len(nodes) - MOST_NODES} more' if nodes[MOST_NODES:] else ''}"
        reason = f"exactness was required, and the model is not exact but {self.verdict}: {shown}"
        return Unliftable(reason, self.inexact[0].node)

    @property
    def phases(self) -> list[Cause]:
        """The nodes because of which only sizes of the form trained + n * stride are valid."""
        return [c for c in self.plan.causes if c.kind == "phase"]

    def valid_sizes(self, name: str) -> str:
        """Which sizes of this input the converted model takes, in words."""
        trained = self.trained[name]
        aligned = " x ".join(f"{t} + n*{s}" for t, s in zip(trained, self.steps[name], strict=True))
        if self.phases:
            return aligned
        return f"any from {text(trained)} on (aligned: {aligned})"

    def sizes(self, asked: tuple[Size, ...]) -> list[Sizes]:
        """The sizes to verify at: the asked ones for every image input, or two of the form trained + n * stride.

        By default inputs that may be of different sizes are.

        Raises:
            UsageError: the model cannot have an asked size, or its inputs were trained at different ones.
        """
        if self.plan.static:
            return []
        if not asked:
            whole = strides(self.plan.sparse)
            return [
                {
                    name: tuple(t + g * s for t, g, s in zip(trained, growths[k % 2], whole[name], strict=False))
                    for k, (name, trained) in enumerate(self.trained.items())
                }
                for growths in (DEFAULT_GROWTHS, DEFAULT_GROWTHS[::-1])
            ]
        if len(set(self.trained.values())) > 1:
            raise UsageError(
                f"no size can be asked for: the image inputs were trained at different ones ({words(self.trained)}), "
                "and each is verified at two of its own"
            )
        for size in asked:
            for name in self.trained:
                self._require_valid(name, size)
        return [dict.fromkeys(self.trained, size) for size in asked]

    def _require_valid(self, name: str, size: Size) -> None:
        trained = self.trained[name]
        if len(size) != len(trained):
            raise UsageError(f"size {text(size)} has {len(size)} axes, input '{name}' has {len(trained)} spatial ones")
        if any(n < t for n, t in zip(size, trained, strict=True)):
            raise UsageError(f"size {text(size)} is smaller than the trained size {text(trained)}")
        aligned = all((n - t) % s == 0 for n, t, s in zip(size, trained, self.steps[name], strict=True))
        if self.phases and not aligned:
            cause, form = self.phases[0], self.valid_sizes(name)
            raise UsageError(f"size {text(size)} is not of the form {form}: {cause.detail}", cause.node)


def text(size: Size) -> str:
    """``512x1024``."""
    return "x".join(map(str, size))


def words(sizes: Sizes) -> str:
    """``512x1024``, or ``'a' 512x1024, 'b' 256x512`` where inputs have different sizes."""
    if len(set(sizes.values())) == 1:
        return text(next(iter(sizes.values())))
    return ", ".join(f"'{name}' {text(size)}" for name, size in sizes.items())
