"""Elementwise operators of one operand, on the flattened vector and behind an FC."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import numpy_helper

import onnx_fc2conv as fc2conv

from ..networks import network
from .tables import LeavesAlone, Lifts, Refuses, every, opsets, spent, table, unread

CONSTANTS = {"small": 2.0**-4, "tiny": 2.0**-8, "quarter": 0.25, "one": 1.0, "zero": 0.0}
# Nodes that bring integers {x} of up to 200 into an operator's domain as s; scaling by powers of two is exact.
DOMAINS = {
    "quarters": "s = Mul({x}, quarter)",
    "wide": "s = Mul({x}, small)",
    "unit": "s = Mul({x}, tiny)",
    "from one on": "a = Abs({x})\nb = Mul(a, tiny)\ns = Add(b, one)",
    "int32": "s = Cast <to = 6> ({x})",
    "flags": "s = Greater({x}, zero)",
    "some NaN": "s = Sqrt({x})",
    "some infinite": "a = Relu({x})\ns = Log(a)",
}


@dataclass(frozen=True)
class Unary:
    """How one operator is tried: attributes, domain, and whether it rounds (then it is compared with a tolerance)."""

    domain: str = "quarters"
    rounds: bool = False
    attrs: str = ""
    also: tuple[str, ...] = ()  #: further attributes, tried at the newest opset
    newest: int = 26  #: the newest opset at which onnxruntime runs it


OPERATORS = {
    "Abs": Unary(),
    "Acos": Unary("unit", True),
    "Acosh": Unary("from one on", True),
    "Asin": Unary("unit", True),
    "Asinh": Unary("wide", True),
    "Atan": Unary("wide", True),
    "Atanh": Unary("unit", True),
    "BitwiseNot": Unary("int32"),
    "Cast": Unary("quarters", attrs="<to = 6>", also=("<to = 7>", "<to = 3>", "<to = 10>", "<to = 9>")),
    "Ceil": Unary(),
    "Celu": Unary("wide", True, also=("<alpha = 0.5>",)),
    "Cos": Unary("wide", True),
    "Cosh": Unary("unit", True),
    "Elu": Unary("wide", True, also=("<alpha = 0.5>",)),
    "Erf": Unary("wide", True),
    "Exp": Unary("unit", True),
    "Floor": Unary(),
    "Gelu": Unary("wide", True, also=('<approximate = "tanh">',)),
    "HardSigmoid": Unary("wide", True, also=("<alpha = 0.5, beta = 0.25>",)),
    "HardSwish": Unary("wide", True),
    "Identity": Unary(),
    "IsInf": Unary("some infinite", also=("<detect_negative = 0>",)),
    "IsNaN": Unary("some NaN"),
    "LeakyRelu": Unary("wide", True, also=("<alpha = 0.5>",)),
    "Log": Unary("from one on", True),
    "Mish": Unary("wide", True),
    "Neg": Unary(),
    "Not": Unary("flags"),
    "Reciprocal": Unary("from one on", True),
    "Relu": Unary(),
    "Round": Unary(),
    "Selu": Unary("wide", True, also=("<alpha = 0.5, gamma = 2.0>",)),
    "Shrink": Unary(also=("<bias = 0.5, lambd = 1.0>",)),
    "Sigmoid": Unary("wide", True),
    "Sign": Unary(),
    "Sin": Unary("wide", True),
    "Sinh": Unary("unit", True),
    "Softplus": Unary("wide", True),
    "Softsign": Unary("wide", True),
    "Sqrt": Unary("from one on", True),
    "Swish": Unary("wide", True, also=("<alpha = 0.5>",), newest=24),
    "Tan": Unary("unit", True),
    "Tanh": Unary("wide", True),
    "ThresholdedRelu": Unary(attrs="<alpha = 0.5>"),
}
STEADY = {"IsInf <detect_negative = 0>"}  #: there is no +inf in the domain


def unary_rows(op_type: str, how: Unary) -> dict[str, Lifts]:
    tried = [(how.attrs, opset) for opset in opsets(op_type) if opset <= how.newest]
    tried += [(attrs, how.newest) for attrs in how.also]
    rows = {}
    for attrs, opset in tried:
        line = f"{op_type} {attrs}".strip()
        steady = "y" if line in STEADY else ""
        text = f"{DOMAINS[how.domain]}\n{{y}} = {line}(s)"
        behind = spent(text.format(x="u", y="y"), opset, **CONSTANTS)
        in_front = unread(text.format(x="v", y="r") + "\nt = Cast <to = 1> (r)", opset, **CONSTANTS)
        rows[f"{line}, opset {opset}, behind an FC"] = Lifts(behind, nodes=3 * how.rounds, steady=steady)
        rows[f"{line}, opset {opset}, in front"] = Lifts(in_front, 12 * how.rounds, 4 * how.rounds, steady=steady)
    return rows


LIFTS = table(
    *(unary_rows(op_type, how) for op_type, how in OPERATORS.items()),
    {f"Dropout, opset {o}": Lifts(spent("d = Dropout(u)\ny = Relu(d)", o)) for o in (7, 10, 12, 13, 22, 26)},
    {
        "Dropout with ratio attribute": Lifts(unread("t = Dropout <ratio = 0.25> (v)", 9)),
        "Dropout with ratio input": Lifts(unread("t = Dropout(v, ratio)", ratio=0.25)),
        "Dropout with training_mode false": Lifts(
            spent("y = Dropout(u, ratio, mode)", ratio=0.25, mode=np.array(False))
        ),
        "Dropout without ratio, with training_mode false": Lifts(spent("y = Dropout(u, , mode)", mode=np.array(False))),
        "Dropout's mask, opset 10": Lifts(spent("y, mask = Dropout(u)", 10, outputs="y mask"), steady="mask"),
        "Dropout's mask, opset 17": Lifts(spent("y, mask = Dropout(u)", outputs="y mask"), steady="mask"),
        "Dropout's mask is read": Lifts(unread("d, mask = Dropout(v)\nf = Cast <to = 1> (mask)\nt = Add(d, f)")),
        "Dropout's mask of the unread vector": Lifts(unread("t, mask = Dropout(v)", outputs="y mask"), steady="mask"),
        "flags of the unread vector are an output": Lifts(
            unread("g = Greater(v, zero)\nt = Cast <to = 1> (g)", outputs="y g", zero=0.0)
        ),
        "a chain of nine": Lifts(
            unread(
                "a = Relu(v)\nb = Neg(a)\nc = Abs(b)\nd = Identity(c)\ne = Sign(d)\nf = Floor(e)\n"
                "g = Ceil(f)\nh = Cast <to = 6> (g)\nt = Cast <to = 1> (h)"
            )
        ),
        "all the middle values are outputs": Lifts(
            unread("a = Relu(v)\nb = Neg(a)\nt = Abs(b)", outputs="a b t y"),
        ),
        "Identity of Identity as output": Lifts(spent("y = Identity(u)\nz = Identity(y)", outputs="u y z")),
        "on rank 3": Lifts(spent("r = Reshape(u, s)\ny = Relu(r)", s=[0, 2, 2])),
        "on rank 1": Lifts(spent("r = ReduceMax <axes = [1], keepdims = 0> (u)\ny = Relu(r)")),
        "in 1-D": Lifts(unread("t = Relu(v)", window=(6,))),
        "in 3-D": Lifts(unread("t = Relu(v)", window=(2, 1, 3))),
        "float16": Lifts(spent("y = Relu(u)", dtype=np.float16)),
        "fixed batch": Lifts(spent("y = Relu(u)", batch=3)),
    },
)

REFUSES = {
    "Dropout in training mode": Refuses(
        spent("y = Dropout(u, ratio, mode)", ratio=0.25, mode=np.array(True)), "Dropout 'y'", "training mode"
    ),
    "Dropout in a mode that nobody knows": Refuses(
        spent("k = IsNaN(ratio)\ny = DoNotKnow(k)\nz = Dropout(u, ratio, y)", outputs="z", ratio=0.25),
        "Dropout 'z'",
        "its input 'y' is computed at run time",
    ),
    "CastLike": Refuses(spent("y = CastLike(u, k)", k=[1]), "CastLike 'y'", "no rule lifts this operator"),
}

LEAVES_ALONE = {
    f"{line} behind an FC": LeavesAlone(spent(f"[it] y = {line}(u)", 21), "y")
    for line in ("Relu", "LeakyRelu <alpha = 0.5>", "Sigmoid", "Cast <to = 6>", "Gelu", "Identity", "Dropout")
}


@every(LIFTS)
def test_lifts(row: Lifts) -> None:
    row.check()


@every(REFUSES)
def test_refuses(row: Refuses) -> None:
    row.check()


def test_the_ratio_of_a_dropout_stays() -> None:
    """It does nothing at inference, and whoever trains the converted model further needs it."""
    model = fc2conv.convert(network(spent("y = Dropout(u, ratio)", ratio=0.25)), verify=False).model
    (node,) = (n for n in model.graph.node if n.op_type == "Dropout")
    ratio = next(t for t in model.graph.initializer if t.name == node.input[1])
    assert numpy_helper.to_array(ratio) == 0.25


def test_a_mask_without_a_name_is_not_made() -> None:
    original = network(spent("y = Dropout(u)"))
    original.graph.node[-1].output.append("")
    (node,) = (n for n in fc2conv.convert(original).model.graph.node if n.op_type == "Dropout")
    assert [name for name in node.output if name] == ["y"]


@every(LEAVES_ALONE)
def test_leaves_alone(row: LeavesAlone) -> None:
    row.check()
