"""What was found, done and checked: one Report, rendered for a terminal, as Markdown, and as JSON."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any, Literal

from ..conversion import Verdict
from ..head_form import PLAIN
from .speed import SpeedRow
from .tuning import TuningRow

SCHEMA = 1  #: raised when a field changes its meaning or goes

Status = Literal["would convert", "converted"]

_FORMS = {
    "rows": "rows: one for each window, images first, then the cells of the grid in row-major order",
    "mean": "the mean of the answers of all windows",
    "max": "the maximum of the answers of all windows",
}

_MEANING = {
    "exact": "every answer is the original model's on the image crop of its window",
    "padded": "every answer is the original head's on its window of the feature map; near the borders of its box the "
    "map itself differs from that of an image crop, because nodes of the backbone pad",
    "global context": "every answer is the original head's on its window of the feature map; the map itself differs "
    "from that of an image crop, because nodes of the backbone look beyond the crop",
}

_MAP_MEANING = {
    "exact": "every window of an output is the original model's output on the image crop there",
    "padded": "near borders the outputs differ from those of an image crop, because nodes pad",
    "global context": "the outputs differ from those of an image crop, because nodes look beyond the crop",
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
    """A node that stays as it is, and why."""

    node: str
    reason: str


@dataclass
class OutputRow:
    """One lifted output.

    With ``whole_image`` it has one answer whatever the size is, and its window is no crop. Its ``form`` is ``map``,
    ``rows``, ``mean`` or ``max``; ``map`` names the value that is its map, itself or an inner one.
    """

    name: str
    shape: list[str]
    window: list[int]
    stride: list[int]
    receptive_field: list[int]
    grids: dict[str, list[int]]
    whole_image: bool
    form: str
    map: str


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
class ProfileRow:
    """Shapes of one dynamic input, for an optimisation profile: the smallest, the best-served, the largest."""

    input: str
    min: list[int]
    opt: list[int]
    max: list[int]


@dataclass
class FindingRow:
    """Something that TensorRT does not document as supported, and all nodes that need it."""

    reason: str
    nodes: list[str]


@dataclass
class HandOverRow:
    """The hand-over to TensorRT.

    ``source`` is what the check went by: version, document, commit, date. ``arguments`` are those of ``trtexec``, not
    quoted for a shell; empty where the model has no dynamic input, or where ``notes`` say why there are none.
    """

    source: dict[str, str]
    profile: list[ProfileRow]
    arguments: list[str]
    notes: list[str]
    unsupported: list[FindingRow]

    def verdict_words(self) -> str:
        """What the check found, in one sentence."""
        version, date = self.source["version"], self.source["date"]
        if not self.unsupported:
            return f"every operator, attribute and type is one that {version} documents as supported"
        return f"not documented as supported by the ONNX parser of {version} ({date}):"


@dataclass
class Report:
    """Everything that the tool says about one conversion. The field names are the JSON keys.

    ``image_input``, ``trained_size``, ``sizes`` and ``valid_sizes`` are the first image input's; ``images`` lists all.
    ``maps`` are the shapes of the outputs that are feature maps. Where there is no head, ``heads`` and ``outputs`` are
    empty. ``deviation`` has, by output of a model that is not exact, ``error``, ``agreement`` and ``cells`` on image
    crops at all sizes, and the same of ``interior`` (cells whose box touches no border of the image) and ``border``,
    where there are such cells. ``static`` conversions change no size: they have no images, no outputs with grids and no
    verdict, and ``left`` lists the FC nodes that stay. ``speed`` compares one pass with its answers one by one.
    ``runtime`` is what ran the checks, with its version (``onnxruntime 1.23.0``); null where none was run. Where
    answers were made denser, ``stride`` is the one that was asked for, in pixels per axis, ``dense`` says what was done
    to which nodes, and ``dilations`` how many cells of each denser map one of the original's is worth. ``form`` is
    that of the heads, and ``tuning`` what was measured to choose it; null if nothing was to be.
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
    deviation: dict[str, dict[str, Any]]
    heads: list[HeadRow]
    maps: dict[str, list[str]]
    outputs: list[OutputRow]
    checks: list[CheckRow]
    geometry: dict[str, Any]
    images: list[ImageRow]
    handover: HandOverRow
    static: bool = False
    left: list[LeftRow] = field(default_factory=list)
    speed: list[SpeedRow] = field(default_factory=list)
    stride: list[int] | None = None
    dense: list[str] = field(default_factory=list)
    dilations: dict[str, list[int]] = field(default_factory=dict)
    form: str = PLAIN
    tuning: TuningRow | None = None
    schema: int = field(default=SCHEMA)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; numbers that are not finite become null, because JSON has none."""
        ready: dict[str, Any] = finite(asdict(self))
        ready["handover"]["trtexec"] = self.trtexec()
        return ready

    def trtexec(self) -> str | None:
        """The command line that has ``trtexec`` build an engine from the file that was written; null if none was."""
        if self.output is None or not self.handover.arguments:
            return None
        return " ".join(["trtexec", f"--onnx={_quoted(self.output)}", *map(_quoted_value, self.handover.arguments)])

    def to_json(self) -> str:
        """The JSON text that ``--report FILE.json`` writes."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def headline(self) -> str:
        """What happened, in one line."""
        freed = "" if self.heads else "no head; spatial dims freed, "
        if self.status == "would convert":
            what = "no head; its spatial dims can be freed" if freed else "can be converted"
            return f"{self.input}: {what} (nothing was written or checked)"
        checked = "converted and verified" if self.verified else "converted, NOT verified"
        checked = freed + checked.removeprefix("converted and " if freed else "").removeprefix(
            "converted, " if freed else ""
        )
        if self.runtime is not None and not self.runtime.startswith("onnxruntime"):
            checked += f" with {self.runtime} (onnxruntime was not used)"
        return f"{self.input} -> {self.output or 'memory'}: {checked}"

    def verdict_words(self) -> str:
        """What the verdict means here, with the nodes responsible and what was measured."""
        if self.verdict is None:
            return _STATIC
        pooled = [o.name for o in self.outputs if o.whole_image]
        words = _MEANING[self.verdict] if self.heads else _MAP_MEANING[self.verdict]
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
        words += self._dense_words() if self.verdict != "exact" else ""
        words += "".join(f". {_deviation_words(name, d)}" for name, d in self.deviation.items())
        return words + "."

    def _dense_words(self) -> str:
        """What a verdict other than exact means for cells that the conversion without --stride does not have."""
        if not self.dilations:
            return ""
        steps = " or ".join(dict.fromkeys("x".join(map(str, k)) for k in self.dilations.values()))
        every = f"every {steps}-th cell is what the conversion without --stride gives"
        if self.verdict == "padded":
            return f". Of the denser grid {every}; between them are the answers for maps whose pads stand elsewhere"
        return f". Of the denser grid {every}, and what looks at the whole map looks at those cells of it"

    def form_words(self) -> str:
        """What outputs are that are not their maps, and where those are; empty where all are."""
        formed = [o for o in self.outputs if o.form != "map"]
        if not formed:
            return ""
        words = "; ".join(_FORMS[form] for form in dict.fromkeys(o.form for o in formed))
        maps = ", ".join(f"'{o.map}'" for o in formed[:4])
        more = f" and {len(formed) - 4} more" if len(formed) > 4 else ""
        return f"The outputs are {words}. The maps, with the answer of each window, are inside: {maps}{more}."

    def _confirmed(self) -> str:
        crops = [c for c in self.checks if c.name == "image crops" and c.passed]
        if not crops:
            return "not measured"
        return f"confirmed on {sum(c.cells or 0 for c in crops)} image crops"


def _quoted_value(argument: str) -> str:
    flag, _, value = argument.partition("=")
    return f"{flag}={_quoted(value)}"


def _quoted(text: str) -> str:
    """Quoted for a shell; what cannot be printed is written as ``$'..'`` does it (POSIX.1-2024)."""
    if text.isprintable():
        return shlex.quote(text)
    plain = text.replace("\\", "\\\\").replace("'", "\\'")
    escaped = ("".join(f"\\x{b:02x}" for b in os.fsencode(c)) if not c.isprintable() else c for c in plain)
    return f"$'{''.join(escaped)}'"


def _deviation_words(name: str, d: dict[str, Any]) -> str:
    """One sentence on an output: overall, then in the interior and at the border."""
    parts = [(part, d[part]) for part in ("interior", "border") if part in d]
    errors = ", ".join(f"{part} {row['error']:.2g} on {row['cells']}" for part, row in parts)
    words = f"Measured on {d['cells']} image crops: output '{name}' deviates by up to {d['error']:.2g} of its scale"
    words += f" ({errors})"
    if d["agreement"] is not None:
        shares = ", ".join(f"{part} {row['agreement']:.1%}" for part, row in parts)
        words += f", same argmax in {d['agreement']:.1%} of cells ({shares})"
    return words


def finite(value: Any) -> Any:
    """The same with null in place of numbers that JSON has not."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not isfinite(value) else value
