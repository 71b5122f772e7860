"""Random legal networks: how one is planned, and how it is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, helper, numpy_helper

from . import head_pointwise, head_quantised  # noqa: F401  register their nodes
from .backbones import STEPS, Trace
from .drafting import PIXEL, Draft, Value, finished
from .entries import ENTRIES
from .head_linear import NODES

Plan = dict[str, Any]
OPSETS = (8, 9, 10, 11, 12, 13, 13, 14, 15, 17, 17, 18, 19, 20, 21, 22, 23)
DTYPES = ("float32",) * 16 + ("float16",) * 2 + ("float64",)

#: how often, and the options
COMMANDS: list[tuple[int, tuple[str, ...]]] = [
    (9, ("--no-verify",)),
    (8, ()),
    (2, ("--no-verify", "--static")),
    (1, ("--static",)),
    (1, ("--output", "rows")),
    *((1, ("--no-verify", "--output", form)) for form in ("rows", "mean", "max")),
    (1, ("--dynamic-batch",)),
    (2, ("--no-verify", "--dynamic-batch")),
    (2, ("--no-verify", "--stride")),
    (1, ("--stride",)),
    (2, ("--no-verify", "--global-pool", "keep")),
    (2, ("--no-verify", "--max-kernel", "2", "--max-channels", "3")),
    (1, ("--max-kernel", "2", "--static", "--max-channels", "4")),
]


@dataclass(frozen=True)
class Network:
    """A network, and what its generator knows of it.

    Attributes:
        model: the network; its image comes first.
        oracle: the same without sizes that are written down, so that its backbone runs on any.
        trace: what its backbone does to positions.
        axes, size: of the image.
        cuts: for each output the feature map that its head reads; its own name where it is a map itself.
        exact: outputs of which every bit must be right.
        pools: every head begins with a pool that runs at any size.
    """

    model: ModelProto
    oracle: ModelProto
    trace: Trace
    axes: list[int]
    size: list[int]
    cuts: dict[str, str]
    exact: frozenset[str]
    pools: bool

    def known(self) -> dict[str, Any]:
        """All but the models, as JSON has it."""
        row = {"trace": {**asdict(self.trace), "maps": [self.last]}, "exact": sorted(self.exact)}
        return {**row, **{name: getattr(self, name) for name in ("axes", "size", "cuts", "pools")}}

    @classmethod
    def recalled(cls, row: dict[str, Any], model: Path, oracle: Path) -> Network:
        """What ``known`` has written down, with the two files."""
        last = Value(row["trace"]["maps"][0], (), 0)
        trace = Trace(**{**row["trace"], "maps": [(last, row["trace"]["stride"])]})
        first, second = (onnx.load(str(path)) for path in (model, oracle))
        exact = frozenset(row["exact"])
        return cls(first, second, trace, row["axes"], row["size"], row["cuts"], exact, row["pools"])

    @property
    def last(self) -> str:
        """The last map of the backbone."""
        return self.trace.maps[-1][0].name


def plan_of(rng: np.random.Generator) -> Plan:
    """What is to be written, step by step; each step has a seed of its own, so that others can go."""

    def steps(kinds: list[str], low: int, high: int) -> list[list[Any]]:
        return [[str(rng.choice(kinds)), int(rng.integers(2**31))] for _ in range(rng.integers(low, high + 1))]

    rank = int(rng.choice([1, 2, 2, 2, 2, 2, 3]))
    side = {1: (8, 24), 2: (6, 14), 3: (4, 7)}[rank]
    heads = [
        {"from": int(rng.integers(8)), "entry": steps(list(ENTRIES), 1, 1)[0], "nodes": steps(list(NODES), 2, 9)}
        for _ in range(rng.choice([1, 1, 1, 2]))
    ]
    shares = np.array([share for share, _ in COMMANDS], float)
    dtype = str(rng.choice(DTYPES))
    options = COMMANDS[int(rng.choice(len(COMMANDS), p=shares / shares.sum()))][1]
    stride = [str(rng.choice([1, 2]))] if "--stride" in options else []
    plan: Plan = {
        "opset": max(int(rng.choice(OPSETS)), 15 if dtype == "float64" else 0),  # for onnx.reference
        "dtype": dtype,
        "batch": [None, "N", "N", "batch", 1, 1, 2][rng.integers(7)],
        "channels": int(rng.integers(1, 4)),
        "size": [int(n) for n in rng.integers(*side, rank, endpoint=True)],
        "channels_last": bool(rng.integers(8) == 0),
        "may_pad": bool(rng.integers(2)),
        "backbone": [["conv" if rng.integers(3) else "max_pool", int(rng.integers(2**31))], *steps(list(STEPS), 0, 4)],
        "heads": heads,
        "more": int(rng.integers(12)),
        "program": "onnx-conv2fc" if rng.integers(16) == 0 else "onnx-fc2conv",
        "options": [*options, *stride, *(["--runtime", "reference"] if dtype == "float64" else [])],
        "report": bool(rng.integers(4) == 0),
    }
    return plan if dtype != "float64" else {**plan, "may_pad": False, "backbone": _without_pools(plan["backbone"])}


def _without_pools(steps: list[list[Any]]) -> list[list[Any]]:
    """What onnx.reference computes as onnxruntime does: its pools that pad or leave cells over are others."""
    return [[kind if kind in ("conv", "activation", "per_channel") else "conv", seed] for kind, seed in steps]


def build(plan: Plan) -> Network | None:
    """The network of a plan; ``None`` where its image is too small for it."""
    d = Draft(plan["opset"], plan["dtype"], plan["batch"], np.random.default_rng(0))
    rank = len(plan["size"])
    t = Trace([1] * rank, plan["may_pad"])
    x = Value("x", (plan["channels"], *plan["size"]), PIXEL)
    dims = [plan["batch"], *x.dims]
    axes = list(range(2, 2 + rank))
    if plan["channels_last"]:
        dims, axes = [plan["batch"], *plan["size"], plan["channels"]], list(range(1, 1 + rank))
        x = Value(d.put("Transpose", "x", perm=[0, rank + 1, *range(1, rank + 1)]), x.dims, PIXEL)
    t.maps.append((x, list(t.stride)))
    for kind, seed in plan["backbone"]:
        _extend(d, t, kind, seed)
    if len(t.maps) < 2:
        _extend(d, t, "conv", 0)
    if len(t.maps) < 2:
        return None
    outputs, cuts = list[Value](), dict[str, str]()
    for i, head in enumerate(plan["heads"]):
        feature_map = t.maps[-1][0] if i == 0 or head["from"] > 1 else t.maps[max(len(t.maps) - 2, 1)][0]
        for value in _head(d, head, feature_map, plan["more"]):
            if value.name not in cuts:
                outputs.append(value)
                cuts[value.name] = feature_map.name
    if not outputs:
        return None
    if plan["more"] == 1:
        outputs.append(t.maps[-1][0])
        cuts[t.maps[-1][0].name] = t.maps[-1][0].name
    pools = all(h["entry"][0].startswith("pooled") for h in plan["heads"])
    model = finished(d, {"x": dims}, outputs)
    exact = frozenset(o.name for o in outputs if o.exact)
    return Network(model, of_any_size(model, d), t, axes, list(plan["size"]), cuts, exact, pools)


def of_any_size(model: ModelProto, d: Draft) -> ModelProto:
    """The model with moves of channels written as such, and not as reshapes to sizes."""
    copy = ModelProto()
    copy.CopyFrom(model)
    for node in copy.graph.node:
        if node.output[0] in d.moved:
            source, order = d.moved[node.output[0]]
            copy.graph.initializer.append(numpy_helper.from_array(np.array(order), f"{node.name}_order"))
            made = helper.make_node("Gather", [source, f"{node.name}_order"], list(node.output), axis=1)
            node.CopyFrom(made)
    return copy


def _extend(d: Draft, t: Trace, kind: str, seed: int) -> None:
    """One more step of the backbone, or none where it does not fit."""
    mark, kept = d.mark(), (list(t.stride), t.padded, t.whole, t.phases)
    d.rng = np.random.default_rng(seed)
    made = STEPS[kind](d, t.maps[-1][0], t)
    if made is None:
        d.back_to(mark)
        t.stride, t.padded, t.whole, t.phases = kept
        return
    t.maps.append((made, list(t.stride)))


def _head(d: Draft, head: Plan, feature_map: Value, more: int) -> list[Value]:
    """The values that a head gives: its last one, and maybe one from before."""
    d.values, d.fcs = [], 0
    kind, seed = head["entry"]
    if not _add(d, ENTRIES[kind], seed, feature_map) and not _add(d, ENTRIES["pooled"], seed, feature_map):
        return []
    for kind, seed in head["nodes"]:
        _add(d, NODES[kind], seed, d.values[-1])
    if not d.fcs:
        _add(d, _last_fc, 1, d.values[-1])
    if not d.fcs:
        return []
    end = d.values[-1]
    if any(end.name in n.input for n in d.nodes) or len(d.nodes) == 0:
        end = Value(d.put("Identity", end), end.dims, end.bound, end.parts, end.exact)
    others = [v for v in d.values[1:-1] if v.name != end.name]
    return [end, *others[-1:]] if more == 2 else [end]


def _add(d: Draft, make: Any, seed: int, x: Value) -> bool:
    mark = d.mark()
    d.rng = np.random.default_rng(seed)
    made = make(d, x)
    if made is None:
        d.back_to(mark)
        return False
    d.values.append(made)
    return True


def _last_fc(d: Draft, x: Value) -> Value | None:
    flat = d.put("Flatten", x) if len(x.dims) > 1 else x.name
    d.fcs += 1
    bound = x.bound * x.size * 2
    return d.value(
        x, d.put("MatMul", flat, d.ints(x.size, 3)), (3,), bound=min(bound, 1e3), exact=x.exact and d.fits(bound)
    )


def inputs_at(network: Network, size: list[int], batch: int, seed: int = 0) -> np.ndarray:
    """An image of small integers."""
    info = network.model.graph.input[0].type.tensor_type
    dims = [d.dim_value for d in info.shape.dim]
    dims[0] = dims[0] or batch
    for axis, n in zip(network.axes, size, strict=True):
        dims[axis] = n
    kind = {1: np.float32, 10: np.float16, 11: np.float64}[info.elem_type]
    return np.random.default_rng(seed).integers(-PIXEL, PIXEL + 1, dims).astype(kind)


def operators(model: ModelProto) -> set[str]:
    """What it is made of."""
    return {f"{n.domain}.{n.op_type}" if n.domain else n.op_type for n in model.graph.node}


def reductions(plan: Plan) -> Iterator[Plan]:
    """Plans with less in them."""
    if len(plan["heads"]) > 1:
        for i in range(len(plan["heads"])):
            yield {**plan, "heads": plan["heads"][:i] + plan["heads"][i + 1 :]}
    for h, head in enumerate(plan["heads"]):
        for i in range(len(head["nodes"])):
            less = {**head, "nodes": head["nodes"][:i] + head["nodes"][i + 1 :]}
            yield {**plan, "heads": [*plan["heads"][:h], less, *plan["heads"][h + 1 :]]}
    for i in range(len(plan["backbone"])):
        if len(plan["backbone"]) > 1:
            yield {**plan, "backbone": plan["backbone"][:i] + plan["backbone"][i + 1 :]}
    for key, simple in (("more", 0), ("channels_last", False), ("report", False), ("batch", 1), ("dtype", "float32")):
        if plan[key] != simple and not (key == "dtype" and "--runtime" in plan["options"]):
            yield {**plan, key: simple}
