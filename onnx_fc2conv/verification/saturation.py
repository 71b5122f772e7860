"""Whether onnxruntime's products of bytes are right on this processor.

Without dot products of bytes (VNNI) its CPU provider adds pairs of uint8 x int8 products in 16 bits, which saturates. A
Conv does not, so an FC and the Conv that it becomes differ there although both models are right.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from onnx import TensorProto, helper, numpy_helper

HINT = (
    "; on this processor onnxruntime's uint8 x int8 products saturate, so a right conversion can fail here: "
    "verify on one with VNNI"
)


@lru_cache(maxsize=1)
def saturates() -> bool:
    """True if the largest sum of two products does not come out of ``MatMulInteger``."""
    from .runtime import OnnxRuntime

    weight = numpy_helper.from_array(np.full((2, 8), 127, np.int8), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "w"], ["y"])],
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [4, 2])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [4, 8])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    found = OnnxRuntime().load(model).run({"x": np.full((4, 2), 255, np.uint8)})["y"]
    return bool((found != 2 * 255 * 127).any())
