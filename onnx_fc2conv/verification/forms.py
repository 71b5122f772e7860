"""Outputs that are not their maps: the checks work on the maps, and each output must be its form of its map.

The model under test runs with the maps as additional outputs, so that every check can compare windows. What numpy makes
of a map is what the output must be: rows and maxima to the last bit, means within the rounding of so many terms.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto

from .. import dtypes
from ..conversion import Conversion
from ..errors import UsageError, VerificationFailed
from ..output_form import stored
from ..rewrite import Windowed
from ..settings import Size
from .bounds import Bounds
from .compare import FLOATS
from .outcome import Check
from .session import Feeds

NAME = "output form"


class OutputForms:
    """The formed outputs of one model under test; for a model whose outputs are maps there is nothing to do."""

    def __init__(self, conversion: Conversion, proto: ModelProto) -> None:
        """Find the maps.

        Args:
            conversion: says which form each output must have.
            proto: the model under test; its metadata says where the maps are, if they are not where they were put.

        Raises:
            UsageError: the model says that its outputs have other forms than those that are asked for.
            VerificationFailed: a map is gone.
        """
        said = stored(proto)
        self._lifted = conversion.outputs
        self._forms = {name: form.form for name, form in conversion.forms.items()}
        self._maps = {name: said.get(name, form).map for name, form in conversion.forms.items()}
        for name in self._lifted:
            asked, found = self._forms.get(name, "map"), said[name].form if name in said else None
            if found is not None and found != asked:
                advice = f'verify it with output="{found}"'
                raise UsageError(f"output '{name}' of the converted model has the form {found}, not {asked}; {advice}")
        made = {name for node in proto.graph.node for name in node.output}
        for name, inner in self._maps.items():
            if inner not in made:
                reason = (
                    f"output '{name}' should be the {self._forms[name]} of an inner value '{inner}', and there is none"
                )
                raise VerificationFailed(f"structure: {reason}")

    def __bool__(self) -> bool:
        return bool(self._forms)

    def with_maps(self, proto: ModelProto) -> ModelProto:
        """The model with the maps as additional outputs; itself, if its outputs are maps."""
        if not self._forms:
            return proto
        probe = ModelProto()
        probe.CopyFrom(proto)
        listed = {o.name for o in probe.graph.output}
        for name, inner in self._maps.items():
            if inner not in listed:
                listed.add(inner)
                probe.graph.output.add(name=inner).type.tensor_type.elem_type = self._lifted[name].elem_type
        return probe

    def map_of(self, output: str) -> str:
        """The value that is the map of an output."""
        return self._maps.get(output, output)

    def maps(self, found: Feeds) -> Feeds:
        """What such a model gives, with the maps under the names of their outputs."""
        return found | {name: found[inner] for name, inner in self._maps.items()}

    def check(self, size: Size, batch: int, found: Feeds) -> list[Check]:
        """Every output against its map, as one run gave them.

        Args:
            size: of the input, in pixels.
            batch: number of images.
            found: outputs and maps by name.

        Raises:
            VerificationFailed: an output is not its form of its map.
        """
        return self._compare(size, f"batch {batch}", found, self.maps(found), None)

    def check_default(self, size: Size, written: Feeds, found: Feeds, bounds: Bounds) -> list[Check]:
        """The model exactly as users run it, without additional outputs, against the maps of another run.

        Args:
            size: of the input, in pixels.
            written: outputs by name.
            found: outputs and maps of a run that may have been optimised otherwise.
            bounds: how far two such runs may be apart.

        Raises:
            VerificationFailed: an output is not its form of its map.
        """
        return self._compare(size, "as users run it", written, self.maps(found), bounds)

    def _compare(self, size: Size, note: str, found: Feeds, maps: Feeds, bounds: Bounds | None) -> list[Check]:
        if not self._forms:
            return []
        kinds = ", ".join(dict.fromkeys(self._forms.values()))
        check = Check(NAME, size, True, error=0.0, tolerance=0.0, note=f"{kinds}, {note}")
        for name, form in self._forms.items():
            lifted, feature_map = self._lifted[name], maps[name]
            expected = formed(form, feature_map, lifted.grid_rank)
            where = f"{NAME}: output '{name}' at {'x'.join(map(str, size))}, {note},"
            if found[name].shape != expected.shape or found[name].dtype != feature_map.dtype:
                shapes = (
                    f"{found[name].dtype} {list(found[name].shape)}, not {feature_map.dtype} {list(expected.shape)}"
                )
                raise VerificationFailed(f"{where} is {shapes}")
            tolerance = _tolerance(form, lifted, feature_map, bounds)
            error = _error(form, found[name], expected, feature_map)
            if not error <= tolerance:
                words = f"differs by {error:.2g} of the map's scale, tolerance {tolerance:.2g}"
                raise VerificationFailed(f"{where} is not the {form} of its map: {words}")
            check.error = max(check.error or 0.0, error)
            check.tolerance = max(check.tolerance or 0.0, tolerance)
        return [check]


def formed(form: str, feature_map: np.ndarray, grid_rank: int) -> np.ndarray:
    """What an output must be, by numpy; a mean in float64.

    Args:
        form: ``rows``, ``mean`` or ``max``.
        feature_map: ``[*front, *grid]``; for rows the first axis is the batch.
        grid_rank: number of grid axes.
    """
    rank = feature_map.ndim - grid_rank
    grid = tuple(range(rank, feature_map.ndim))
    if form == "rows":
        listed = feature_map.transpose(0, *grid, *range(1, rank))
        return listed.reshape(-1, *feature_map.shape[1:rank])
    with np.errstate(invalid="ignore"):
        values = feature_map.astype(np.float64) if feature_map.dtype.kind in FLOATS else feature_map
        return np.asarray(values.mean(grid) if form == "mean" else values.max(grid))


def _tolerance(form: str, lifted: Windowed, feature_map: np.ndarray, bounds: Bounds | None) -> float:
    """Of a mean the rounding of its sum and its result; of two runs that of all that they compute too."""
    if feature_map.dtype.kind not in FLOATS:
        return 0.0
    cells = int(np.prod(feature_map.shape[feature_map.ndim - lifted.grid_rank :])) if form == "mean" else 0
    if bounds is None:
        return dtypes.tolerance(lifted.elem_type, cells, 1) if form == "mean" else 0.0
    found = dtypes.tolerance(lifted.elem_type, bounds.all_terms + cells, bounds.all_nodes + 1)
    steps = bounds.all_steps
    return found + (dtypes.quantised_tolerance(steps.coarsest, steps.nodes) if steps.nodes else 0.0)


def _error(form: str, found: np.ndarray, expected: np.ndarray, feature_map: np.ndarray) -> float:
    """Largest difference relative to the largest finite value of the map: a mean may be much smaller than its terms.

    What the maximum is where a value is NaN, ONNX leaves open and runtimes decide by their order: it is left out.
    """
    if feature_map.dtype.kind not in FLOATS:
        return float(np.mean(found != expected)) if found.size else 0.0
    a, b = found.astype(np.float64), expected.astype(np.float64)
    same = (a == b) | (np.isnan(b) & (np.isnan(a) | (form == "max")))
    if same.all():
        return 0.0
    if not (np.isfinite(a) & np.isfinite(b))[~same].all():
        return float("inf")
    values = feature_map.astype(np.float64)
    scale = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
    difference = float(np.abs(a - b)[~same].max())
    return difference / scale if scale > 0 else float("inf")
