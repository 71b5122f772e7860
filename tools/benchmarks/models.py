"""The models that are measured: seeded weights, and layouts as exporters write them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Storage = Literal["file", "external", "Constant nodes"]
BLOCK = 2**20  #: random numbers that large weights repeat, so that making gigabytes takes seconds
OPSET, IR = 17, 8


@dataclass
class Network:
    """A chain of nodes under construction.

    Attributes:
        shape: of one image, channels first.
        dtype: of all weights.
        storage: where large weights lie: inside of the file, in a data file beside it, or in Constant nodes.
        trans_b: whether FC weights are ``[units, features]``, as torch writes them, or ``[features, units]``.
        channels_last: whether features are flattened in H,W,C order, as exporters of NHWC networks do.
    """

    shape: tuple[int, ...]
    dtype: type = np.float32
    storage: Storage = "file"
    trans_b: bool = True
    channels_last: bool = False
    nodes: list[NodeProto] = field(default_factory=list)
    weights: list[TensorProto] = field(default_factory=list)
    folder: Path | None = None
    value: str = "x"
    _start: tuple[int, ...] = ()
    _offset: int = 0

    def __post_init__(self) -> None:
        self._start = self.shape
        self._random = np.random.default_rng(0).standard_normal(BLOCK).astype(np.float32)

    def conv(self, units: int, kernel: int, stride: int = 1, pad: int = 0) -> Network:
        """A Conv with bias, and a Relu."""
        channels, *size = self.shape
        names = [
            self._weight((units, channels, kernel, kernel), channels * kernel**2),
            self._weight((units,), 100 * units),
        ]
        self._add("Conv", *names, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4)
        self.shape = (units, *((n + 2 * pad - kernel) // stride + 1 for n in size))
        return self._add("Relu")

    def pool(self, kernel: int = 2, stride: int = 2) -> Network:
        """A MaxPool."""
        self._add("MaxPool", kernel_shape=[kernel] * 2, strides=[stride] * 2)
        self.shape = (self.shape[0], *((n - kernel) // stride + 1 for n in self.shape[1:]))
        return self

    def fc(self, *units: int) -> Network:
        """Flatten, and FC nodes with Relu between."""
        if self.channels_last:
            self._add("Transpose", perm=[0, 2, 3, 1])
        self._add("Flatten")
        features = prod(self.shape)
        for i, count in enumerate(units):
            shape = (count, features) if self.trans_b else (features, count)
            names = [self._weight(shape, features), self._weight((count,), 100 * count)]
            self._add("Gemm", *names, transB=int(self.trans_b))
            if i < len(units) - 1:
                self._add("Relu")
            features = count
        self.shape = (features,)
        return self

    def model(self) -> ModelProto:
        """The whole model; its batch is free."""
        elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        self.nodes[-1].output[0] = "y"
        graph = helper.make_graph(
            self.nodes,
            "network",
            [helper.make_tensor_value_info("x", elem_type, ["N", *self._start])],
            [helper.make_tensor_value_info("y", elem_type, ["N", *self.shape])],
            self.weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR)

    def _add(self, op_type: str, *weights: str, **attributes: Any) -> Network:
        name = f"{op_type.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, [self.value, *weights], [name], name=name, **attributes))
        self.value = name
        return self

    def _weight(self, shape: Sequence[int], fan_in: int) -> str:
        name, count = f"weight_{len(self.weights) + len(self.nodes)}_{len(shape)}", prod(shape)
        scale = np.float32((2 / fan_in) ** 0.5)
        block: np.ndarray = (self._random * scale).astype(self.dtype)
        if self.storage == "external" and self.folder is not None and count >= 1024:
            self.weights.append(self._stored(name, shape, block))
            return name
        tensor = numpy_helper.from_array(np.resize(block, shape), name)
        if self.storage == "Constant nodes" and len(shape) > 1:
            self.nodes.insert(0, helper.make_node("Constant", [], [name], name=f"{name}_constant", value=tensor))
        else:
            self.weights.append(tensor)
        return name

    def _stored(self, name: str, shape: Sequence[int], block: np.ndarray) -> TensorProto:
        """A tensor whose values are written to the data file, never held as a whole."""
        assert self.folder is not None
        tensor = TensorProto(name=name, dims=shape, data_type=helper.np_dtype_to_tensor_dtype(block.dtype))
        tensor.data_location = TensorProto.EXTERNAL
        count = prod(shape)
        with open(self.folder / "weights.data", "ab") as f:
            for start in range(0, count, BLOCK):
                f.write(block[: min(BLOCK, count - start)].tobytes())
        length = count * block.dtype.itemsize
        for key, value in (("location", "weights.data"), ("offset", self._offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
        self._offset += length
        return tensor


def vgg(network: Network, units: Sequence[int], divisor: int = 1) -> Network:
    """Sixteen layers with weights, as VGG16 has them, and fewer channels if asked."""
    for i, (count, channels) in enumerate([(2, 64), (2, 128), (3, 256), (3, 512), (3, 512)]):
        for _ in range(count):
            network.conv(channels // divisor, 3, 1, 1)
        if i < 4 or network.shape[1] > 1:
            network.pool()
    return network.fc(*units)


def alexnet(network: Network, units: Sequence[int], divisor: int = 1) -> Network:
    """Eight layers with weights, as AlexNet has them."""
    network.conv(64 // divisor, 11, 4, 2).pool(3).conv(192 // divisor, 5, 1, 2).pool(3)
    network.conv(384 // divisor, 3, 1, 1).conv(256 // divisor, 3, 1, 1).conv(256 // divisor, 3, 1, 1).pool(3)
    return network.fc(*units)


Build = Callable[[Network], Network]


@dataclass(frozen=True)
class Case:
    """A model by name, and how to write it.

    Attributes:
        name: in the tables.
        network: begins it.
        build: adds its nodes.
    """

    name: str
    network: Callable[..., Network]
    build: Build

    def made(self) -> ModelProto:
        """The model in memory."""
        return self.build(self.network()).model()

    def saved(self, folder: Path) -> Path:
        """The model in a folder of its own below this one, which is reused if it is there."""
        own = folder / "".join(c if c.isalnum() else "_" for c in self.name)
        path = own / "model.onnx"
        if not path.exists():
            own.mkdir(parents=True, exist_ok=True)
            (own / "weights.data").unlink(missing_ok=True)
            model = self.build(self.network(folder=own)).model()
            onnx.save(model, own / "unfinished")
            (own / "unfinished").rename(path)
        return path


def vgg_cases(small: bool) -> list[Case]:
    """What conversions are measured on; the first is VGG16's size, 553 MB in one file."""
    image, divisor = ((3, 64, 64), 16) if small else ((3, 224, 224), 1)
    units, wide, wider = (
        ((64, 64, 10),) * 3 if small else ((4096, 4096, 1000), (20480, 5120, 1000), (40960, 5120, 1000))
    )
    begin = partial(Network, image)
    plain, large, half = (partial(vgg, units=u, divisor=divisor) for u in (units, wide, wider))
    return [
        Case("VGG16-like, one file", begin, plain),
        Case("external data, float32", partial(begin, storage="external"), large),
        Case("external data, float16", partial(begin, storage="external", dtype=np.float16), half),
        Case("weights in Constant nodes", partial(begin, storage="Constant nodes"), plain),
        Case("transB=0", partial(begin, trans_b=False), plain),
        Case("H,W,C order", partial(begin, channels_last=True), plain),
    ]


def inference_cases(small: bool) -> dict[str, Case]:
    """What inference is measured on: heads alone, and whole networks."""
    n = 16 if small else 1
    image, wide = (3, 96, 96) if small else (3, 224, 224), (4096 // n, 4096 // n, 1000 // n)
    made: dict[str, tuple[tuple[int, ...], Build]] = {
        "VGG head": ((512 // n, 7, 7), lambda net: net.fc(*wide)),
        "LeNet head": ((16, 5, 5), lambda net: net.fc(120, 84, 10)),
        "64x4x2 detector head": ((64, 4, 2), lambda net: net.fc(64, 1)),
        "AlexNet-like": (image, partial(alexnet, units=wide, divisor=n)),
        "VGG16-like": (image, partial(vgg, units=wide, divisor=n)),
    }
    return {name: Case(name, partial(Network, shape), build) for name, (shape, build) in made.items()}
