"""Build a TensorRT engine for a range of sizes and compare it with onnxruntime at two of them.

``python tools/examples/tensorrt_engine.py TRAINED.onnx [HxW HxW]`` converts the model, builds an engine with the
optimisation profile of the report, and runs it at its best-served and at its largest size. Needs TensorRT 10 or later,
and torch to reach a GPU; where one is missing, it says so and does nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

import onnx_fc2conv as fc2conv
from onnx_fc2conv.settings import parse_size


def build(trt: Any, path: str, result: fc2conv.Result) -> Any:
    """An engine for all sizes between the smallest and the largest of the report's profile."""
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(path):
        raise SystemExit(f"TensorRT cannot read the model: {parser.get_error(0).desc()}")
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # else float32 products are rounded to 10 bits
    profile = builder.create_optimization_profile()
    for shapes in result.report.handover.profile:
        profile.set_shape(shapes.input, shapes.min, shapes.opt, shapes.max)
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise SystemExit("TensorRT cannot build an engine; its own messages say why")
    return trt.Runtime(logger).deserialize_cuda_engine(engine)


def run(trt: Any, torch: Any, engine: Any, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The engine's outputs for one set of inputs of any size in its range."""
    context = engine.create_execution_context()
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    outputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT]
    held = {}
    for name, values in feeds.items():
        context.set_input_shape(name, values.shape)
        held[name] = torch.from_numpy(values).cuda()
    for name in outputs:
        empty = np.empty(tuple(context.get_tensor_shape(name)), trt.nptype(engine.get_tensor_dtype(name)))
        held[name] = torch.from_numpy(empty).cuda()
    for name, tensor in held.items():
        context.set_tensor_address(name, tensor.data_ptr())
    stream = torch.cuda.Stream()
    context.execute_async_v3(stream.cuda_stream)
    stream.synchronize()
    return {name: held[name].cpu().numpy() for name in outputs}


def compare(trt: Any, torch: Any, path: str, result: fc2conv.Result) -> None:
    """Print how far the engine's answers are from onnxruntime's, at two sizes."""
    engine = build(trt, path, result)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    for which in ("opt", "max"):
        shapes = {row.input: getattr(row, which) for row in result.report.handover.profile}
        feeds = {i.name: rng.random(shapes.get(i.name, i.shape), np.float32) for i in session.get_inputs()}
        found = run(trt, torch, engine, feeds)
        for output, expected in zip(session.get_outputs(), session.run(None, feeds), strict=True):
            error, largest = np.abs(found[output.name] - expected).max(), np.abs(expected).max()
            print(f"{shapes}: '{output.name}' largest difference {error:.2g}, of {largest:.2g}")


def main(argv: Sequence[str] | None = None) -> int:
    """Convert, build, compare; the exit code is 0, also where TensorRT or a GPU is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="TRAINED.onnx", help="a float32 model to convert")
    parser.add_argument("sizes", metavar="HxW", nargs="*", help="the best-served size, and others to make room for")
    arguments = parser.parse_args(argv)
    try:
        import tensorrt
        import torch
    except ImportError as e:
        print(f"no engine was built: {e.name} is not installed", file=sys.stderr)
        return 0
    if not torch.cuda.is_available():
        print("no engine was built: there is no GPU", file=sys.stderr)
        return 0
    result = fc2conv.convert(arguments.model, sizes=[parse_size(size) for size in arguments.sizes])
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "converted.onnx"))
        result.save(path)
        compare(tensorrt, torch, path, result)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except fc2conv.Fc2ConvError as error:
        sys.exit(str(error))
