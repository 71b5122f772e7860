"""The registry and the tables of this folder agree: every rule has a case that is lifted, every refusal one."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import onnx
import pytest

from onnx_fc2conv import lift, model_io, pipeline
from onnx_fc2conv.lift import RULES, registry
from onnx_fc2conv.ops import STANDARD_DOMAINS

from ..networks import network
from .tables import Lifts, Refuses

LIFTED = sorted(name for name, entry in RULES.items() if entry.rule is not None)
REFUSED = sorted(name for name, entry in RULES.items() if entry.rule is None)


def modules() -> Iterator[ModuleType]:
    """The test files of this folder, but for this one."""
    for info in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if info.name.startswith("test_") and info.name not in __name__:
            yield importlib.import_module(f"{__package__}.{info.name}")


@cache
def op_types_lifted() -> frozenset[str]:
    """Operators of the heads in all lifts rows, as the package tells heads from backbones."""
    heads: set[str] = set()
    rows: list[Lifts] = [row for module in modules() for row in getattr(module, "LIFTS", {}).values()]
    for row in rows:
        try:
            plan, _ = pipeline._analyse(model_io.load(network(row.head))[0])
        except Exception:  # this row's own test says so
            continue
        heads |= {op.op_type for op in plan.head}
    return frozenset(heads)


@cache
def op_types_refused() -> frozenset[str]:
    """Operators that some refuses row names as the culprit, for the reason in the registry."""
    rows: list[Refuses] = [row for module in modules() for row in getattr(module, "REFUSES", {}).values()]
    culprits = ((row.node.split(" ")[0], row.reason) for row in rows)
    return frozenset(op for op, reason in culprits if op in RULES and reason in f"{RULES[op].because}")


@pytest.mark.parametrize("op_type", LIFTED)
def test_every_rule_has_a_case(op_type: str) -> None:
    assert op_type in op_types_lifted()


@pytest.mark.parametrize("op_type", REFUSED)
def test_every_refusal_has_a_case(op_type: str) -> None:
    assert op_type in op_types_refused()


@pytest.mark.parametrize("op_type", sorted(RULES))
def test_entries_are_complete(op_type: str) -> None:
    entry = RULES[op_type]
    assert entry.op_type == op_type
    assert entry.family
    assert (entry.rule is None) == bool(entry.because)
    assert any(onnx.defs.has(op_type, domain) for domain in STANDARD_DOMAINS), "not an operator of the standard"


@pytest.mark.parametrize("op_type", ["Gemm", "NonZero"])
def test_no_operator_has_two_rules(op_type: str) -> None:
    before = RULES[op_type]
    with pytest.raises(AssertionError, match="has two rules"):
        registry.refused(op_type, because="a second time")
    with pytest.raises(AssertionError, match="has two rules"):
        registry.lifts(op_type, family="again")(lambda op, x: x)
    assert RULES[op_type] is before


def test_every_family_file_is_imported_and_tested() -> None:
    shared = {"registry", "rewriter"}
    files = {info.name for info in pkgutil.iter_modules(lift.__path__)} - shared
    assert {family.__name__.rsplit(".", 1)[1] for family in lift.FAMILIES} == files
    assert {f"test_{name}" for name in files} <= {module.__name__.rsplit(".", 1)[1] for module in modules()}


def test_rules_only_lift_operators_of_the_standard() -> None:
    assert not [row for row in op_types_lifted() if row not in RULES]
