"""Which inputs are images, and which of their axes are spatial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser

from onnx_fc2conv import model_io
from onnx_fc2conv.backbone import image_inputs, input_map
from onnx_fc2conv.backbone.layout import MAX_PIXELS, PIXEL_TYPES, spatial_axes
from onnx_fc2conv.errors import NothingToConvert, UnreadableModel
from onnx_fc2conv.geometry import Axis
from onnx_fc2conv.ops import Model


def model_of(
    text: str,
    inputs: Mapping[str, tuple[int, tuple[Any, ...]]],
    weights: Mapping[str, np.ndarray],
    opset: int = 17,
) -> Model:
    """The view of a graph whose nodes are given as text and whose output is ``y``."""
    proto = ModelProto(ir_version=8)
    proto.opset_import.append(helper.make_opsetid("", opset))
    proto.graph.CopyFrom(
        helper.make_graph(
            parser.parse_graph("g (float x) => (float y) {\n" + text + "\n}").node,
            "layout",
            [helper.make_tensor_value_info(name, elem, dims) for name, (elem, dims) in inputs.items()],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(value, name) for name, value in weights.items()],
        )
    )
    return model_io.load(proto)[0]


def int64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@dataclass(frozen=True)
class Layout:
    """How the first nodes lay out the image ``x``, and the axes of ``x`` that are spatial for it."""

    text: str
    shape: tuple[Any, ...]
    spatial: list[int]
    weights: Mapping[str, np.ndarray] = field(default_factory=dict)
    opset: int = 17

    @property
    def model(self) -> Model:
        return model_of(self.text, {"x": (TensorProto.FLOAT, self.shape)}, self.weights, self.opset)


W = {"w": np.ones((3, 2, 3, 3), np.float32)}
W1 = {"w": np.ones((3, 1, 3, 3), np.float32)}
NCHW, NHWC = ("N", 2, 8, 6), ("N", 8, 6, 2)

LAYOUTS = {
    "NCHW": Layout("y = Conv (x, w)", NCHW, [2, 3], W),
    "NCHW behind arithmetic": Layout(
        "a = Sub (x, one)\nb = Relu (a)\ny = Conv (b, w)", NCHW, [2, 3], {**W, "one": np.float32(1)}
    ),
    "NCHW into a pool": Layout("y = MaxPool <kernel_shape = [2, 2]> (x)", NCHW, [2, 3]),
    "NHWC": Layout("t = Transpose <perm = [0, 3, 1, 2]> (x)\ny = Conv (t, w)", NHWC, [1, 2], W),
    "NHWC behind arithmetic": Layout(
        "a = Mul (x, two)\nt = Transpose <perm = [0, 3, 1, 2]> (a)\nb = Relu (t)\ny = Conv (b, w)",
        NHWC,
        [1, 2],
        {**W, "two": np.float32(2)},
    ),
    "NHWC, normalised first": Layout(
        "t = Transpose <perm = [0, 3, 1, 2]> (x)\nb = BatchNormalization (t, s, s, s, s)\ny = Conv (b, w)",
        NHWC,
        [1, 2],
        {**W, "s": np.ones(2, np.float32)},
    ),
    "NHWC that is only normalised": Layout(
        "t = Transpose <perm = [0, 3, 1, 2]> (x)\ny = BatchNormalization (t, s, s, s, s)",
        NHWC,
        [1, 2],
        {"s": np.ones(2, np.float32)},
    ),
    "NHWC, padded first": Layout(
        "a = Pad (x, p)\nt = Transpose <perm = [0, 3, 1, 2]> (a)\ny = Conv (t, w)",
        NHWC,
        [1, 2],
        {**W, "p": int64(0, 1, 1, 0, 0, 1, 1, 0)},
    ),
    "NHWC, quantised": Layout(
        "q = QuantizeLinear (x, s, z)\nd = DequantizeLinear (q, s, z)\n"
        "t = Transpose <perm = [0, 3, 1, 2]> (d)\ny = Conv (t, w)",
        NHWC,
        [1, 2],
        {**W, "s": np.float32(1), "z": np.uint8(0)},
    ),
    "NHWC through two Transposes": Layout(
        "t = Transpose <perm = [0, 2, 3, 1]> (x)\nu = Transpose <perm = [0, 2, 3, 1]> (t)\ny = Conv (u, w)",
        NHWC,
        [1, 2],
        W,
    ),
    "NHWC, reversed twice": Layout(
        "t = Transpose (x)\nu = Transpose <perm = [3, 0, 2, 1]> (t)\ny = Conv (u, w)", NHWC, [1, 2], W
    ),
    "NHWC that is only flattened": Layout("y = Flatten (x)", NHWC, [2, 3]),
    "a branch that is no sliding operator first": Layout(
        "s = Shape (x)\nf = Flatten (x)\nt = Transpose <perm = [0, 3, 1, 2]> (x)\ny = Conv (t, w)", NHWC, [1, 2], W
    ),
    "grey image without a channel axis": Layout(
        "c = Unsqueeze (x, one)\ny = Conv (c, w)", ("N", 8, 6), [1, 2], {**W1, "one": int64(1)}
    ),
    "grey image, axes=-3": Layout(
        "c = Unsqueeze (x, axes)\ny = Conv (c, w)", ("N", 8, 6), [1, 2], {**W1, "axes": int64(-3)}
    ),
    "grey image, axes from a Constant": Layout(
        "one = Constant <value = int64[1] {1}> ()\nc = Unsqueeze (x, one)\ny = Conv (c, w)", ("N", 8, 6), [1, 2], W1
    ),
    "grey image, axes as attribute": Layout(
        "c = Unsqueeze <axes = [1]> (x)\ny = Conv (c, w)", ("N", 8, 6), [1, 2], W1, opset=11
    ),
    "grey image, channels last": Layout(
        "c = Unsqueeze (x, last)\nt = Transpose <perm = [0, 3, 1, 2]> (c)\ny = Conv (t, w)",
        ("N", 8, 6),
        [1, 2],
        {**W1, "last": int64(3)},
    ),
    "a unit axis too many": Layout(
        "c = Squeeze (x, two)\ny = Conv (c, w)", ("N", 2, 1, 8, 6), [3, 4], {**W, "two": int64(2)}
    ),
    "1-D, channels first": Layout("y = Conv (x, w)", ("N", 2, 20), [2], {"w": np.ones((3, 2, 3), np.float32)}),
    "1-D, channels last": Layout(
        "t = Transpose <perm = [0, 2, 1]> (x)\ny = Conv (t, w)",
        ("N", 20, 2),
        [1],
        {"w": np.ones((3, 2, 3), np.float32)},
    ),
    "a sequence as an image of height 1": Layout(
        "c = Unsqueeze (x, two)\ny = Conv (c, w)",
        ("N", 2, 20),
        [2],
        {"w": np.ones((3, 2, 1, 3), np.float32), "two": int64(2)},
    ),
    "3-D": Layout("y = Conv (x, w)", ("N", 1, 5, 6, 7), [2, 3, 4], {"w": np.ones((3, 1, 2, 2, 2), np.float32)}),
    "3-D, channels last": Layout(
        "t = Transpose <perm = [0, 4, 1, 2, 3]> (x)\ny = Conv (t, w)",
        ("N", 5, 6, 7, 1),
        [1, 2, 3],
        {"w": np.ones((3, 1, 2, 2, 2), np.float32)},
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_spatial_axes(layout: Layout) -> None:
    model = layout.model
    (value,) = image_inputs(model)
    assert spatial_axes(model, value) == layout.spatial
    image = input_map(model, value)
    assert image.name == "x"
    assert image.spatial == layout.spatial
    assert image.dims[0] == "batch"
    assert [a.trained for a in image.axes] == [layout.shape[i] for i in layout.spatial]
    assert [a.index for a in image.axes] == list(range(len(layout.spatial)))
    assert {a.source for a in image.axes} == {"x"}
    for i, (dim, size) in enumerate(zip(image.dims, layout.shape, strict=True)):
        assert isinstance(dim, Axis) if i in layout.spatial else dim == ("batch" if i == 0 else size)


@pytest.mark.parametrize("dims", [("N", 3, 32, 32), (4, 3, 32, 32), (None, 3, 32, 32)], ids=str)
def test_the_batch_may_have_any_form(dims: tuple[Any, ...]) -> None:
    model = model_of("y = Relu (x)", {"x": (TensorProto.FLOAT, dims)}, {})
    assert input_map(model, image_inputs(model)[0]).shape(5) == (5, 3, 32, 32)


# -- which inputs are images -------------------------------------------------------------------------------------------

F, I64, U8 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT8


@pytest.mark.parametrize("elem", sorted(PIXEL_TYPES), ids=TensorProto.DataType.Name)
def test_pixels_of_every_type(elem: int) -> None:
    model = model_of("y = Cast <to = 1> (x)", {"x": (elem, NCHW)}, {})
    assert [v.name for v in image_inputs(model)] == ["x"]


INPUTS = {
    "one": ({"x": (F, NCHW)}, ["x"]),
    "with a row of numbers beside it": ({"age": (F, ("N", 4)), "x": (F, NCHW)}, ["x"]),
    "with token numbers beside it": ({"x": (U8, NCHW), "tokens": (I64, ("N", 3, 7))}, ["x"]),
    "two, in the order of the file": ({"z": (F, NCHW), "x": (U8, NHWC)}, ["z", "x"]),
}


@pytest.mark.parametrize(("inputs", "names"), INPUTS.values(), ids=INPUTS.keys())
def test_image_inputs(inputs: dict[str, tuple[int, tuple[Any, ...]]], names: list[str]) -> None:
    assert [v.name for v in image_inputs(model_of("y = Cast <to = 1> (x)", inputs, {}))] == names


def test_an_initializer_that_is_listed_as_an_input_is_no_image() -> None:
    model = model_of("y = Conv (x, w)", {"x": (F, NCHW), "w": (F, (3, 2, 3, 3))}, W)
    assert [v.name for v in image_inputs(model)] == ["x"]


NO_IMAGE = {
    "rows": {"x": (F, ("N", 40))},
    "a vector": {"x": (F, ("N",))},
    "token numbers": {"x": (I64, ("N", 2, 20))},
    "masks": {"x": (TensorProto.BOOL, NCHW)},
}


@pytest.mark.parametrize("inputs", NO_IMAGE.values(), ids=NO_IMAGE.keys())
def test_no_image(inputs: dict[str, tuple[int, tuple[Any, ...]]]) -> None:
    with pytest.raises(NothingToConvert, match=r"^no input has height and width \(three or more axes of pixels\)"):
        image_inputs(model_of("y = Cast <to = 1> (x)", inputs, {}))


UNKNOWN_SIZE = {
    "named": (("N", 3, "H", 32), "input 'x' axis 2 is 'H'; give it the trained size first"),
    "unnamed": (("N", 3, 32, None), "input 'x' axis 3 has no size; give it the trained size first"),
    "zero": (("N", 3, 0, 32), "input 'x' axis 2 has size 0; give it the trained size first"),
    "negative": (("N", 3, -1, 32), "input 'x' axis 2 has size -1; give it the trained size first"),
    "no images": ((0, 3, 32, 32), "input 'x' has batch size 0"),
    "absurd": (("N", 1, 2**16, 2**15 + 1), f"input 'x' would hold {MAX_PIXELS + 2**16} numbers per image"),
}


@pytest.mark.parametrize(("dims", "message"), UNKNOWN_SIZE.values(), ids=UNKNOWN_SIZE.keys())
def test_sizes_that_are_not_known(dims: tuple[Any, ...], message: str) -> None:
    model = model_of("y = Relu (x)", {"x": (F, dims)}, {})
    with pytest.raises(UnreadableModel) as caught:
        input_map(model, image_inputs(model)[0])
    assert caught.value.reason == message


def test_the_largest_image_is_still_read() -> None:
    model = model_of("y = Relu (x)", {"x": (F, ("N", 1, 2**16, 2**15))}, {})
    assert input_map(model, image_inputs(model)[0]).shape(1) == (1, 1, 2**16, 2**15)


def test_three_axes_that_nothing_slides_over_are_no_image() -> None:
    """They may be channels and a length, or rows of features; sliding over features would make no sense."""
    inputs: dict[str, tuple[int, tuple[Any, ...]]] = {"x": (F, ("N", 2, 20))}
    with pytest.raises(NothingToConvert, match="input 'x' has three axes and no operator slides over them"):
        image_inputs(model_of("y = Cast <to = 1> (x)", inputs, {}))
    weights = {"w": np.ones((3, 2, 3), np.float32)}
    assert [v.name for v in image_inputs(model_of("y = Conv (x, w)", inputs, weights))] == ["x"]
