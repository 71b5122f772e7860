"""Random heads over random backbones, converted in every way, come back byte for byte.

More of them: ``ONNX_FC2CONV_EXAMPLES=2000 ONNX_FC2CONV_SEED=7 pytest tests/undo/test_random.py``.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import numpy as np
from hypothesis import HealthCheck, assume, given, seed, settings
from hypothesis import strategies as st

import onnx_fc2conv as fc2conv
from onnx_fc2conv import model_io, pipeline, undo
from onnx_fc2conv.dtypes import tolerance
from onnx_fc2conv.settings import Settings
from onnx_fc2conv.undo import moves
from onnx_fc2conv.undo.moves import Move
from onnx_fc2conv.undo.sources import Source

from ..lift.test_random_heads import Case, cases, feeds_at
from ..networks import assert_close
from .models import restored, run, stripped, view

EXAMPLES = int(os.environ.get("ONNX_FC2CONV_EXAMPLES", "80"))
SEED = int(os.environ.get("ONNX_FC2CONV_SEED", "0"))
SEEN: Counter[str] = Counter()

OPTIONS: list[dict[str, Any]] = [
    {},
    {"static": True},
    {"output": "rows"},
    {"output": "max"},
    {"dynamic_batch": True},
    {"global_pool": "keep"},
    {"max_kernel": 2, "max_channels": 3},
]

properties = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=not SEED, database=None, suppress_health_check=list(HealthCheck)
)


@properties
@seed(SEED) if SEED else (lambda test: test)
@given(cases(), st.sampled_from(OPTIONS))
def check(case: Case, options: dict[str, Any]) -> None:
    before = case.model.SerializeToString(deterministic=True)
    try:
        proto = pipeline.prepare(*model_io.load(case.model), Settings(**options)).proto
    except (fc2conv.Unliftable, fc2conv.NothingToConvert):
        assume(False)
    found = restored(proto)
    assert found.proto.SerializeToString(deterministic=True) == before
    assert found.identical
    SEEN["restored"] += 1
    SEEN.update(f"{name} {value}" for name, value in options.items())
    without(case, proto, options)


def without(case: Case, proto: Any, options: dict[str, Any]) -> None:
    """The same without the record, at the trained size, compared with the original's answers."""
    try:
        sizes = () if options.get("static") else (case.size,)
        found = undo.found(view(stripped(proto)), sizes)
    except (fc2conv.Unliftable, fc2conv.NothingToConvert, fc2conv.UsageError) as e:
        SEEN["not found"] += 1
        SEEN[str(e)[:200]] += 1
        return
    allowed = tolerance(1, case.terms, len(case.head.text.splitlines()))
    feeds = feeds_at(case, case.size)
    feeds = {name: value for name, value in feeds.items() if name in found.trained}
    names = [o.name for o in case.model.graph.output]
    for name, a, b in zip(names, run(case.model, feeds), run(found.proto, feeds), strict=True):
        exact = name == "y" and case.result.exact
        assert_close(b.reshape(a.shape), a, 0.0 if exact else allowed)
        SEEN["another shape"] += a.shape != b.shape
    SEEN["found"] += 1


def test_random_heads_come_back() -> None:
    """Afterwards: every way of converting was drawn, and most heads were found without the record too."""
    SEEN.clear()
    check()
    assert SEEN["restored"] >= EXAMPLES * 0.8, SEEN
    assert not [name for options in OPTIONS for name in options if not any(k.startswith(name) for k in SEEN)], SEEN
    assert SEEN["found"] > SEEN["not found"], SEEN
    assert SEEN["another shape"] <= EXAMPLES // 10, SEEN


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_a_move_is_what_numpy_does(dims: list[int], data: st.DataObject) -> None:
    """Both in one step and position by position."""
    perm = tuple(data.draw(st.permutations(range(len(dims)))))
    source = np.arange(int(np.prod(dims)))
    expected = source.reshape(dims).transpose(perm).ravel()
    whole = [n for n in dims if n != 1]
    kept = [a for a in range(len(dims)) if dims[a] != 1]
    move = Move.of(tuple(whole), tuple(kept.index(a) for a in perm if dims[a] != 1))
    np.testing.assert_array_equal(move.at(np.arange(source.size)), expected)
    np.testing.assert_array_equal(source.reshape(move.dims).transpose(move.perm).ravel(), expected)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_every_permutation_is_found_from_either_side(dims: list[int], data: st.DataObject) -> None:
    perm = tuple(data.draw(st.permutations(range(len(dims)))))
    source = np.random.default_rng(0).permutation(int(np.prod(dims))).astype(np.uint32)
    target = np.ascontiguousarray(source.reshape(dims).transpose(perm))
    flat = (source.size,)
    for a, b in ((target.shape, tuple(dims)), (flat, tuple(dims)), (target.shape, flat)):
        recipe = moves.find(target.ravel(), a, source, b, Source((0,)))
        assert recipe is not None
        assert not recipe.exactly
        assert recipe.unchanged(source)
        np.testing.assert_array_equal(recipe.made(source, np.dtype(np.uint32)), target.ravel())
    shuffled = source.copy()
    shuffled[:] = np.roll(source, 1)
    if source.size > 2 and len(dims) == 1:
        assert moves.find(shuffled, flat, source, flat, Source((0,))) is None
