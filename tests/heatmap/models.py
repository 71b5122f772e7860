"""Models that find what is bright: the answer to a window is the mean of its pixels, so the best is on the patch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

import onnx_fc2conv as fc2conv

WINDOW, STRIDE = (24, 16), 8
TYPES = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8, "float16": TensorProto.FLOAT16}


def bright(
    *,
    channels: int = 3,
    last: bool = False,
    dtype: str = "float32",
    window: tuple[int, int] = WINDOW,
    stride: int = STRIDE,
    classes: int = 1,
    batch: int | str = "N",
) -> ModelProto:
    """A classifier of windows: AveragePool, Flatten, Gemm; class k is k + 1 times the brightness.

    Args:
        channels: of the picture; ``last``: they are the last axis (NHWC).
        dtype: of the input.
        window, stride: in pixels.
        classes: of the answer.
        batch: dim of the input.
    """
    cells = (window[0] // stride) * (window[1] // stride)
    shape = [batch, *window, channels] if last else [batch, channels, *window]
    nodes = [helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT)]
    x = "float"
    if last:
        nodes.append(helper.make_node("Transpose", [x], ["nchw"], perm=[0, 3, 1, 2]))
        x = "nchw"
    nodes += [
        helper.make_node("AveragePool", [x], ["map"], kernel_shape=[stride] * 2, strides=[stride] * 2),
        helper.make_node("Flatten", ["map"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight"], ["score"], transB=1),
    ]
    rows = np.arange(1, classes + 1)[:, None] / (channels * cells)
    weight = np.repeat(rows, channels * cells, 1).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "bright",
        [helper.make_tensor_value_info("image", TYPES[dtype], shape)],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [batch, classes])],
        [numpy_helper.from_array(weight, "weight")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def converted(model: ModelProto, **options: object) -> ModelProto:
    """The same for pictures of any size."""
    return fc2conv.convert(model, verify=False, **options).model  # type: ignore[arg-type]


def written(folder: Path, model: ModelProto, name: str = "map.onnx") -> Path:
    """The file of a model."""
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return path


def patch(size: tuple[int, int], box: tuple[int, int, int, int]) -> np.ndarray:
    """A dark picture with one bright box (y0, x0, y1, x1): uint8, [H, W, 3]."""
    pixels = np.full((*size, 3), 20, np.uint8)
    pixels[box[0] : box[2], box[1] : box[3]] = 230
    return pixels
