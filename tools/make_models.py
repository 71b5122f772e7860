"""Write the small example models and their manifest.

``python tools/make_models.py`` writes ``models/*.onnx`` and ``models/manifest.json``; with ``--check`` it
writes nothing and exits with 1 if a file on disk is missing or differs by a byte.

Every file comes out the same, byte for byte, on every machine: weights are seeded integers (or such integers
divided by a power of two, so that no rounding is involved), and nothing records a date or a version. Seeds
were chosen for lively models: few channels that a ReLU silences, outputs that differ from input to input.

The exceptions in ``TRAINED`` come from ``tools/train_dress_detector.py``. Training does not give the same bytes on
every machine, so these files are taken as they are in the repository, and the manifest holds their hashes.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import itertools
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper, shape_inference

Shape = Sequence[int | str]
Draw = Callable[[np.random.Generator, tuple[int, ...], int], NDArray[np.float32]]

PRODUCER = "onnx-fc2conv"
MANIFEST = "manifest.json"
FEATURE_MAP = "feature_map"
MODELS = Path(__file__).parent.parent / "models"


def fractions(rng: np.random.Generator, shape: tuple[int, ...], fan_in: int) -> NDArray[np.float32]:
    """Draw multiples of 1/128 times a power of two near sqrt(6 / fan_in): activations keep their scale."""
    scale = 2.0 ** (1 - fan_in.bit_length() // 2)
    return np.asarray(rng.integers(-127, 128, shape) / 128 * scale, dtype=np.float32)


def sparse_signs(rng: np.random.Generator, shape: tuple[int, ...], fan_in: int) -> NDArray[np.float32]:
    """Draw -1, 0 or 1, about eight of them non-zero per sum: no float32 sum of integers is ever rounded."""
    kept = rng.integers(0, fan_in, shape) < 8
    signs = 2 * rng.integers(0, 2, shape) - 1
    return np.asarray(kept * signs, dtype=np.float32)


class Network:
    """A model under construction: nodes in their order, each value named after the node that makes it."""

    def __init__(self, opset: int, input_shape: Shape, *, draw: Draw, seed: int) -> None:
        self.opset = opset
        self.draw = draw
        self.rng = np.random.default_rng(seed)
        self.input = float_value("input", input_shape)
        self.outputs: list[ValueInfoProto] = []
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []

    def add(self, op_type: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Append a node with one output and return that output's name."""
        name = f"{op_type.lower()}_{sum(node.op_type == op_type for node in self.nodes) + 1}"
        output = output or f"{name}_out"
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=name, **attributes))
        return output

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Append an initializer under a name that starts with ``name`` and return that name."""
        name = f"{name}_{len(self.initializers) + 1}"
        self.initializers.append(numpy_helper.from_array(values, name))
        return name

    def weight(self, *shape: int, fan_in: int) -> str:
        """Append a drawn weight; ``fan_in`` is the number of terms that each output sums."""
        return self.constant("weight", self.draw(self.rng, shape, fan_in))

    def bias(self, size: int) -> str:
        """Append a bias: small integers for integer weights, small fractions for the others."""
        unit = 1 if self.draw is sparse_signs else 16
        return self.constant("bias", (self.rng.integers(0, 3, size) / unit).astype(np.float32))

    def slope(self, *shape: int) -> str:
        """Append PRelu slopes between 0 and 1/4."""
        return self.constant("slope", (self.rng.integers(1, 128, shape) / 512).astype(np.float32))

    def conv(self, x: str, in_channels: int, out_channels: int, kernel: Sequence[int], **attributes: Any) -> str:
        """Append a Conv with weight and bias."""
        weight = self.weight(out_channels, in_channels, *kernel, fan_in=in_channels * math.prod(kernel))
        return self.add("Conv", x, weight, self.bias(out_channels), kernel_shape=list(kernel), **attributes)

    def pool(self, x: str, kernel: Sequence[int], strides: Sequence[int], output: str | None = None) -> str:
        """Append an unpadded MaxPool."""
        return self.add("MaxPool", x, output=output, kernel_shape=list(kernel), strides=list(strides))

    def gemm(self, x: str, inputs: int, outputs: int, *, trans_b: bool = True, output: str | None = None) -> str:
        """Append a Gemm with weight and bias; the attribute transB is left out where it is the default."""
        weight = self.weight(*((outputs, inputs) if trans_b else (inputs, outputs)), fan_in=inputs)
        attributes = {"transB": 1} if trans_b else {}
        return self.add("Gemm", x, weight, self.bias(outputs), output=output, **attributes)

    def output(self, name: str, shape: Shape) -> None:
        """Declare a value as an output of the model."""
        self.outputs.append(float_value(name, shape))

    def model(self, name: str) -> ModelProto:
        """Return the finished model, in the oldest IR version that its opset allows."""
        graph = helper.make_graph(self.nodes, name, [self.input], self.outputs, self.initializers)
        opsets = [helper.make_opsetid("", self.opset)]
        ir_version = helper.find_min_ir_version_for(opsets)
        return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version, producer_name=PRODUCER)


def float_value(name: str, shape: Shape) -> ValueInfoProto:
    """Return the declaration of a float32 value; a string in ``shape`` is a dim_param."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def lenet() -> Network:
    """LeNet with Reshape[-1, K] as its flatten and the Softmax of opset 11, which flattens from axis on."""
    net = Network(11, [1, 1, 28, 28], draw=fractions, seed=20)
    x = net.conv("input", 1, 6, [5, 5])
    x = net.pool(net.add("Relu", x), [2, 2], [2, 2])
    x = net.conv(x, 6, 16, [5, 5])
    x = net.pool(net.add("Relu", x), [2, 2], [2, 2], output=FEATURE_MAP)
    x = net.add("Reshape", x, net.constant("shape", np.array([-1, 16 * 4 * 4], dtype=np.int64)))
    x = net.add("Relu", net.gemm(x, 16 * 4 * 4, 60, trans_b=False))
    x = net.add("Relu", net.gemm(x, 60, 42, trans_b=False))
    x = net.gemm(x, 42, 10, trans_b=False)
    net.output(net.add("Softmax", x, output="prob", axis=1), [1, 10])
    return net


def alexnet_mini() -> Network:
    """A narrow AlexNet: padded Convs and LRN in the backbone, Dropout between the Gemms, a dynamic batch."""
    net = Network(13, ["N", 3, 67, 67], draw=fractions, seed=42)
    lrn: dict[str, Any] = {"size": 5, "alpha": 1e-4, "beta": 0.75, "bias": 1.0}
    x = net.add("Relu", net.conv("input", 3, 12, [11, 11], strides=[4, 4]))
    x = net.pool(net.add("LRN", x, **lrn), [3, 3], [2, 2])
    x = net.add("Relu", net.conv(x, 12, 24, [5, 5], pads=[2, 2, 2, 2]))
    x = net.pool(net.add("LRN", x, **lrn), [3, 3], [2, 2])
    x = net.add("Relu", net.conv(x, 24, 24, [3, 3], pads=[1, 1, 1, 1]))
    x = net.conv(x, 24, 16, [3, 3], pads=[1, 1, 1, 1])
    x = net.add("Flatten", net.add("Relu", x, output=FEATURE_MAP), axis=1)
    ratio = net.constant("ratio", np.array(0.5, dtype=np.float32))
    x = net.add("Relu", net.gemm(net.add("Dropout", x, ratio), 16 * 3 * 3, 48))
    x = net.add("Relu", net.gemm(net.add("Dropout", x, ratio), 48, 48))
    net.output(net.gemm(x, 48, 10, output="logits"), ["N", 10])
    return net


def two_heads_prelu() -> Network:
    """A detector like MTCNN's R-Net: one flatten feeds a probability and a box; PRelu on map and vector."""
    net = Network(13, ["N", 3, 24, 24], draw=fractions, seed=58)
    x = net.conv("input", 3, 14, [3, 3])
    x = net.pool(net.add("PRelu", x, net.slope(14, 1, 1)), [3, 3], [2, 2])
    x = net.conv(x, 14, 24, [3, 3])
    x = net.pool(net.add("PRelu", x, net.slope(24, 1, 1)), [3, 3], [2, 2])
    x = net.conv(x, 24, 32, [2, 2])
    x = net.add("PRelu", x, net.slope(32, 1, 1), output=FEATURE_MAP)
    x = net.gemm(net.add("Flatten", x, axis=1), 32 * 2 * 2, 64)
    x = net.add("PRelu", x, net.slope(64))
    net.output(net.add("Softmax", net.gemm(x, 64, 2), output="prob", axis=1), ["N", 2])
    net.output(net.gemm(x, 64, 4, output="box"), ["N", 4])
    return net


def conv1d() -> Network:
    """A net over a signal: one spatial axis, so the grid is a line; integer weights, exact in float32."""
    net = Network(17, [1, 2, 64], draw=sparse_signs, seed=33)
    x = net.add("Relu", net.conv("input", 2, 6, [5], strides=[2]))
    x = net.pool(x, [2], [2])
    x = net.add("Relu", net.conv(x, 6, 8, [3]))
    x = net.pool(x, [2], [2], output=FEATURE_MAP)
    x = net.gemm(net.add("Flatten", x, axis=1), 8 * 6, 5, output="scores")
    net.output(x, [1, 5])
    return net


def conv3d() -> Network:
    """A net over a volume: MatMul + Add as FC, strides differ by axis; integer weights, exact in float32."""
    net = Network(18, [1, 1, 8, 16, 16], draw=sparse_signs, seed=30)
    x = net.add("Relu", net.conv("input", 1, 6, [3, 3, 3]))
    x = net.pool(x, [2, 2, 2], [2, 2, 2])
    x = net.add("Relu", net.conv(x, 6, 8, [2, 2, 2]))
    x = net.pool(x, [1, 2, 2], [1, 2, 2], output=FEATURE_MAP)
    x = net.add("Flatten", x, axis=1)
    x = net.add("MatMul", x, net.weight(8 * 2 * 3 * 3, 12, fan_in=8 * 2 * 3 * 3))
    x = net.add("Relu", net.add("Add", x, net.bias(12)))
    x = net.add("MatMul", x, net.weight(12, 3, fan_in=12))
    net.output(net.add("Add", x, net.bias(3), output="scores"), [1, 3])
    return net


def reference_detector() -> Network:
    """The reference case, 128 x 64 with stride 32 and a 4 x 2 map; unpadded, so windows equal image crops."""
    net = Network(13, ["N", 3, 128, 64], draw=sparse_signs, seed=78)
    x = net.add("Relu", net.conv("input", 3, 4, [2, 2], strides=[2, 2]))
    x = net.pool(x, [2, 2], [2, 2])
    x = net.add("Relu", net.conv(x, 4, 8, [2, 2], strides=[2, 2]))
    x = net.pool(x, [2, 2], [2, 2])
    x = net.add("Relu", net.conv(x, 8, 8, [2, 2], strides=[2, 2]), output=FEATURE_MAP)
    x = net.gemm(net.add("Flatten", x, axis=1), 8 * 4 * 2, 4)
    net.output(net.gemm(net.add("Relu", x), 4, 1, output="score"), ["N", 1])
    return net


def reference_detector_padded() -> Network:
    """The reference case with padded Convs: on a larger input its windows do not equal image crops."""
    net = Network(13, ["N", 3, 128, 64], draw=sparse_signs, seed=7)
    x = "input"
    channels = [3, 4, 4, 8, 8, 8]
    for step, (inputs, outputs) in enumerate(itertools.pairwise(channels), start=1):
        x = net.add("Relu", net.conv(x, inputs, outputs, [3, 3], pads=[1, 1, 1, 1]))
        x = net.pool(x, [2, 2], [2, 2], output=FEATURE_MAP if step == 5 else None)
    x = net.gemm(net.add("Flatten", x, axis=1), 8 * 4 * 2, 4)
    net.output(net.gemm(net.add("Relu", x), 4, 1, output="score"), ["N", 1])
    return net


EXAMPLES: tuple[Callable[[], Network], ...] = (
    alexnet_mini,
    conv1d,
    conv3d,
    lenet,
    reference_detector,
    reference_detector_padded,
    two_heads_prelu,
)


#: files that are trained -> what the manifest says of them
TRAINED = {
    "dress_64x128.onnx": "The reference case trained: is there a dress in 64 x 128 pixels (W x H)? Unpadded.",
}


def backbone_nodes(model: ModelProto) -> Iterator[NodeProto]:
    """Yield the nodes up to the one that makes the feature map; here every backbone is a chain."""
    for node in model.graph.node:
        yield node
        if FEATURE_MAP in node.output:
            return


def node_attribute(node: NodeProto, name: str) -> Any:
    """Return the attribute's value, or None where the node leaves it out."""
    return next((helper.get_attribute_value(found) for found in node.attribute if found.name == name), None)


def effective_stride(model: ModelProto) -> list[int]:
    """Return, per spatial axis, how many input elements lie between neighbours in the feature map."""
    strides = [node_attribute(node, "strides") for node in backbone_nodes(model)]
    return [math.prod(axis) for axis in zip(*filter(None, strides), strict=True)]


def value_shape(value: ValueInfoProto) -> list[int | str]:
    """Return the declared shape, a dim_param as its name."""
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def manifest_entry(name: str, shows: str | None, model: ModelProto, data: bytes) -> dict[str, Any]:
    """Return what the manifest says about one file; all but the sentence is read off the model."""
    inferred = shape_inference.infer_shapes(model, strict_mode=True).graph.value_info
    feature_map = next(value for value in inferred if value.name == FEATURE_MAP)
    weights = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    return {
        "name": name,
        "shows": shows,
        "made_by": "tools/train_dress_detector.py" if name in TRAINED else "tools/make_models.py",
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "opset": model.opset_import[0].version,
        "input": {"name": model.graph.input[0].name, "shape": value_shape(model.graph.input[0])},
        "feature_map": {"name": FEATURE_MAP, "shape": value_shape(feature_map)},
        "effective_stride": effective_stride(model),
        "padded": any(any(node_attribute(node, "pads") or []) for node in backbone_nodes(model)),
        "integer_weights": all(bool(np.all(values == np.trunc(values))) for values in weights),
    }


def build_files() -> dict[str, bytes]:
    """Return the content of every file by its name: the models, then the manifest."""
    shows = {f"{example.__name__}.onnx": inspect.getdoc(example) for example in EXAMPLES} | TRAINED
    files = {
        f"{example.__name__}.onnx": example().model(example.__name__).SerializeToString(deterministic=True)
        for example in EXAMPLES
    }
    files |= {name: (MODELS / name).read_bytes() for name in TRAINED}
    manifest = [
        manifest_entry(name, shows[name], ModelProto.FromString(data), data) for name, data in sorted(files.items())
    ]
    files[MANIFEST] = (json.dumps(manifest, indent=2) + "\n").encode()
    return files


def write_files(folder: Path) -> None:
    """Write the models and the manifest into ``folder``; other files there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in build_files().items():
        (folder / name).write_bytes(data)


def stale_files(folder: Path) -> list[str]:
    """Return the names of the files that are missing from ``folder`` or differ from what would be written."""
    return [
        name
        for name, data in build_files().items()
        if not (folder / name).is_file() or (folder / name).read_bytes() != data
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="make_models.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("models"), metavar="FOLDER", help="default: models")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file differs")
    arguments = parser.parse_args(argv)
    if not arguments.check:
        write_files(arguments.out)
        return 0
    stale = stale_files(arguments.out)
    for name in stale:
        print(f"make_models.py: {arguments.out / name} is missing or differs", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
