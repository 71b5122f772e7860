"""What a runtime says to a model as it is, with nothing but its declared sizes freed, at an enlarged size."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto

from .. import dtypes
from ..open_sizes import declared_size
from .runtime import OnnxRuntime
from .session import OutOfMemory, RuntimeRefusal


def tried(proto: ModelProto, folder: str, axes: dict[str, list[int]], sizes: dict[str, list[int]]) -> str:
    """Run a model whose sizes were freed by relabelling alone.

    Args:
        proto: the model; never changed.
        folder: where its external data lies.
        axes: the spatial axes of each image input.
        sizes: an enlarged size of each.

    Returns:
        The shapes that came out for one image, or the runtime's own words, in one line.
    """
    relabelled = ModelProto()
    relabelled.CopyFrom(proto)
    graph = relabelled.graph
    del graph.value_info[:]
    feeds = {}
    weights = {t.name for t in graph.initializer}
    for value in graph.input:
        tensor = value.type.tensor_type
        if value.name in weights or value.type.WhichOneof("value") != "tensor_type":
            continue
        shape = [declared_size(d) or 1 for d in tensor.shape.dim]
        for axis, n in zip(axes.get(value.name, ()), sizes.get(value.name, ()), strict=True):
            tensor.shape.dim[axis].Clear()
            tensor.shape.dim[axis].dim_param = f"{value.name}_{axis}"
            shape[axis] = n
        feeds[value.name] = np.ones(shape, dtypes.numpy_type(tensor.elem_type))
    for value in graph.output:
        for dim in value.type.tensor_type.shape.dim:
            dim.Clear()
    words = ", ".join(dict.fromkeys("x".join(map(str, s)) for s in sizes.values()))
    runtime = OnnxRuntime()
    try:
        found = runtime.load(relabelled, folder).run(feeds)
    except (RuntimeRefusal, OutOfMemory) as e:
        return f"{runtime.name} {runtime.version} at {words}: {e}"
    shapes = ", ".join(f"'{name}' has shape {list(np.shape(v))}" for name, v in found.items())
    return f"{runtime.name} {runtime.version} at {words} runs: {shapes}"
