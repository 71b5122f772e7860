"""Gemm and MatMul as onnxruntime's optimiser writes them, with what it has fused into them."""

from __future__ import annotations

import pytest
from onnx import ModelProto

import onnx_fc2conv as fc2conv

from ..networks import assert_lifted, network
from .tables import Change, Lifts, Refuses, every, head, node_of, some, spent, table

FUSED_GEMM = "com.microsoft.FusedGemm"
FUSED_MATMUL = "com.microsoft.FusedMatMul"

#: what onnxruntime fuses, its attributes, and whether it is exact for small integers
ACTIVATIONS = {
    "Relu": ("", True),
    "LeakyRelu": ("activation_alpha = 0.5", True),
    "ThresholdedRelu": ("activation_alpha = 0.5", True),
    "HardSigmoid": ("activation_alpha = 0.25, activation_beta = 0.5", True),
    "Sigmoid": ("", False),
    "Tanh": ("", False),
    "Elu": ("activation_alpha = 0.5", False),
    "Selu": ("activation_alpha = 1.5, activation_gamma = 0.5", False),
    "Softplus": ("", False),
    "Softsign": ("", False),
}


def activation_rows() -> dict[str, Lifts]:
    rows = {}
    for name, (attrs, exact) in ACTIVATIONS.items():
        fused = f'activation = "{name}"{", " if attrs else ""}{attrs}'
        bounds = {} if exact else {"terms": 12, "nodes": 4}
        weights = {"M": some(3, 12) / 8, "C": (3,)}
        rows[f"{name}, first"] = Lifts(
            head(f"v = Flatten(map)\ny = {FUSED_GEMM} <transB = 1, {fused}> (v, M, C)", **weights), **bounds
        )
        rows[f"{name}, second"] = Lifts(
            spent(f"y = {FUSED_GEMM} <alpha = 0.25, beta = 2.0, {fused}> (u, M, C)", M=(4, 3), C=(3,)), **bounds
        )
    return rows


RELU = 'activation = "Relu"'


def with_activation(name: str) -> Change:
    """Exchange the activation of the node that makes ``y``."""

    def change(model: ModelProto) -> None:
        (node,) = (n for n in model.graph.node if "y" in n.output)
        (attribute,) = (a for a in node.attribute if a.name == "activation")
        attribute.s = name.encode()

    return change


GEMMS = table(
    activation_rows(),
    {
        "FusedGemm without C": Lifts(head(f"v = Flatten(map)\ny = {FUSED_GEMM} <{RELU}> (v, M)", M=(12, 3))),
        "FusedGemm, alpha and beta": Lifts(
            head(f"v = Flatten(map)\ny = {FUSED_GEMM} <{RELU}, alpha = -0.5, beta = 3.0> (v, M, C)", M=(12, 3), C=(3,))
        ),
        "FusedGemm, beta 0": Lifts(
            head(f"v = Flatten(map)\ny = {FUSED_GEMM} <{RELU}, beta = 0.0> (v, M, C)", M=(12, 3), C=(3,))
        ),
        "FusedGemm, C for each image": Lifts(
            head(f"v = Flatten(map)\ny = {FUSED_GEMM} <{RELU}> (v, M, C)", M=(12, 3), C=(2, 3), batch=2)
        ),
        "FusedGemm, C of the head": Lifts(spent(f"y = {FUSED_GEMM} <{RELU}> (v, M, u)", M=(12, 4))),
        "FusedGemm in a chain": Lifts(
            head(
                f"v = Flatten(map)\na = {FUSED_GEMM} <{RELU}> (v, M, C)\nb = {FUSED_GEMM} <{RELU}> (a, K, D)\n"
                "y = Gemm(b, L, E)",
                M=(12, 5),
                C=(5,),
                K=(5, 4),
                D=(4,),
                L=(4, 3),
                E=(3,),
            )
        ),
        "FusedGemm, channels last": Lifts(
            head(
                f"n = Transpose <perm = [0, 2, 3, 1]> (map)\nv = Flatten(n)\ny = {FUSED_GEMM} <{RELU}> (v, M, C)",
                M=(12, 3),
                C=(3,),
            )
        ),
        "FusedGemm in 1-D": Lifts(
            head(f"v = Flatten(map)\ny = {FUSED_GEMM} <{RELU}> (v, M, C)", M=(12, 3), C=(3,), window=(6,))
        ),
        "operators of the standard behind FusedGemm": Lifts(
            head(
                f"v = Flatten(map)\na = {FUSED_GEMM} <{RELU}> (v, M, C)\nb = Add(a, D)\nc = Cast <to = 1> (b)\n"
                "d = Concat <axis = 1> (a, c)\ne = Slice(d, one, four, one)\nf = Greater(e, zero)\n"
                "y = Where(f, e, zero)\nz = ArgMax <axis = 1> (d)\nw = ReduceSum(d, one)",
                outputs="y z w",
                M=(12, 3),
                C=(3,),
                D=(3,),
                one=[1],
                four=[4],
                zero=0.0,
            )
        ),
    },
)

MATMULS = {
    "FusedMatMul": Lifts(head(f"v = Flatten(map)\ny = {FUSED_MATMUL}(v, M)", M=(12, 3))),
    "FusedMatMul, alpha": Lifts(head(f"v = Flatten(map)\ny = {FUSED_MATMUL} <alpha = 0.5> (v, M)", M=(12, 3))),
    "FusedMatMul, alpha 0": Lifts(
        head(f"v = Flatten(map)\ny = {FUSED_MATMUL} <alpha = 0.0> (v, M)", M=(12, 3)), steady="y"
    ),
    "FusedMatMul, transB": Lifts(head(f"v = Flatten(map)\ny = {FUSED_MATMUL} <transB = 1> (v, M)", M=(3, 12))),
    "FusedMatMul, transB, alpha": Lifts(
        spent(f"y = {FUSED_MATMUL} <transB = 1, alpha = -2.0> (u, M)", M=(3, 4)),
    ),
    "FusedMatMul, all attributes": Lifts(
        spent(
            f"y = {FUSED_MATMUL} <transA = 0, transB = 0, transBatchA = 0, transBatchB = 0, alpha = 1.0> (u, M)",
            M=(4, 3),
        )
    ),
    "FusedMatMul, transA of rows": Lifts(
        head(f"r = Reshape(map, s)\na = {FUSED_MATMUL} <transA = 1> (r, M)\ny = Flatten(a)", s=[0, 2, 6], M=(2, 3))
    ),
    "FusedMatMul, transBatchA, a matrix for each row": Lifts(
        head(
            f"r = Reshape(map, s)\na = {FUSED_MATMUL} <transBatchA = 1> (r, M)\n"
            "t = Transpose <perm = [1, 0, 2]> (a)\ny = Flatten(t)",
            s=[0, 2, 6],
            M=(2, 6, 3),
        )
    ),
    "FusedConv behind a pool": Lifts(
        head(
            'p = GlobalMaxPool(map)\nc = com.microsoft.FusedConv <activation = "LeakyRelu", activation_params = [0.5]> '
            "(p, K)\nf = Flatten(c)\ny = Gemm(f, M)",
            K=(4, 2, 1, 1),
            M=(4, 3),
        )
    ),
    "what needs shapes behind a FusedGemm": Lifts(
        head(
            f"v = Flatten(map)\nu = {FUSED_GEMM} <{RELU}> (v, M)\na, b = Split <axis = 1> (u)\n"
            "c, i = TopK <axis = 1> (a, k)\ny = Concat <axis = 1> (b, c)",
            M=(12, 4),
            k=[1],
        )
    ),
    "FusedMatMul, weight on the left": Lifts(
        head(f"r = Reshape(map, s)\na = {FUSED_MATMUL} <alpha = 0.5> (M, r)\ny = Flatten(a)", s=[0, 2, 6], M=(3, 2))
    ),
    "FusedMatMul, weight on the left, both swapped": Lifts(
        head(
            f"r = Reshape(map, s)\na = {FUSED_MATMUL} <transA = 1, transB = 1> (M, r)\ny = Flatten(a)",
            s=[0, 2, 6],
            M=(6, 3),
        )
    ),
}

LIFTS = table(GEMMS, MATMULS)

REFUSES = {
    "FusedGemm, transA": Refuses(
        head(f"v = Flatten(map)\ny = {FUSED_GEMM} <transA = 1, {RELU}> (v, M, C)", batch=12, M=(12, 3), C=(3,)),
        f"{FUSED_GEMM} 'y'",
        "sums over the batch axis",
    ),
    "FusedGemm, an activation that nobody knows": Refuses(
        head(f"v = Flatten(map)\ny = {FUSED_GEMM} <{RELU}> (v, M, C)", M=(12, 3), C=(3,)),
        f"{FUSED_GEMM} 'y'",
        "its activation 'Wobble' is not known",
        with_activation("Wobble"),
    ),
    "FusedMatMul, transBatchB of a constant": Refuses(
        head(f"r = Reshape(map, s)\ny = {FUSED_MATMUL} <transBatchB = 1> (r, M)", s=[0, 2, 6], M=(6, 2, 3), batch=2),
        f"{FUSED_MATMUL} 'y'",
        "transposes a stack of constant matrices",
    ),
    "FusedConv with a kernel computed from the image": Refuses(
        spent(
            'r = Reshape(u, s)\nk = Reshape(u, e)\ny = com.microsoft.FusedConv <activation = "Relu"> (r, k)',
            s=[0, 4, 1, 1],
            e=[1, 4, 1, 1],
            batch=1,
        ),
        "com.microsoft.FusedConv 'y'",
        "its weight or bias depends on the image",
    ),
    "FusedConv with a kernel": Refuses(
        spent(
            'r = Reshape(u, s)\ny = com.microsoft.FusedConv <activation = "Relu"> (r, K)',
            units=12,
            s=[0, 2, 3, 2],
            K=(3, 2, 2, 2),
        ),
        "com.microsoft.FusedConv 'y'",
        "its kernel reaches beyond the position",
    ),
    "FusedMatMul over the batch": Refuses(
        spent(f"y = {FUSED_MATMUL} <transA = 1> (u, M)", M=(3, 2), batch=3),
        f"{FUSED_MATMUL} 'y'",
        "sums over the batch axis",
    ),
}


@every(LIFTS)
def test_lifts(row: Lifts) -> None:
    row.check()


@every(REFUSES)
def test_refuses(row: Refuses) -> None:
    row.check()


VERIFIED = (
    "Sigmoid, first",
    "FusedGemm in a chain",
    "FusedMatMul, alpha",
    "operators of the standard behind FusedGemm",
)


@pytest.mark.parametrize("name", VERIFIED)
def test_the_checks_accept(name: str) -> None:
    assert all(c.passed for c in fc2conv.convert(network(LIFTS[name].head)).report.checks)


def test_a_fused_gemm_is_a_conv_and_its_activation() -> None:
    model = fc2conv.convert(network(LIFTS["LeakyRelu, first"].head), verify=False).model
    assert [(n.domain, n.op_type) for n in model.graph.node] == [("", "Conv"), ("", "Conv"), ("", "LeakyRelu")]
    assert {a.name: a.f for a in node_of(model, "y").attribute} == {"alpha": 0.5}


@pytest.mark.parametrize("attrs", ["transB = 1, alpha = 0.5", "transA = 1", "transA = 1, transB = 0, alpha = -2.0"])
def test_a_fused_product_of_two_values_of_the_head(attrs: str) -> None:
    """No constant is multiplied, so this stays a MatMul, window by window."""
    lines = f"r = Reshape(map, s)\na = {FUSED_MATMUL} <{attrs}> (r, r)\nf = Flatten(a)\ny = MatMul(f, M)"
    result = assert_lifted(head(lines, s=[0, 2, 6], M=(4 if "transB = 1" in attrs else 36, 3)))
    assert [n.op_type for n in result.model.graph.node].count("MatMul") == 1
    assert node_of(result.model, "y").op_type == "Conv"


def test_a_product_of_two_values_with_their_first_axes_moved() -> None:
    """Attention as onnxruntime writes it where the tokens come first."""
    assert_lifted(
        spent(
            f"r = Reshape(u, s)\na = Transpose <perm = [1, 0, 2]> (r)\n"
            f"b = {FUSED_MATMUL} <transBatchA = 1, transBatchB = 1, transB = 1> (a, a)\ny = Flatten(b)",
            units=6,
            s=[0, 2, 3],
        )
    )
