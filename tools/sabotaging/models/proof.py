"""That an edited model is another one: another answer at some size, run by onnxruntime, or a declaration that is false.

Nothing of the package is asked. Images are drawn at random: real numbers, so that a lost digit shows, and twice.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import ModelProto, helper, shape_inference

from .mistakes.declared import GEOMETRY
from .subjects import Sizes, Subject

ort.set_default_logger_severity(4)
Feeds = dict[str, NDArray[np.float32]]
SEEDS = (1, 2)


class Proof:
    """What the right model answers, to be compared with the answers of wrong ones."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._feeds = list(_drawn(subject))
        session = _session(subject.right)
        self._names = [o.name for o in session.get_outputs()]
        self._right = [session.run(None, feeds) for feeds in self._feeds]

    def difference(self, model: ModelProto) -> str | None:
        """How the model differs from the right one; None if nothing shows."""
        try:
            session = _session(model)
        except Exception as e:  # onnxruntime has many types
            return f"does not load: {_line(e)}"
        names = [o.name for o in session.get_outputs()]
        if names != self._names:
            return f"outputs are {names}"
        for feeds, right in zip(self._feeds, self._right, strict=True):
            try:
                found = session.run(None, feeds)
            except Exception as e:
                return f"does not run at {_sizes(feeds)}: {_line(e)}"
            for name, old, new in zip(names, right, found, strict=True):
                if old.shape != new.shape:
                    return f"'{name}' has shape {list(new.shape)} instead of {list(old.shape)} at {_sizes(feeds)}"
                if old.dtype != new.dtype:
                    return f"'{name}' is {new.dtype} instead of {old.dtype}"
                if not np.array_equal(old, new, equal_nan=True):
                    return f"'{name}' differs by {_largest(old, new):.3g} of its scale at {_sizes(feeds)}"
        return self._false_declaration(model)

    def _false_declaration(self, model: ModelProto) -> str | None:
        right = self._subject.right
        for name, dims in _declared(model).items():
            for feeds in self._feeds:
                shape = _computed(right, name, feeds)
                known = zip(dims, shape, strict=False)
                if len(dims) != len(shape) or any(isinstance(d, int) and d != n for d, n in known):
                    return f"'{name}' is declared as {dims} and has shape {list(shape)} at {_sizes(feeds)}"
        for old, new in zip(right.graph.input, model.graph.input, strict=True):
            shared = [d.dim_param for d in new.type.tensor_type.shape.dim if d.dim_param]
            if old.type != new.type and len(set(shared)) < len(shared):
                return f"'{new.name}' is declared as square"
        if _geometry(right) != _geometry(model):
            return "the geometry in its metadata is another one"
        return None


def _drawn(subject: Subject) -> Iterator[Feeds]:
    for sizes in subject.enlarged:
        for seed in SEEDS:
            yield _images(subject.right, sizes, seed)


def _images(model: ModelProto, sizes: Sizes, seed: int) -> Feeds:
    rng = np.random.default_rng(seed)
    constants = {t.name for t in model.graph.initializer}
    feeds: Feeds = {}
    for value in model.graph.input:
        if value.name in constants:
            continue
        dims = list(value.type.tensor_type.shape.dim)
        shape = [d.dim_value or (2 if i == 0 else 0) for i, d in enumerate(dims)]
        free = [i for i, d in enumerate(dims) if i > 1 and not d.dim_value]
        for i, n in zip(free, sizes.get(value.name, ()), strict=False):
            shape[i] = n
        feeds[value.name] = rng.normal(0.3, 1.5, shape).astype(np.float32)
    return feeds


def _session(model: ModelProto) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _declared(model: ModelProto) -> dict[str, list[int | str]]:
    values = (*model.graph.output, *model.graph.value_info)
    return {v.name: [d.dim_value or d.dim_param for d in v.type.tensor_type.shape.dim] for v in values}


def _computed(model: ModelProto, name: str, feeds: Feeds) -> tuple[int, ...]:
    """The shape that a value really has."""
    if name not in {o.name for o in model.graph.output}:
        inferred = {v.name: v for v in shape_inference.infer_shapes(model).graph.value_info}
        extended = ModelProto.FromString(model.SerializeToString())
        kind = inferred[name].type.tensor_type.elem_type if name in inferred else 1
        extended.graph.output.append(helper.make_tensor_value_info(name, kind, None))
        model = extended
    shape: tuple[int, ...] = _session(model).run([name], feeds)[0].shape
    return shape


def _geometry(model: ModelProto) -> str:
    return next((p.value for p in model.metadata_props if p.key == GEOMETRY), "")


def _largest(old: NDArray[np.float32], new: NDArray[np.float32]) -> float:
    if old.dtype.kind != "f":
        return float((old != new).mean())
    scale = float(np.abs(old[np.isfinite(old)]).max(initial=0.0)) or 1.0
    gaps = np.abs(old.astype(np.float64) - new)
    return float(np.nan_to_num(gaps, nan=np.inf).max() / scale)


def _sizes(feeds: Feeds) -> str:
    return ", ".join("x".join(map(str, v.shape[2:])) or "a vector" for v in feeds.values())


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
