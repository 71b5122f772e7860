"""The registry and the tables of this folder agree: every rule has a case that is lifted, every refusal one."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import onnx
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

from onnx_fc2conv import Unliftable, lift, model_io, pipeline
from onnx_fc2conv.lift import RULES, registry
from onnx_fc2conv.ops import STANDARD_DOMAINS

from ..networks import network
from .tables import Lifts, Refuses, as_custom, spent

LIFTED = sorted(kind for kind, entry in RULES.items() if entry.rule is not None)
REFUSED = sorted(kind for kind, entry in RULES.items() if entry.rule is None)
FAMILIES = {family.__name__.rsplit(".", 1)[1] for family in lift.FAMILIES}
FOUNDATION = {"applying", "operands", "registry", "rewriter", "shared", "windows"}  #: every rule's test is theirs

MICROSOFT = "com.microsoft"
WRITTEN = re.compile(r"=\s*([\w.]+)\s*[<(]")  #: the operator of a node, as a head's text writes it
KNOWN = {(s.domain, s.name) for s in get_all_operator_schema()}  #: what onnxruntime has a definition of


def modules() -> Iterator[ModuleType]:
    """The test files of this folder, but for this one."""
    for info in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if info.name.startswith("test_") and info.name not in __name__:
            yield importlib.import_module(f"{__package__}.{info.name}")


@cache
def kinds_lifted() -> frozenset[str]:
    """Operators of the heads in lifts rows, as the package tells heads from backbones.

    A row whose text has none that is not found yet is passed over: analysing all of them takes a minute.
    """
    heads: set[str] = set()
    rows: list[Lifts] = [row for module in modules() for row in getattr(module, "LIFTS", {}).values()]
    for row in rows:
        if {*WRITTEN.findall(row.head.text)} <= heads:
            continue
        try:
            plan, _ = pipeline._analyse(model_io.load(network(row.head))[0])
        except Exception:  # this row's own test says so
            continue
        heads |= {op.kind for op in plan.head}
    return frozenset(heads)


@cache
def kinds_refused() -> frozenset[str]:
    """Operators that some refuses row names as the culprit, for the reason in the registry."""
    rows: list[Refuses] = [row for module in modules() for row in getattr(module, "REFUSES", {}).values()]
    culprits = ((row.node.split(" ")[0], row.reason) for row in rows)
    return frozenset(kind for kind, reason in culprits if kind in RULES and reason in f"{RULES[kind].because}")


@pytest.mark.parametrize("kind", LIFTED)
def test_every_rule_has_a_case(kind: str) -> None:
    assert kind in kinds_lifted()


@pytest.mark.parametrize("kind", REFUSED)
def test_every_refusal_has_a_case(kind: str) -> None:
    assert kind in kinds_refused()


@pytest.mark.parametrize("kind", sorted(RULES))
def test_entries_are_complete(kind: str) -> None:
    entry = RULES[kind]
    assert entry.kind == kind
    assert entry.family
    assert (entry.rule is None) == bool(entry.because)
    domain, _, op_type = kind.rpartition(".")
    if domain:
        assert (domain, op_type) in KNOWN, "not an operator of the runtime"
    else:
        assert any(onnx.defs.has(op_type, standard) for standard in STANDARD_DOMAINS), "not one of the standard"


@pytest.mark.parametrize("kind", ["Gemm", "NonZero", f"{MICROSOFT}.FusedGemm"])
def test_no_operator_has_two_rules(kind: str) -> None:
    before = RULES[kind]
    with pytest.raises(AssertionError, match="has two rules"):
        registry.refused(kind, because="a second time")
    with pytest.raises(AssertionError, match="has two rules"):
        registry.lifts(kind, family="again")(lambda op, x: x)
    assert RULES[kind] is before


def test_one_name_in_two_domains_is_two_operators() -> None:
    """``Gelu`` of the standard came later than onnxruntime's, and has an attribute that the other has not."""
    assert {"Gelu", f"{MICROSOFT}.Gelu"} <= RULES.keys()
    assert RULES["Gelu"].rule is not RULES[f"{MICROSOFT}.Gelu"].rule


def test_a_name_of_a_domain_that_nobody_knows_has_no_rule() -> None:
    row = Refuses(spent("y = Relu(u)"), "my.domain.Relu 'y'", "no rule lifts this operator")
    dataclasses.replace(row, change=as_custom("y", "my.domain", "Relu")).check()


def test_a_family_is_a_file_that_registers_rules() -> None:
    registering = {entry.rule.__module__.rsplit(".", 1)[1] for entry in RULES.values() if entry.rule is not None}
    assert registering | {"refused"} == FAMILIES


def test_every_file_of_the_room_is_tested() -> None:
    files = {info.name for info in pkgutil.iter_modules(lift.__path__)}
    assert files >= FAMILIES | FOUNDATION
    tested = {module.__name__.rsplit(".", 1)[1] for module in modules()}
    assert {f"test_{name}" for name in files - FOUNDATION} <= tested


def test_rules_only_lift_operators_of_the_registry() -> None:
    assert not [kind for kind in kinds_lifted() if kind not in RULES]


def test_an_opset_that_broadcasts_differently_is_refused() -> None:
    """Older files are raised to opset 7 before; whoever lifts one as it is must not get a wrong answer."""
    old = SimpleNamespace(model=SimpleNamespace(opset=6), head=[])
    for start in (lift.lift, lift.lift_static):
        with pytest.raises(Unliftable, match="opset 6 is older than 7"):
            start(cast(Any, old))
