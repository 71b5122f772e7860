"""Operators that can never be lifted, and operators that nobody has written a rule for."""

from __future__ import annotations

import numpy as np

from .tables import Refuses, as_custom, every, head, some, spent, table, unread

DATA = "its output shape or order depends on the data"
STATE = "it carries a state or a branch through the batch"
ASKED = "s = Shape <start = 0, end = 1> (u)\nc = Equal(s, n)\n"  #: whether the batch is a certain one
RANDOM = "its result is random"
POSITIONS = "it normalises over positions"
SEQUENCE = "sequences have no grid axes"
PLACES = "it works on positions, and behind "
ROWS3 = "r = Reshape(u, d)\n"
MAP4, DIMS4 = ROWS3, {"d": [0, 2, 2, 1]}
BODY = "b (int64 i, bool c, float[N,4] a) => (bool e, float[N,4] f) {e = Identity(c) f = Relu(a)}"


def branches(yes: str, no: str) -> str:
    """The attributes of an If that reads these values of the outer graph."""
    return f"then_branch = a () => (float p) {{p = Neg({yes})}}, else_branch = b () => (float q) {{q = Relu({no})}}"


# Per operator: nodes that read u [N, 4], opset, weights, and the reason.
NEVER: dict[str, tuple[str, int, dict[str, object], str]] = {
    "Compress": ("y = Compress <axis = 1> (u, c)", 17, {"c": np.array([1, 0, 1, 1], bool)}, DATA),
    "NonMaxSuppression": (
        f"{ROWS3}y = NonMaxSuppression(r, c)",
        17,
        {"d": [0, 1, 4], "c": (1, 1, 1), "batch": 1},
        DATA,
    ),
    "NonZero": ("y = NonZero(u)", 17, {}, DATA),
    "Unique": ("y = Unique(u)", 17, {}, DATA),
    "ReverseSequence": (
        "y = ReverseSequence <batch_axis = 0, time_axis = 1> (u, n)",
        17,
        {"batch": 2, "n": [2, 3]},
        DATA,
    ),
    "TfIdfVectorizer": (
        "i = Cast <to = 6> (u)\ny = TfIdfVectorizer <max_gram_length = 1, max_skip_count = 0, min_gram_length = 1, "
        'mode = "TF", ngram_counts = [0], ngram_indexes = [0, 1], pool_int64s = [1, 2]> (i)',
        17,
        {},
        DATA,
    ),
    "GRU": (
        f"{ROWS3}y = GRU <hidden_size = 3> (r, G, H)",
        17,
        {"d": [0, 1, 4], "G": (1, 9, 4), "H": (1, 9, 3)},
        STATE,
    ),
    "LSTM": (
        f"{ROWS3}y = LSTM <hidden_size = 3> (r, G, H)",
        17,
        {"d": [0, 1, 4], "G": (1, 12, 4), "H": (1, 12, 3)},
        STATE,
    ),
    "RNN": (
        f"{ROWS3}y = RNN <hidden_size = 3> (r, G, H)",
        17,
        {"d": [0, 1, 4], "G": (1, 3, 4), "H": (1, 3, 3)},
        STATE,
    ),
    "Scan": (
        "y = Scan <num_scan_inputs = 1, body = b (float[4] a) => (float[4] f) {f = Relu(a)}> (u)",
        17,
        {},
        STATE,
    ),
    "Loop": (f"y = Loop <body = {BODY}> (n, c, u)", 17, {"n": np.array(2), "c": np.array(True)}, STATE),
    "If": (f"{ASKED}y = If <{branches('u', 'u')}> (c)", 17, {"n": [1]}, STATE),
    "Bernoulli": ("s = Sigmoid(u)\ny = Bernoulli(s)", 17, {}, RANDOM),
    "Multinomial": ("y = Multinomial <sample_size = 3> (u)", 17, {}, RANDOM),
    "RandomNormalLike": ("y = RandomNormalLike(u)", 17, {}, RANDOM),
    "RandomUniformLike": ("y = RandomUniformLike(u)", 17, {}, RANDOM),
    "DynamicQuantizeLinear": (
        "y, s, z = DynamicQuantizeLinear(u)",
        17,
        {},
        "its scale is computed over the whole tensor",
    ),
    "com.microsoft.DynamicQuantizeMatMul": (
        "y = com.microsoft.DynamicQuantizeMatMul(u, K, s)",
        17,
        {"K": some(4, 3, dtype=np.int8), "s": np.float32(0.5)},
        "its scale is computed over the whole tensor",
    ),
    "com.microsoft.MatMulNBits": (
        "r = Concat <axis = 1> (u, u, u, u)\ny = com.microsoft.MatMulNBits <K = 16, N = 3, bits = 4, block_size = 16> "
        "(r, K, s)",
        17,
        {"K": np.zeros((3, 1, 8), np.uint8), "s": np.ones(3, np.float32)},
        "its weights are packed in blocks of a few bits",
    ),
    "MeanVarianceNormalization": ("y = MeanVarianceNormalization <axes = [1]> (u)", 17, {}, POSITIONS),
    "SequenceConstruct": ("s = SequenceConstruct(u, u)\ny = ConcatFromSequence <axis = 1> (s)", 17, {}, SEQUENCE),
    "SplitToSequence": (
        "s = SplitToSequence <axis = 1> (u, n)\ny = ConcatFromSequence <axis = 1> (s)",
        17,
        {"n": np.array(2)},
        SEQUENCE,
    ),
    "SequenceInsert": (
        "e = SequenceEmpty()\ns = SequenceInsert(e, u)\ny = ConcatFromSequence <axis = 1> (s)",
        17,
        {},
        SEQUENCE,
    ),
    # What makes a sequence of the head is refused first, so this one is fed a tensor.
    "ConcatFromSequence": ("y = ConcatFromSequence <axis = 1> (u)", 17, {}, SEQUENCE),
    "ConvInteger": (
        f"{MAP4}i = Cast <to = 2> (r)\ny = ConvInteger(i, K)",
        17,
        {**DIMS4, "K": some(3, 2, 1, 1, low=0, dtype=np.uint8)},
        PLACES,
    ),
    "QLinearConv": (
        f"{MAP4}i = Cast <to = 2> (r)\ny = QLinearConv(i, s, z, K, s, z, s, z)",
        17,
        {**DIMS4, "K": some(3, 2, 1, 1, low=0, dtype=np.uint8), "s": 0.5, "z": np.array(0, np.uint8)},
        PLACES,
    ),
    "GridSample": (f"{MAP4}y = GridSample(r, c)", 17, {**DIMS4, "c": (1, 2, 2, 2), "batch": 1}, PLACES),
}


def named(op_type: str) -> str:
    """The operator's line with a node name."""
    lines = NEVER[op_type][0].splitlines()
    return "\n".join(f"[it] {line}" if f"= {op_type}" in line else line for line in lines)


UNKNOWN = {
    "ScatterElements": ("y = ScatterElements <axis = 1> (u, i, c)", {"batch": 1, "i": np.array([[0]]), "c": (1, 1)}),
    "OneHot": ("i = Cast <to = 7> (u)\ny = OneHot(i, n, c)", {"n": np.array(3), "c": (2,)}),
    "Trilu": ("y = Trilu(u)", {}),
    "Optional": ("o = Optional(u)\ny = OptionalGetElement(o)", {}),
}

REFUSES = table(
    {
        f"{op_type}, never": Refuses(spent(named(op_type), opset, **weights), f"{op_type} 'it'", because)
        for op_type, (_, opset, weights, because) in NEVER.items()
    },
    {
        f"{op_type}, no rule": Refuses(
            spent(text, **weights),
            f"{op_type} '{next(line for line in text.splitlines() if op_type in line).split()[0]}'",
            "no rule lifts this operator",
        )
        for op_type, (text, weights) in UNKNOWN.items()
    },
    {
        "an operator of another domain": Refuses(
            spent("y = Relu(u)"),
            "com.acme.Sharpen 'y'",
            "no rule lifts this operator",
            as_custom("y", "com.acme", "Sharpen"),
        ),
        "an operator of another domain with a standard name": Refuses(
            spent("[it] y = Relu(u)"),
            "com.acme.Relu 'it'",
            "no rule lifts this operator",
            as_custom("y", "com.acme", "Relu"),
        ),
        "an operator of another domain in front": Refuses(
            unread("t = Relu(v)"),
            "com.microsoft.Inverse 't'",
            "no rule lifts this operator",
            as_custom("t", "com.microsoft", "Inverse"),
        ),
        "an operator that ONNX does not know": Refuses(
            spent("y = Frobnicate(u)"), "Frobnicate 'y'", "no rule lifts this operator"
        ),
        "a subgraph that reads the head, in front": Refuses(
            unread(f"s = Shape(x)\nm = ReduceMax(s)\nc = Equal(m, n)\nt = If <{branches('v', 'v')}> (c)", n=[1]),
            "If 't'",
            STATE,
        ),
        "a branch chosen by the head": Refuses(
            spent(
                f"m = ReduceMax <axes = [1]> (u)\ng = Greater(m, zero)\ny = If <{branches('zero', 'zero')}> (g)",
                batch=1,
                zero=0.0,
            ),
            "If 'y'",
            STATE,
        ),
        "an operator behind an unknown one is not blamed": Refuses(
            spent("a = NonZero(u)\ny = Cast <to = 1> (a)"), "NonZero 'a'", DATA
        ),
        "one of two heads": Refuses(
            head(
                "v = Flatten(map)\ny = MatMul(v, M)\nw = MatMul(v, M)\nz = Softmax <axis = 0> (w)",
                outputs="y z",
                M=(12, 3),
            ),
            "Softmax 'z'",
            "works along the batch axis",
        ),
    },
)


@every(REFUSES)
def test_refuses(row: Refuses) -> None:
    row.check()
