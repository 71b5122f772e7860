"""Run a converted model in OpenVINO at two sizes, beside onnxruntime, and print how far the answers are apart.

``python tools/examples/openvino_two_sizes.py CONVERTED.onnx [HxW HxW]``; without sizes, the trained one and one that is
three strides larger. The model is loaded once, with its free dims. Needs openvino; without it, it says so.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime as ort
from onnx import ModelProto
from onnx.helper import tensor_dtype_to_np_dtype

import onnx_fc2conv as fc2conv
from onnx_fc2conv.settings import Size, parse_size


def sizes_of(path: str, asked: Sequence[str]) -> list[dict[str, Size]]:
    """Sizes by input name: those asked for, of every input, or two that suit what the file says of itself."""
    grids = fc2conv.read_geometry(path).outputs.values()
    if asked:
        return [{g.source: parse_size(text) for g in grids} for text in asked]
    larger = {g.source: tuple(t + 3 * s for t, s in zip(g.trained_size, g.stride, strict=True)) for g in grids}
    return [{g.source: g.trained_size for g in grids}, larger]


def images(model: ModelProto, sizes: dict[str, Size]) -> dict[str, np.ndarray]:
    """One random image for each input; its free dims are the batch, which is 1, and then height and width."""
    rng, feeds = np.random.default_rng(0), {}
    for value in model.graph.input:
        tensor = value.type.tensor_type
        pixels = iter(sizes.get(value.name, next(iter(sizes.values()))))
        shape = [d.dim_value or (next(pixels, 1) if i else 1) for i, d in enumerate(tensor.shape.dim)]
        feeds[value.name] = rng.random(shape).astype(tensor_dtype_to_np_dtype(tensor.elem_type))
    return feeds


def main(argv: Sequence[str] | None = None) -> int:
    """Compare at two sizes; the exit code is 0, also where OpenVINO is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="CONVERTED.onnx", help="a model that onnx-fc2conv wrote")
    parser.add_argument("sizes", metavar="HxW", nargs="*", help="sizes to run at")
    arguments = parser.parse_args(argv)
    try:
        import openvino
    except ImportError as e:
        print(f"nothing was run: {e.name} is not installed", file=sys.stderr)
        return 0
    model = onnx.load(arguments.model, load_external_data=False)
    # by default OpenVINO may compute in bfloat16 where the processor has it
    compiled = openvino.Core().compile_model(arguments.model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    session = ort.InferenceSession(arguments.model, providers=["CPUExecutionProvider"])
    outputs = [o.name for o in session.get_outputs()]
    for sizes in sizes_of(arguments.model, arguments.sizes):
        feeds = images(model, sizes)
        found = compiled(feeds)
        for name, expected in zip(outputs, session.run(outputs, feeds), strict=True):
            largest = np.abs(expected).max()
            error = np.abs(found[name].astype(np.float64) - expected).max()
            size = ", ".join("x".join(map(str, s)) for s in dict.fromkeys(sizes.values()))
            print(f"{size}: '{name}' {list(expected.shape)}, largest difference {error:.2g}, of {largest:.2g}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except fc2conv.Fc2ConvError as error:
        sys.exit(str(error))
