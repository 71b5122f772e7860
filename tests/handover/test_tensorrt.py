"""What is not documented as supported by TensorRT: found, grouped by reason, and nothing else found."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser

import onnx_fc2conv as fc2conv
from onnx_fc2conv.handover.operators import MADE, OPERAND, OPSETS, SOURCE, TYPES, UNSUPPORTED
from onnx_fc2conv.handover.restrictions import RESTRICTIONS
from onnx_fc2conv.handover.tensorrt import findings
from tests.networks import Head, network

IMAGE = "float[1,2,8,8] x"


def model(
    text: str, inputs: str = IMAGE, opset: int = 20, constants: str = "", names: tuple[str, ...] = ()
) -> ModelProto:
    """A graph of a few nodes; only its input types are declared."""
    stored = f"<{constants}>" if constants else ""
    graph = parser.parse_graph(f"g ({inputs}) => (float y) {stored} {{\n{text}\n}}")
    del graph.output[:]
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in ("y", *names))
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def reasons(*args: object, **kwargs: object) -> list[str]:
    return [f.reason for f in findings(model(*args, **kwargs))]  # type: ignore[arg-type]


# -- the table -------------------------------------------------------------------------------------------------------

FORMER = {"ImageScaler", "ParametricSoftplus", "ScaledTanh"}  #: experimental operators of old opsets


def test_the_table_names_operators_of_the_standard_once() -> None:
    """A misspelt name would be an operator that is never found."""
    standard = {s.name for s in onnx.defs.get_all_schemas_with_history() if s.domain == ""}
    assert (set(TYPES) | UNSUPPORTED) - standard - FORMER == set()
    assert not set(TYPES) & UNSUPPORTED
    assert (len(TYPES), len(UNSUPPORTED)) == (159, 42)
    assert set(RESTRICTIONS) | set(OPERAND) | MADE <= set(TYPES)


def test_the_table_names_element_types_as_onnx_does() -> None:
    known = {name.lower() for name in TensorProto.DataType.DESCRIPTOR.values_by_name}
    assert set().union(*TYPES.values()) - known == set()


def test_the_source_is_named() -> None:
    assert re.fullmatch(r"TensorRT \d+\.\d+", SOURCE.version)
    assert re.fullmatch(r"[0-9a-f]{40}", SOURCE.commit)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", SOURCE.date)
    assert SOURCE.document.endswith("docs/operators.md")
    assert (OPSETS[0], OPSETS[-1]) == (9, 24)


# -- restrictions ----------------------------------------------------------------------------------------------------

RESTRICTED = {
    # operators: (nodes, what else the model needs, the reason), and the nearest thing that is documented
    "AveragePool": [
        (("y = AveragePool <kernel_shape = [2]> (x)", {"inputs": "float[1,2,8] x"}), "1 spatial axes (2 and 3"),
        (("y = AveragePool <kernel_shape = [2, 2], dilations = [2, 2]> (x)", {}), "dilations other than 1"),
        (("y = AveragePool <kernel_shape = [2, 2], dilations = [1, 1]> (x)", {}), None),
        (("y = AveragePool <kernel_shape = [2, 2, 2]> (x)", {"inputs": "float[1,2,8,8,8] x"}), None),
    ],
    "MaxPool": [
        (("y = MaxPool <kernel_shape = [2]> (x)", {"inputs": "float[1,2,8] x"}), "1 spatial axes (2 and 3"),
        (("y = MaxPool <kernel_shape = [2, 2], dilations = [1, 2]> (x)", {}), "dilations other than 1"),
        (("y, i = MaxPool <kernel_shape = [2, 2]> (x)", {"names": ("i",)}), "the output of indices"),
        (("y = MaxPool <kernel_shape = [2, 2]> (x)", {}), None),
    ],
    "LpPool": [
        (("y = LpPool <kernel_shape = [2, 2], dilations = [2, 1]> (x)", {}), "dilations other than 1"),
        (("y = LpPool <kernel_shape = [2]> (x)", {"inputs": "float[1,2,8] x"}), None),
    ],
    "LayerNormalization": [
        (("y, m = LayerNormalization (x, s)", {"constants": "float[8] s = {1, 1, 1, 1, 1, 1, 1, 1}"}), "outputs other"),
        (("y = LayerNormalization (x, s)", {"constants": "float[8] s = {1, 1, 1, 1, 1, 1, 1, 1}"}), None),
    ],
    "Constant": [
        (('y = Constant <value_string = "a"> ()', {}), "the attribute value_string"),
        (("y = Constant <value_float = 1.0> ()", {}), None),
    ],
    "CumSum": [
        (("y = CumSum (x, a)", {"inputs": f"{IMAGE}, int64 a"}), "an axis that is not constant"),
        (("y = CumSum (x, a)", {"constants": "int64 a = {1}"}), None),
        (("b = Constant <value_int = 1> ()\na = Neg (b)\ny = CumSum (x, a)", {}), None),
    ],
    "Squeeze": [
        (("y = Squeeze (x, a)", {"inputs": f"{IMAGE}, int64[1] a"}), "axes that are not constant"),
        (("y = Squeeze (x)", {}), None),
    ],
    "Unsqueeze": [
        (("y = Unsqueeze (x, a)", {"inputs": f"{IMAGE}, int64[1] a"}), "axes that are not constant"),
        (("y = Unsqueeze (x, a)", {"constants": "int64[1] a = {0}"}), None),
    ],
    "OneHot": [
        (("y = OneHot (i, d, v)", {"inputs": "int64[3] i, int64 d", "constants": "float[2] v = {0, 1}"}), "a depth"),
        (("y = OneHot (i, d, v)", {"inputs": "int64[3] i", "constants": "int64 d = {4}, float[2] v = {0, 1}"}), None),
    ],
    "DequantizeLinear": [
        (
            ("y = DequantizeLinear (x, s, z)", {"inputs": "int8[4] x", "constants": "float s = {1}, int8 z = {3}"}),
            "a zero point other than 0",
        ),
        (
            ("y = DequantizeLinear (x, s, z)", {"inputs": "int8[4] x, int8 z", "constants": "float s = {1}"}),
            "not known",
        ),
        (("y = DequantizeLinear (x, s, z)", {"inputs": "int8[4] x", "constants": "float s = {1}, int8 z = {0}"}), None),
        (("y = DequantizeLinear (x, s)", {"inputs": "int8[4] x", "constants": "float s = {1}"}), None),
    ],
    "QuantizeLinear": [
        (("y = QuantizeLinear (x, s, z)", {"constants": "float s = {1}, int8 z = {-3}"}), "a zero point other than 0"),
        (("y = QuantizeLinear (x, s)", {"constants": "float s = {1}"}), "a result of uint8"),
        (("y = QuantizeLinear (x, s, z)", {"constants": "float s = {1}, int8 z = {0}"}), None),
    ],
    "Cast": [
        (("b = Cast <to = 2> (x)\ny = Cast <to = 1> (b)", {}), "uint8 values inside"),
        (("y = Cast <to = 1> (x)", {"inputs": "uint8[1,2,8,8] x"}), None),
        (("y = Cast <to = 2> (x)", {}), None),
    ],
    "CastLike": [
        (("b = CastLike (x, u)\ny = Cast <to = 1> (b)", {"inputs": f"{IMAGE}, uint8[1] u"}), "uint8 values inside"),
        (("y = CastLike (x, u)", {"inputs": f"{IMAGE}, uint8[1] u"}), None),
    ],
    "Dropout": [
        (("y = Dropout (x, r, t)", {"constants": "float r = {0.5}, bool t = {1}"}), "training_mode that is not known"),
        (("y = Dropout (x, r, t)", {"inputs": f"{IMAGE}, bool t", "constants": "float r = {0.5}"}), "training_mode"),
        (("y = Dropout (x, r, t)", {"constants": "float r = {0.5}, bool t = {0}"}), None),
        (("y = Dropout (x)", {}), None),
    ],
    "EyeLike": [
        (("y = EyeLike (x)", {"inputs": "float[N,4] x"}), "an input whose dims are not fixed"),
        (("y = EyeLike (x)", {"inputs": "float[4,4] x"}), None),
    ],
    "Hardmax": [
        (("y = Hardmax (x)", {"inputs": "float[1,H] x"}), "an axis whose size is not fixed"),
        (("y = Hardmax <axis = 0> (x)", {"inputs": "float[1,H] x"}), None),
    ],
    "GridSample": [
        (("y = GridSample (x, g)", {"inputs": "float[1,2,4,4,4] x, float[1,2,2,2,3] g"}), "an input of 5 axes"),
        (("y = GridSample (x, g)", {"inputs": f"{IMAGE}, float[1,2,2,2] g"}), None),
    ],
    "DeformConv": [
        (
            (
                "y = DeformConv <kernel_shape = [2, 2], pads = [1, 1, 0, 0]> (x, w, o)",
                {"inputs": f"{IMAGE}, float[1,2,2,2] w, float[1,8,8,8] o"},
            ),
            "pads that differ between begin and end",
        ),
        (("y = DeformConv (x, w, o)", {"inputs": "float[1,2,4,4,4] x, float w, float o"}), "3 spatial axes (1 and 2"),
        (("y = DeformConv (x, w, o)", {"inputs": f"{IMAGE}, float[1,2,2,2] w, float[1,8,7,7] o"}), None),
    ],
    "Resize": [
        (('y = Resize <mode = "cubic"> (x, , s)', {"constants": "float[4] s = {1, 1, 2, 2}"}), "mode 'cubic'"),
        (
            (
                'y = Resize <coordinate_transformation_mode = "tf_crop_and_resize"> (x, r, s)',
                {"constants": "float[4] s = {1, 1, 2, 2}, float[8] r = {0, 0, 0, 0, 1, 1, 1, 1}"},
            ),
            "coordinate_transformation_mode 'tf_crop_and_resize'",
        ),
        (
            (
                'y = Resize <coordinate_transformation_mode = "half_pixel_symmetric"> (x, , s)',
                {"constants": "float[4] s = {1, 1, 2, 2}"},
            ),
            "coordinate_transformation_mode 'half_pixel_symmetric'",
        ),
        (
            ('y = Resize <mode = "linear", antialias = 1> (x, , s)', {"constants": "float[4] s = {1, 1, 2, 2}"}),
            "antiali",
        ),
        (
            (
                'y = Resize <keep_aspect_ratio_policy = "not_larger"> (x, , , s)',
                {"constants": "int64[4] s = {1, 2, 9, 9}"},
            ),
            "keep_aspect_ratio_policy 'not_larger'",
        ),
        (("y = Resize <axes = [2, 3]> (x, , s)", {"constants": "float[2] s = {2, 2}"}), "scales together with axes"),
        (("y = Resize <axes = [2, 3]> (x, , , s)", {"constants": "int64[2] s = {9, 9}"}), None),
        (("y = Resize <axes = [0, 1, 2, 3]> (x, , s)", {"constants": "float[4] s = {1, 1, 2, 2}"}), None),
        (
            (
                'y = Resize <mode = "linear", nearest_mode = "other"> (x, , s)',  # it has no meaning for this mode
                {"constants": "float[4] s = {1, 1, 2, 2}"},
            ),
            None,
        ),
    ],
    "ScatterND": [
        (
            ('y = ScatterND <reduction = "add"> (x, i, u)', {"inputs": "float[4] x, int64[1,1] i, float[1] u"}),
            "reduction 'add'",
        ),
        (("y = ScatterND (x, i, u)", {"inputs": "float[4] x, int64[1,1] i, float[1] u"}), None),
    ],
    "TopK": [
        (("y, i = TopK <sorted = 0> (x, k)", {"constants": "int64[1] k = {3}"}), "sorted other than 1"),
        (("y, i = TopK (x, k)", {"inputs": "float[1,4000] x", "constants": "int64[1] k = {3840}"}), "a K of 3840"),
        (("y, i = TopK (x, k)", {"inputs": "float[1,4000] x", "constants": "int64[1] k = {3839}"}), None),
        (("y, i = TopK (x, k)", {"inputs": "float[1,4000] x, int64[1] k"}), None),
    ],
    "GRU": [
        (
            (
                'y = GRU <hidden_size = 2, direction = "bidirectional", '
                'activations = ["Sigmoid", "Tanh", "Tanh", "Tanh"]> (x, w, r)',
                {"inputs": "float[3,1,4] x, float[2,6,4] w, float[2,6,2] r"},
            ),
            "activations that differ between the directions",
        ),
        (
            (
                'y = GRU <hidden_size = 2, direction = "bidirectional", '
                'activations = ["Sigmoid", "Tanh", "Sigmoid", "Tanh"]> (x, w, r)',
                {"inputs": "float[3,1,4] x, float[2,6,4] w, float[2,6,2] r"},
            ),
            None,
        ),
    ],
    "LSTM": [
        (
            (
                "y = LSTM <hidden_size = 2, input_forget = 1> (x, w, r)",
                {"inputs": "float[3,1,4] x, float[1,8,4] w, float[1,8,2] r"},
            ),
            "input_forget other than 0",
        ),
        (
            (
                "y = LSTM <hidden_size = 2, layout = 1> (x, w, r)",
                {"inputs": "float[3,1,4] x, float[1,8,4] w, float[1,8,2] r"},
            ),
            "layout other than 0",
        ),
        (
            ("y = LSTM <hidden_size = 2> (x, w, r)", {"inputs": "float[3,1,4] x, float[1,8,4] w, float[1,8,2] r"}),
            None,
        ),
    ],
    "RNN": [
        (
            (
                'y = RNN <hidden_size = 2, direction = "bidirectional", activations = ["Tanh", "Relu"]> (x, w, r)',
                {"inputs": "float[3,1,4] x, float[2,2,4] w, float[2,2,2] r"},
            ),
            "activations that differ between the directions",
        ),
        (
            ("y = RNN <hidden_size = 2> (x, w, r)", {"inputs": "float[3,1,4] x, float[1,2,4] w, float[1,2,2] r"}),
            None,
        ),
    ],
    "STFT": [
        (("y = STFT (x, s, w)", {"inputs": "float[1,64,1] x, int64 s, float[8] w"}), "a step or window"),
        (
            (
                "y = STFT (x, s, w)",
                {"inputs": "float[1,64,1] x", "constants": "int64 s = {4}, float[4] w = {1, 1, 1, 1}"},
            ),
            None,
        ),
    ],
    "RotaryEmbedding": [
        (
            (
                "y = RotaryEmbedding (x, c, s, p)",
                {"inputs": "float[1,2,3,4] x, float[9,2] c, float[9,2] s, int32[1,3] p", "opset": 23},
            ),
            "position_ids of int32",
        ),
        (
            (
                "y = RotaryEmbedding (x, c, s, p)",
                {"inputs": "float[1,2,3,4] x, float[9,2] c, float[9,2] s, int64[1,3] p", "opset": 23},
            ),
            None,
        ),
    ],
    "TensorScatter": [
        (("y = TensorScatter (x, u)", {"inputs": "float[1,4,2] x, float[1,1,2] u", "opset": 24}), "not 4 axes"),
        (
            ("y = TensorScatter <axis = 1> (x, u)", {"inputs": "float[1,2,4,2] x, float[1,2,1,2] u", "opset": 24}),
            "an axis other than -2",
        ),
        (("y = TensorScatter (x, u)", {"inputs": "float[1,2,4,2] x, float[1,2,1,2] u", "opset": 24}), None),
    ],
    "Attention": [
        (
            (
                "y = Attention (q, k, v, , p, r)",
                {"inputs": ", ".join(f"float[1,2,3,4] {n}" for n in "qkvpr"), "opset": 23},
            ),
            "past_key, past_value or nonpad_kv_seqlen",
        ),
        (
            ("y, a, b = Attention (q, k, v)", {"inputs": ", ".join(f"float[1,2,3,4] {n}" for n in "qkv"), "opset": 23}),
            "outputs other than the first",
        ),
        (
            (
                "y = Attention <softcap = 2.0> (q, k, v)",
                {"inputs": ", ".join(f"float[1,2,3,4] {n}" for n in "qkv"), "opset": 23},
            ),
            "softcap or qk_matmul_output_mode",
        ),
        (
            (
                "y = Attention <q_num_heads = 2, kv_num_heads = 2> (q, k, v)",
                {"inputs": ", ".join(f"float[1,3,8] {n}" for n in "qkv"), "opset": 23},
            ),
            "operands that have not 4 axes",
        ),
        (("y = Attention (q, k, v)", {"inputs": ", ".join(f"float[1,2,3,4] {n}" for n in "qkv"), "opset": 23}), None),
    ],
}
REDUCTIONS = sorted(name for name in TYPES if name.startswith("Reduce"))
for name in REDUCTIONS:
    RESTRICTED[name] = [
        ((f"y = {name} (x, a)", {"inputs": f"{IMAGE}, int64[1] a"}), "axes that are no initializer"),
        ((f"y = {name} (x, a)", {"constants": "int64[1] a = {1}"}), None),
        ((f"a = Constant <value_ints = [1]> ()\ny = {name} (x, a)", {}), None),
    ]
CASES = [(kind, *case) for kind, cases in RESTRICTED.items() for case in cases]


@pytest.mark.parametrize(("kind", "written", "expected"), CASES, ids=[f"{c[0]}-{c[2] or 'documented'}" for c in CASES])
def test_what_is_restricted_is_found_and_the_rest_is_not(
    kind: str, written: tuple[str, dict[str, object]], expected: str | None
) -> None:
    text, more = written
    found = [r for r in reasons(text, **more) if r.startswith(f"{kind} with ")]
    if expected is None:
        assert found == []
    else:
        assert len(found) == 1
        assert expected in found[0]


def test_every_restriction_is_seen_to_find_and_to_pass() -> None:
    assert set(RESTRICTED) == set(RESTRICTIONS)
    for kind, cases in RESTRICTED.items():
        expected = [reason for _, reason in cases]
        assert None in expected
        assert len([e for e in expected if e]) >= len(RESTRICTIONS[kind])


# -- operators and element types -------------------------------------------------------------------------------------

OTHERS = [
    ("y = Unique (x)", {}, ["Unique is not supported"]),
    (
        "y = CumProd (x, a)",
        {"opset": 26, "constants": "int64 a = {1}"},
        ["the model is of opset 26", "CumProd is not documented"],
    ),
    ("y = com.microsoft.FastGelu (x)", {}, ["com.microsoft.FastGelu is an operator of another domain"]),
    ("y = Relu (x)", {"inputs": "double[2] x"}, ["double is cast down to float"]),
    ("y = Relu (x)", {"inputs": "int8[2] x"}, ["Relu of int8 is not documented"]),
    ("y = Mish (x)", {"inputs": "bfloat16[2] x", "opset": 22}, ["Mish of bfloat16 is not documented"]),
    ("y = MaxPool <kernel_shape = [2, 2]> (x)", {"inputs": "int8[1,2,8,8] x"}, ["MaxPool of int8 is not documented"]),
    ("y = Where (c, x, x)", {"inputs": "bool[2] c, uint16[2] x"}, ["Where of uint16 is not documented"]),
    ("y = Where (c, x, x)", {"inputs": f"bool[1] c, {IMAGE}"}, []),
    ("y = And (x, x)", {"inputs": "bool[2] x"}, []),
    ("y = Cast <to = 3> (x)", {}, ["Cast of int8 is not documented"]),
    ("y = Relu (x)", {"inputs": "bfloat16[2] x"}, []),
    ("y = Relu (x)", {"opset": 8}, ["the model is of opset 8 (9 to 24 are documented)"]),
    ("y = Relu (x)", {"opset": 25}, ["the model is of opset 25 (9 to 24 are documented)"]),
    ("y = Relu (x)", {"opset": 9}, []),
    ("y = Relu (x)", {"opset": 24}, []),
    ("y = Conv (x, w)", {"inputs": "float[1,2,8] x, float[3,2,2] w"}, []),
    ("s = Shape (x)\nt = Gather (s, i)\ny = Reshape (x, s)", {"constants": "int64[1] i = {0}"}, []),
    ("a = Shape (x)\nb = Mul (a, a)\nc = Div (b, a)\nd = Sub (c, a)\ny = Add (d, a)", {}, []),
]


@pytest.mark.parametrize(
    ("text", "more", "expected"), OTHERS, ids=[f"{t[:24]}-{i}" for i, (t, *_) in enumerate(OTHERS)]
)
def test_operators_and_element_types(text: str, more: dict[str, object], expected: list[str]) -> None:
    found = reasons(text, **more)
    assert len(found) == len(expected)
    assert all(reason.startswith(start) for reason, start in zip(found, expected, strict=True))


def test_nodes_are_grouped_by_reason_and_named_in_order() -> None:
    text = "a = Unique (x)\n[pool] b = MaxPool <kernel_shape = [2, 2], dilations = [2, 2]> (x)\n[again] y = Unique (x)"
    found = [(f.reason, f.nodes) for f in findings(model(text))]
    assert found == [
        ("Unique is not supported", ("Unique 'a'", "Unique 'again'")),
        ("MaxPool with dilations other than 1", ("MaxPool 'pool'",)),
    ]


BRANCHES = """
y = If (c) <
  then_branch = t () => (float a) { [inner] a = MaxPool <kernel_shape = [2, 2], dilations = [2, 2]> (x) },
  else_branch = e () => (float b) { k = Constant <value_int = 1> ()
    b = com.microsoft.Gelu (x) }
>
"""


def test_nodes_of_branches_count() -> None:
    found = {f.reason: f.nodes for f in findings(model(BRANCHES, inputs=f"{IMAGE}, bool c"))}
    assert found["MaxPool with dilations other than 1"] == ("MaxPool 'inner'",)
    assert len(found) == 2


def test_nodes_of_functions_count_and_calls_do_not() -> None:
    function = parser.parse_function(
        '<domain: "local", opset_import: ["": 20]> idle (a) => (b) { [pad] c = Unique (a) b = Relu (c) }'
    )
    called = model("y = local.idle (x)")
    called.functions.append(function)
    called.opset_import.append(helper.make_opsetid("local", 1))
    assert [(f.reason, f.nodes) for f in findings(called)] == [
        ("Unique is not supported", ("Unique 'pad' in function 'idle'",))
    ]


def test_types_behind_an_unknown_operator_come_from_elsewhere() -> None:
    text = "a = com.microsoft.Something (x)\ny = Unsqueeze (a, i)"
    made = model(text, constants="int64[1] i = {0}")
    assert len(findings(made)) == 1
    reasons_found = [f.reason for f in findings(made, "", {"a": TensorProto.INT8})]
    assert "Unsqueeze of int8 is not documented" in reasons_found


def test_the_model_is_not_changed() -> None:
    made = model(BRANCHES, inputs=f"{IMAGE}, bool c")
    before = made.SerializeToString()
    findings(made)
    assert made.SerializeToString() == before


def test_large_weights_are_not_copied() -> None:
    """Inference works on a skeleton; the type of what a large weight meets is known all the same."""
    made = model("y = Conv (x, w)", constants="float[1] unused = {1}")
    made.graph.initializer.append(numpy_helper.from_array(np.zeros((64, 2, 8, 8)), "w"))
    made.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    assert [f.reason for f in findings(made)] == ["double is cast down to float"]


# -- conversions -----------------------------------------------------------------------------------------------------


def test_a_converted_model_is_checked_and_not_the_original() -> None:
    """The original's MatMulInteger is not supported; the ConvInteger in its place is not either."""
    weight = np.arange(-6, 6, dtype=np.int8).reshape(12, 1)
    head = Head(
        "q = QuantizeLinear(map, s, z)\nf = Flatten(q)\ni = MatMulInteger(f, w, z)\ny = Cast <to = 1> (i)",
        {"s": np.float32(1), "z": np.int8(0), "w": weight},
    )
    report = fc2conv.convert(network(head)).report
    found = {row.reason: row.nodes for row in report.handover.unsupported}
    assert "ConvInteger is not supported" in found
    assert not any("MatMulInteger" in reason for reason in found)


def test_a_plain_model_has_nothing_to_warn_of() -> None:
    report = fc2conv.inspect(network(Head("f = Flatten(map)\ny = Gemm(f, w, b)", {"w": (12, 3), "b": (3,)})))
    assert report.handover.unsupported == []


def test_a_warning_is_no_refusal() -> None:
    text = "f = Flatten(map)\ng = Gemm(f, w)\ni = Cast <to = 7> (g)\ny = BitwiseNot(i)"
    report = fc2conv.convert(network(Head(text, {"w": (12, 3)}, opset=18))).report
    assert report.verified
    assert [row.reason for row in report.handover.unsupported] == ["BitwiseNot is not supported"]
