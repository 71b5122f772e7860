"""The detector: a network for windows of 64 x 128 pixels whose last map is 2 x 4 units, and its ONNX form.

Every kernel is as large as its stride, or 1 x 1, and nothing is padded: one unit of the last map sees 32 x 32 pixels
and no others, so the map of a window is a part of the map of the picture that it is cut from.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

OPSET = 17
PRODUCER = "onnx-fc2conv"
MIDDLE = 0.5  #: of the range of a pixel; what is learnt is learnt about pixels minus this
UNITS = 4  #: of the first FC


@dataclass(frozen=True)
class Step:
    """One Conv with its Relu, or (no channels) one MaxPool; its kernel is its stride."""

    name: str
    channels: int
    kernel: int


STEPS = (
    Step("conv1", 32, 4),
    Step("conv2", 40, 1),
    Step("conv3", 96, 2),
    Step("pool", 0, 2),
    Step("conv4", 128, 2),
    Step("conv5", 48, 1),
)
MAP = (4, 2)  #: height and width of the last map for a window


class Detector(nn.Module):  # type: ignore[misc]
    """The network in torch: pixels from 0 to 1, [N, 3, 128, 64], to logits [N]."""

    def __init__(self, normalised: bool = True) -> None:
        """A network with random weights; with or without a normalisation behind each Conv."""
        super().__init__()
        parts: list[nn.Module] = []
        channels = 3
        for step in STEPS:
            if not step.channels:
                parts.append(nn.MaxPool2d(step.kernel))
                continue
            conv = nn.Conv2d(channels, step.channels, step.kernel, step.kernel, bias=not normalised)
            parts += [conv, *([nn.BatchNorm2d(step.channels)] if normalised else []), nn.ReLU()]
            channels = step.channels
        self.backbone = nn.Sequential(*parts)
        self.dropout = nn.Dropout(0.1)
        self.fc1 = nn.Linear(channels * MAP[0] * MAP[1], UNITS)
        self.fc2 = nn.Linear(UNITS, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of windows."""
        x = self.dropout(self.backbone(x - MIDDLE).flatten(1))
        return self.fc2(torch.tanh(self.fc1(x)))[:, 0]


def to_onnx(detector: Detector) -> ModelProto:
    """A folded network as ONNX: ``input`` [N, 3, 128, 64], pixels from 0 to 1, to ``dress`` [N, 1], a probability."""
    graph = _Graph()
    convs = [part for part in detector.backbone if isinstance(part, nn.Conv2d)]
    x = "input"
    for step in STEPS:
        if not step.channels:
            x = graph.add("MaxPool", step.name, [x], kernel_shape=[step.kernel] * 2, strides=[step.kernel] * 2)
            continue
        conv = convs.pop(0)
        weight, bias = _array(conv.weight), _array(conv.bias)
        if x == "input":
            bias = bias - MIDDLE * weight.sum((1, 2, 3))
        kernel: dict[str, Any] = {"kernel_shape": [step.kernel] * 2, "strides": [step.kernel] * 2}
        x = graph.add("Conv", step.name, [x, *graph.weights(step.name, weight, bias)], **kernel)
        last = step is STEPS[-1]
        x = graph.add("Relu", f"relu{step.name[-1]}", [x], "feature_map" if last else None)
    x = graph.add("Flatten", "flatten", [x], axis=1)
    for fc, activation, output in ((detector.fc1, "Tanh", None), (detector.fc2, "Sigmoid", "dress")):
        name = "fc1" if output is None else "fc2"
        x = graph.add("Gemm", name, [x, *graph.weights(name, _array(fc.weight), _array(fc.bias))], transB=1)
        x = graph.add(activation, activation.lower(), [x], output)
    return graph.model()


def folded(detector: Detector) -> Detector:
    """The same network with each normalisation in the weights of the Conv in front of it."""
    plain = Detector(normalised=False)
    plain.fc1.load_state_dict(detector.fc1.state_dict())
    plain.fc2.load_state_dict(detector.fc2.state_dict())
    targets = [part for part in plain.backbone if isinstance(part, nn.Conv2d)]
    parts = list(detector.backbone)
    pairs = [(conv, norm) for conv, norm in pairwise(parts) if isinstance(norm, nn.BatchNorm2d)]
    with torch.no_grad():
        for target, (conv, norm) in zip(targets, pairs, strict=True):
            factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            target.weight.copy_(conv.weight * factor[:, None, None, None])
            target.bias.copy_(norm.bias - norm.running_mean * factor)
    return plain


def _array(parameter: Tensor) -> np.ndarray:
    found: np.ndarray = parameter.detach().numpy()
    return found


class _Graph:
    """ONNX nodes in their order; each value is named after its node."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.tensors: list[TensorProto] = []

    def weights(self, name: str, weight: np.ndarray, bias: np.ndarray) -> list[str]:
        """Weight and bias of a node."""
        names = [f"{name}.weight", f"{name}.bias"]
        for n, values in zip(names, (weight, bias), strict=True):
            self.tensors.append(numpy_helper.from_array(values.astype(np.float32), n))
        return names

    def add(self, kind: str, name: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        """A node with one output, and that output's name."""
        output = output or f"{name}_out"
        self.nodes.append(helper.make_node(kind, inputs, [output], name, **attributes))
        return output

    def model(self) -> ModelProto:
        """The finished model."""
        image = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 128, 64])
        dress = helper.make_tensor_value_info("dress", TensorProto.FLOAT, ["N", 1])
        graph = helper.make_graph(self.nodes, "dress_64x128", [image], [dress], self.tensors)
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets), producer_name=PRODUCER
        )
