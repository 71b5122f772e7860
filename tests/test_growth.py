"""What a conversion does for each node does not grow with their number: counted in calls, not in seconds."""

from __future__ import annotations

import cProfile
import pstats
from collections.abc import Callable

import onnx
import pytest
from onnx import ModelProto

import onnx_fc2conv as fc2conv
from onnx_fc2conv.heads import walk
from tests.networks import integers, session
from tools.benchmarks import graphs

SMALL, LARGE = 100, 400  #: nodes


def calls(model: ModelProto) -> int:
    """How many functions a conversion calls."""
    profile = cProfile.Profile()
    profile.runcall(fc2conv.convert, model, verify=False)
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]


@pytest.mark.parametrize("make", graphs.GRAPHS.values(), ids=list(graphs.GRAPHS))
def test_calls_for_each_node(make: Callable[[int], ModelProto]) -> None:
    fc2conv.convert(make(20), verify=False)  # imports
    small, large = make(SMALL), make(LARGE)
    assert calls(large) / len(large.graph.node) < 1.2 * calls(small) / len(small.graph.node)


def test_a_gate_makes_nothing_be_walked_again_but_what_is_behind_its_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    model, steps = graphs.gated(SMALL), 0
    step = walk.Walk._step

    def counted(self: walk.Walk, at: int) -> set[int]:
        nonlocal steps
        steps += 1
        return step(self, at)

    monkeypatch.setattr(walk.Walk, "_step", counted)
    remembered = fc2conv.convert(model, verify=False)
    assert steps < 2 * len(model.graph.node)
    monkeypatch.setattr(walk, "REMEMBERED", 0)
    steps = 0
    forgotten = fc2conv.convert(model, verify=False)
    assert steps > 5 * len(model.graph.node)
    assert remembered.model.SerializeToString(deterministic=True) == forgotten.model.SerializeToString(
        deterministic=True
    )
    assert remembered.report.to_dict() == forgotten.report.to_dict()


@pytest.mark.parametrize("name", graphs.GRAPHS)
def test_the_graphs_have_as_many_nodes_as_asked_and_run(name: str) -> None:
    model = graphs.GRAPHS[name](LARGE)
    assert LARGE - 8 <= len(model.graph.node) <= LARGE
    assert len({n.name for n in model.graph.node}) == len(model.graph.node)
    (answer,) = session(graphs.GRAPHS[name](20)).run(None, {"x": integers((1, 3, graphs.SIZE, graphs.SIZE), seed=1)})
    assert answer.any()
    in_order = onnx.checker.check_model
    if "unsorted" in name:
        with pytest.raises(onnx.checker.ValidationError, match="topological"):
            in_order(model)
    else:
        in_order(model)
