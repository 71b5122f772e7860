"""Sparse weights: those that image data meets become dense, others stay, and what a few bytes claim is not believed."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import ModelProto, SparseTensorProto, TensorProto, numpy_helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv.structure.sparse import dense

from ..networks import integers
from .models import assert_converted, build, kinds, sparse

HEAD = "f = Flatten(map)\n y = Gemm(f, w, b)"


def with_sparse(names: tuple[str, ...], linear: bool = True, text: str = HEAD) -> ModelProto:
    """The linear model with some initializers stored sparse."""
    model = build(text)
    assert any(0 in numpy_helper.to_array(t) for t in model.graph.initializer if t.name in names)
    for name in names:
        tensor = next(t for t in model.graph.initializer if t.name == name)
        model.graph.sparse_initializer.append(sparse(numpy_helper.to_array(tensor), name, linear))
        model.graph.initializer.remove(tensor)
    return model


@pytest.mark.parametrize("linear", [True, False], ids=["linear indices", "coordinates"])
@pytest.mark.parametrize("names", [("w",), ("w", "b"), ("backbone",)], ids=" ".join)
def test_a_sparse_weight_on_the_path_becomes_dense(names: tuple[str, ...], linear: bool) -> None:
    model = with_sparse(names, linear)
    result = assert_converted(model)
    assert not result.model.graph.sparse_initializer
    assert [line.split("'")[1] for line in result.report.restructured] == list(names)


def test_a_sparse_constant_node_becomes_dense() -> None:
    model = build("w = Constant <value_float = 0.0> ()\n" + HEAD, {"b": (3,)})
    attribute = model.graph.node[1].attribute[0]
    attribute.Clear()
    attribute.name, attribute.type = "sparse_value", onnx.AttributeProto.SPARSE_TENSOR
    attribute.sparse_tensor.CopyFrom(sparse(integers((12, 3), 5), ""))
    result = assert_converted(model)
    assert result.report.restructured == ["sparse constant 'w' [12, 3]: made dense"]
    assert kinds(result.model) == ["Conv", "Conv"]


def test_a_sparse_tensor_that_nothing_reads_stays_byte_for_byte() -> None:
    model = with_sparse(("w",))
    model.graph.sparse_initializer.append(sparse(integers((4, 4), 5), "unused"))
    result = fc2conv.convert(model)
    assert list(result.model.graph.sparse_initializer) == [model.graph.sparse_initializer[1]]


@pytest.mark.parametrize("linear", [True, False])
@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4), (0, 3)])
def test_dense_is_the_array_that_it_was_made_from(shape: tuple[int, ...], linear: bool) -> None:
    array = integers(shape, 3)
    made = dense(sparse(array, "t", linear), "t")
    np.testing.assert_array_equal(numpy_helper.to_array(made), array)
    assert (made.name, list(made.dims)) == ("t", list(shape))


def _set(dims: list[int] | None = None, indices: list[int] | None = None) -> Callable[[SparseTensorProto], None]:
    def edit(tensor: SparseTensorProto) -> None:
        if dims is not None:
            tensor.dims[:] = dims
        if indices is not None:
            tensor.indices.CopyFrom(numpy_helper.from_array(np.array(indices, np.int64), "indices"))
            tensor.values.CopyFrom(numpy_helper.from_array(np.ones(len(indices), np.float32), "w"))

    return edit


def _short(tensor: SparseTensorProto) -> None:
    tensor.values.raw_data = tensor.values.raw_data[:-1]


def _fewer(tensor: SparseTensorProto) -> None:
    tensor.values.CopyFrom(numpy_helper.from_array(np.ones(1, np.float32), "w"))


def _text(tensor: SparseTensorProto) -> None:
    tensor.values.CopyFrom(numpy_helper.from_array(np.array(["a"], object), "w"))
    tensor.indices.CopyFrom(numpy_helper.from_array(np.array([0], np.int64), "indices"))


def _external(tensor: SparseTensorProto) -> None:
    tensor.values.data_location = TensorProto.EXTERNAL


DAMAGED: dict[str, tuple[Callable[[SparseTensorProto], None], str]] = {
    "dims of a petabyte": (_set(dims=[2**40, 2**10]), "has absurd dims"),
    "dims just beyond the bound": (_set(dims=[2**29 + 1]), "has absurd dims"),
    "negative dims": (_set(dims=[-12, 3]), "has absurd dims"),
    "index too large": (_set(indices=[0, 36]), "has an index outside of its dims [12, 3]"),
    "index negative": (_set(indices=[-1, 5]), "has an index outside of its dims [12, 3]"),
    "index twice": (_set(indices=[5, 5]), "gives one element twice"),
    "other rank": (_set(dims=[12, 3, 1]), "for dims [12, 3, 1]"),
    "values cut short": (_short, "has values or indices that cannot be read"),
    "fewer values": (_fewer, "has [1] values and indices"),
    "text": (_text, "has elements that are no numbers"),
    "external": (_external, "has external data"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_sparse_tensor_is_refused(name: str) -> None:
    damage, reason = DAMAGED[name]
    model = with_sparse(("w",), linear=False)
    damage(model.graph.sparse_initializer[0])
    with pytest.raises(fc2conv.UnreadableModel, match=re.escape(reason)):
        fc2conv.convert(model)


def test_many_large_sparse_tensors_are_refused_together() -> None:
    """None is beyond the bound alone, and onnxruntime would make all of them dense."""
    model = with_sparse(("w",))
    for i in range(5):
        model.graph.sparse_initializer.append(sparse(integers((2, 2), 5), f"unused{i}"))
        model.graph.sparse_initializer[-1].dims[:] = [2**27]
    with pytest.raises(fc2conv.UnreadableModel, match="'unused3' has absurd dims"):
        fc2conv.convert(model)
