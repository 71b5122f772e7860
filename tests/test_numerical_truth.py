"""Against the original in double precision a converted model is as near as its original is; a wrong one is found."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser

from tools import numerical_truth
from tools.truth.doubled import Exact, NotEvaluated
from tools.truth.measure import Measured, measure
from tools.truth.windows import Pair

MODELS = sorted((Path(__file__).parents[1] / "models").glob("*.onnx"))
LIMIT = 2**27


@cache
def pair(path: Path) -> Pair:
    return Pair.of(onnx.load(path))


def measured(given: Pair, rounds: int = 1) -> Measured:
    return measure(given, LIMIT, rounds=rounds)


@pytest.mark.parametrize("path", MODELS, ids=[p.stem for p in MODELS])
def test_a_model_is_as_near_to_the_exact_answers_as_its_original(path: Path) -> None:
    found = measured(pair(path))
    assert found.ratio <= 1
    assert found.optimised_ratio <= 1
    assert (found.windows, found.unseen) > (0, "")
    assert len(found.errors) == len(pair(path).original.graph.output)


def head_tensors(model: ModelProto) -> list[str]:
    """Weight and bias of the last Conv."""
    (last,) = [n for n in model.graph.node if n.op_type == "Conv"][-1:]
    return list(last.input[1:])


def change(model: ModelProto, name: str, changed: Callable[[np.ndarray], np.ndarray]) -> ModelProto:
    wrong = copy.deepcopy(model)
    (tensor,) = (t for t in wrong.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(changed(numpy_helper.to_array(tensor)), name))
    return wrong


def one_weight_off(model: ModelProto) -> ModelProto:
    def off(values: np.ndarray) -> np.ndarray:
        flat = values.ravel().copy()
        flat[np.abs(flat).argmax()] *= np.float32(1 + 1e-3)
        return flat.reshape(values.shape)

    return change(model, head_tensors(model)[0], off)


def bias_dropped(model: ModelProto) -> ModelProto:
    return change(model, head_tensors(model)[1], np.zeros_like)


@pytest.mark.parametrize("sabotage", [one_weight_off, bias_dropped])
@pytest.mark.parametrize("name", ["lenet", "alexnet_mini", "two_heads_prelu"])
def test_a_wrong_model_is_found(name: str, sabotage: Callable[[ModelProto], ModelProto]) -> None:
    (path,) = (p for p in MODELS if p.stem == name)
    right = pair(path)
    wrong = replace(right, converted=sabotage(right.converted))
    assert not measured(wrong, rounds=2).ratio <= 1  # one weight may stand at a feature that one image does not have


def test_the_command_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    right = next(p for p in MODELS if p.stem == "lenet")
    assert numerical_truth.main([str(right), "--rounds", "1"]) == 0
    assert f"| {right.stem} |" in capsys.readouterr().out
    assert numerical_truth.main([str(right), "--limit", "1"]) == 0
    assert "   1 more than 1 multiplications" in capsys.readouterr().out
    wrong = replace(pair(right), converted=bias_dropped(pair(right).converted))
    monkeypatch.setattr(numerical_truth.Pair, "of", lambda model: wrong)
    assert numerical_truth.main([str(right), "--rounds", "1"]) == 1
    assert "lenet: " in capsys.readouterr().out


# -- the float64 evaluation ----------------------------------------------------------------------------------------


def model_of(text: str, opset: int, **arrays: np.ndarray) -> ModelProto:
    """A model from ``x`` [5, 6, 2, 3] to ``y``."""
    nodes = parser.parse_graph("g (float x) => (float y) {\n" + text + "\n}").node
    value = helper.make_tensor_value_info
    tensors = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()]
    ends = [value("x", TensorProto.FLOAT, [5, 6, 2, 3])], [value("y", TensorProto.FLOAT, [5, 6, 2, 3])]
    graph = helper.make_graph(nodes, "g", *ends, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


PER_CHANNEL = {name: np.random.default_rng(i).uniform(0.5, 2, 6) for i, name in enumerate("sbmv")}
EVALUATED = {
    "BatchNormalization of opset 9": model_of(
        "y = BatchNormalization <epsilon = 0.01> (x, s, b, m, v)", 9, **PER_CHANNEL
    ),
    "BatchNormalization of opset 15": model_of("y = BatchNormalization (x, s, b, m, v)", 15, **PER_CHANNEL),
    "LRN over 3": model_of("y = LRN <size = 3, alpha = 0.5, beta = 0.7, bias = 2.0> (x)", 13),
    **{
        f"{op}{axis} of opset {opset}": model_of(f"y = {op} {axis} (x)", opset)
        for op in ("Softmax", "LogSoftmax")
        for opset in (11, 13)
        for axis in ("", "<axis = 2>", "<axis = 0>", "<axis = -1>")
    },
    "a Constant and a Cast": model_of("c = Constant <value_float = 0.1> ()\nd = Cast <to = 1> (c)\ny = Mul (x, d)", 13),
    "a ConstantOfShape": model_of("n = Shape (x)\nz = ConstantOfShape (n)\ny = Add (x, z)", 13),
}


@pytest.mark.parametrize("model", EVALUATED.values(), ids=list(EVALUATED))
def test_the_float64_evaluation_is_of_the_function_that_onnxruntime_computes(model: ModelProto) -> None:
    x = np.random.default_rng(1).standard_normal((5, 6, 2, 3)).astype(np.float32)
    exact = Exact(model).run({"x": x})["y"]
    (expected,) = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(
        None, {"x": x}
    )
    assert exact.dtype == np.float64
    np.testing.assert_allclose(exact, expected, rtol=0, atol=8 * np.spacing(np.abs(expected).max()))


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (model_of("y = Sqrt (x)", 13), "not finite"),
        (model_of("q = QuantizeLinear (x, s)\ny = DequantizeLinear (q, s)", 13, s=np.ones(())), "quantised"),
    ],
)
def test_what_is_not_evaluated_is_said(model: ModelProto, reason: str) -> None:
    right = pair(MODELS[0])
    with pytest.raises(NotEvaluated, match=reason):
        measured(replace(right, original=model, converted=model))
