"""What was found, done and checked: one Report, rendered for a terminal, as Markdown, and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any, Literal

from ..conversion import Verdict

SCHEMA = 1  #: raised when a field changes its meaning or goes

Status = Literal["would convert", "converted"]

_MEANING = {
    "exact": "every answer is the original model's on the image crop of its window",
    "padded": "every answer is the original head's on its window of the feature map; near borders the map itself "
    "differs from that of an image crop, because nodes of the backbone pad",
    "global context": "every answer is the original head's on its window of the feature map; the map itself differs "
    "from that of an image crop, because nodes of the backbone look beyond the crop",
}

_STATIC = "same signature, same size: every input and output keeps its name, type and shape"


@dataclass
class ImageRow:
    """One image input; ``same_size_as`` names the input before it whose size it must have, if there is one."""

    name: str
    shape: list[str]
    trained_size: list[int]
    same_size_as: str | None
    valid_sizes: str
    sizes: list[list[int]]


@dataclass
class NodeRow:
    """One node of a head and what took its place; ``to`` is empty where nothing is needed any more."""

    node: str
    op: str
    to: list[str]
    kernel: list[int] | None = None


@dataclass
class HeadRow:
    """One head: the feature map that it reads and the nodes behind it."""

    feature_map: str
    feature_map_shape: list[int]
    nodes: list[NodeRow]


@dataclass
class LeftRow:
    """An FC node that stays as it is, and why."""

    node: str
    reason: str


@dataclass
class OutputRow:
    """One lifted output; with ``whole_image`` it has one answer whatever the size is, and its window is no crop."""

    name: str
    shape: list[str]
    window: list[int]
    stride: list[int]
    receptive_field: list[int]
    grids: dict[str, list[int]]
    whole_image: bool


@dataclass
class CheckRow:
    """One check; ``passed`` is null for a measurement that asserts nothing."""

    name: str
    size: list[int] | None
    passed: bool | None
    cells: int | None
    cells_total: int | None
    error: float | None
    tolerance: float | None
    note: str


@dataclass
class CauseRow:
    """A node because of which the model is not exact, or restricted to aligned sizes."""

    node: str
    kind: str
    detail: str


@dataclass
class Report:
    """Everything that the tool says about one conversion. The field names are the JSON keys.

    ``image_input``, ``trained_size``, ``sizes`` and ``valid_sizes`` are the first image input's; ``images`` lists all.
    ``static`` conversions change no size: they have no images, no outputs with grids and no verdict, and ``left`` lists
    the FC nodes that stay. ``runtime`` is what ran the checks, with its version (``onnxruntime 1.23.0``); null where
    none was run.
    """

    tool: str
    input: str
    output: str | None
    status: Status
    verified: bool
    runtime: str | None
    image_input: str
    trained_size: list[int]
    sizes: list[list[int]]
    valid_sizes: str
    verdict: Verdict | None
    causes: list[CauseRow]
    restructured: list[str]
    unbaked: list[str]
    deviation: dict[str, dict[str, float | int | None]]
    heads: list[HeadRow]
    outputs: list[OutputRow]
    checks: list[CheckRow]
    geometry: dict[str, Any]
    images: list[ImageRow]
    static: bool = False
    left: list[LeftRow] = field(default_factory=list)
    schema: int = field(default=SCHEMA)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; numbers that are not finite become null, because JSON has none."""
        ready: dict[str, Any] = _finite(asdict(self))
        return ready

    def to_json(self) -> str:
        """The JSON text that ``--report FILE.json`` writes."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def headline(self) -> str:
        """What happened, in one line."""
        if self.status == "would convert":
            return f"{self.input}: can be converted (nothing was written or checked)"
        checked = "converted and verified" if self.verified else "converted, NOT verified"
        if self.runtime is not None and not self.runtime.startswith("onnxruntime"):
            checked += f" with {self.runtime} (onnxruntime was not used)"
        return f"{self.input} -> {self.output or 'memory'}: {checked}"

    def verdict_words(self) -> str:
        """What the verdict means here, with the nodes responsible and what was measured."""
        if self.verdict is None:
            return _STATIC
        pooled = [o.name for o in self.outputs if o.whole_image]
        words = _MEANING[self.verdict]
        if pooled and len(pooled) == len(self.outputs):
            words = "there is one answer for the whole image, the original head's on the map that is pooled whole"
        elif pooled:
            words = f"{', '.join(pooled)}: one answer for the whole image; of the others {words}"
        if self.verdict == "exact":
            words += f" (proven by the graph, {self._confirmed()})"
        blamed = [c for c in self.causes if c.kind != "phase"]
        if blamed:
            shown = ", ".join(f"{c.node} ({c.detail})" for c in blamed[:4])
            words += f": {shown}{f' and {len(blamed) - 4} more' if len(blamed) > 4 else ''}"
        for name, d in self.deviation.items():
            agreement = "" if d["agreement"] is None else f", same argmax in {d['agreement']:.1%} of cells"
            words += f". Measured on crops: output '{name}' deviates by up to {d['error']:.2g} of its scale{agreement}"
        return words + "."

    def _confirmed(self) -> str:
        crops = [c for c in self.checks if c.name == "image crops" and c.passed]
        if not crops:
            return "not measured"
        return f"confirmed on {sum(c.cells or 0 for c in crops)} image crops"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value
