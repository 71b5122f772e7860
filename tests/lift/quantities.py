"""What tests of quantised heads are made of: scales that are powers of two, so that every answer is exact."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
from onnx import ModelProto, numpy_helper

from .tables import some

OPSETS = (10, 13, 19, 21, 23, 25)
TYPES: dict[str, Any] = {
    "int8": np.int8,
    "uint8": np.uint8,
    "int16": np.int16,
    "uint16": np.uint16,
    "int4": ml_dtypes.int4,
    "uint4": ml_dtypes.uint4,
}
MS = "com.microsoft."


def scales(*shape: int) -> np.ndarray:
    """Powers of two from 1/4 to 2, so that products with small integers are exact."""
    exponents = np.arange(int(np.prod(shape)), dtype=np.float32).reshape(shape) % 4
    return np.exp2(exponents - 2).astype(np.float32)


def zeros(elem: str, *shape: int) -> np.ndarray:
    """Zero points that differ from zero, and from each other."""
    return (np.arange(int(np.prod(shape))).reshape(shape) % 3 + (1 if "u" not in elem else 5)).astype(TYPES[elem])


def stored(elem: str, *shape: int) -> np.ndarray:
    """Integers as a quantiser stores them."""
    return some(*shape, low=0, high=8, dtype=np.int64).astype(TYPES[elem])


def activations(elem: str = "uint8") -> dict[str, Any]:
    """Scale and zero point of quantised activations."""
    return {"xs": 0.5, "xz": np.array(100 if elem.startswith("u") else 3, TYPES[elem])}


def arrays(model: ModelProto) -> dict[str, np.ndarray]:
    """All initializers."""
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
