"""Each way to make a map denser wrongly is seen to fail, in the converted model or in what it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from onnx import ModelProto, NodeProto, helper

from onnx_fc2conv import Unliftable, VerificationFailed, model_io, pipeline
from onnx_fc2conv.atrous import sliding
from onnx_fc2conv.conversion import Conversion
from onnx_fc2conv.settings import Settings
from onnx_fc2conv.verification import Verifier

from .test_networks import RES, RES_WEIGHTS, built

UNPADDED = (
    "a = Conv<strides = [2, 2]>(x, w1)\n b = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(a)\n"
    "map = Conv(b, w2)\n f = Flatten(map)\n y = Gemm<transB = 1>(f, fc)"
)
NETWORKS = {
    "padded": built(RES, (2, 16, 16), RES_WEIGHTS),
    "unpadded": built(UNPADDED, (1, 16, 16), {"w1": (4, 1, 2, 2), "w2": (4, 4, 2, 2), "fc": (3, 36)}),
}


def prepared(name: str) -> Conversion:
    return pipeline.prepare(*model_io.load(NETWORKS[name]), Settings(stride=(1,)))


def run(conversion: Conversion, growth: int = 6) -> list[str]:
    """The names of the checks that pass, or the failure."""
    size = tuple(n + growth for n in (16, 16))
    verifier = Verifier(conversion, conversion.proto, "", lambda *_: None)
    return [check.name for check in verifier.run([{"x": size}]).checks]


def set_to(node: NodeProto, name: str, values: list[int]) -> None:
    kept = [a for a in node.attribute if a.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, values)])


def ints(node: NodeProto, name: str) -> list[int]:
    return next((list(a.ints) for a in node.attribute if a.name == name), [])


def undilated(model: ModelProto) -> Iterator[None]:
    """Forget the dilation at one node after the other, and the pads that it asks for."""
    for node in model.graph.node:
        dilations = ints(node, "dilations")
        if any(d > 1 for d in dilations):
            before = NodeProto.FromString(node.SerializeToString())
            set_to(node, "dilations", [1] * len(dilations))
            yield
            node.CopyFrom(before)


def unscaled_pads(model: ModelProto) -> Iterator[None]:
    """Leave the pads of one node after the other as the original has them."""
    for node in model.graph.node:
        if any(p > 1 for p in ints(node, "pads")):
            before = NodeProto.FromString(node.SerializeToString())
            set_to(node, "pads", [min(p, 1) for p in ints(node, "pads")])
            yield
            node.CopyFrom(before)


def turned_pads(model: ModelProto) -> Iterator[None]:
    """One cell more in front and one less behind: the wrong phase, at the right size."""
    for node in model.graph.node:
        pads = ints(node, "pads")
        if any(p > 1 for p in pads):
            before = NodeProto.FromString(node.SerializeToString())
            half = len(pads) // 2
            set_to(node, "pads", [p + 1 for p in pads[:half]] + [p - 1 for p in pads[half:]])
            yield
            node.CopyFrom(before)


def strided(model: ModelProto) -> Iterator[None]:
    """Leave a stride where it was."""
    for node in model.graph.node:
        if ints(node, "strides") == [1, 1] and node.op_type in ("Conv", "MaxPool"):
            before = NodeProto.FromString(node.SerializeToString())
            set_to(node, "strides", [2, 2])
            yield
            node.CopyFrom(before)


Sabotage = Callable[[ModelProto], Iterator[None]]
#: network, what is done to it, how many nodes it can be done to
SABOTAGES: list[tuple[str, Sabotage, int]] = [
    ("padded", undilated, 3),  # two Convs behind strides, one of them in groups, and the window
    ("padded", unscaled_pads, 2),
    ("padded", turned_pads, 2),
    ("padded", strided, 4),
    ("unpadded", undilated, 3),
    ("unpadded", strided, 3),
]


@pytest.mark.parametrize(("name", "sabotage", "count"), SABOTAGES)
def test_the_converted_model_is_rejected(name: str, sabotage: Sabotage, count: int) -> None:
    conversion = prepared(name)
    assert "every k-th cell" in run(conversion)
    seen = 0
    for _ in sabotage(conversion.proto):
        seen += 1
        with pytest.raises(VerificationFailed):
            run(conversion)
    assert seen == count
    run(conversion)


@pytest.mark.parametrize(("name", "sabotage"), [(name, sabotage) for name, sabotage, _ in SABOTAGES])
def test_what_it_is_compared_with_is_checked_too(name: str, sabotage: Sabotage) -> None:
    """The denser backbone that gives the windows is ours: every k-th of its cells must be the original's."""
    conversion = prepared(name)
    assert conversion.plan.dense is not None
    for _ in sabotage(conversion.plan.dense.model.proto):
        with pytest.raises(VerificationFailed, match=r"every k-th cell|cannot run the check"):
            run(conversion)


def test_a_shifted_map_is_rejected() -> None:
    """The head on the map from its second cell on: right shapes at a size that has a cell more, wrong phase."""
    conversion = prepared("unpadded")
    graph = conversion.proto.graph
    head = next(n for n in graph.node if "y" in n.output)
    made = next(i for i, n in enumerate(graph.node) if head.input[0] in n.output)
    shifted = helper.make_node("Pad", [head.input[0], "by"], ["shifted"], name="shift")
    graph.initializer.append(helper.make_tensor("by", 7, [8], [0, 0, -1, -1, 0, 0, 1, 1]))
    head.input[0] = "shifted"
    graph.node.insert(made + 1, shifted)
    with pytest.raises(VerificationFailed):
        run(conversion)


def forgets_dilations(found: sliding.Dilated) -> sliding.Dilated:
    return sliding.Dilated(
        found.kernel, found.strides, (1,) * len(found.kernel), found.before, found.after, found.sizes
    )


def forgets_pads(found: sliding.Dilated) -> sliding.Dilated:
    zeros = (0,) * len(found.kernel)
    return replace(found, before=zeros, after=zeros)


@pytest.mark.parametrize("mistake", [forgets_dilations, forgets_pads])
def test_a_mistake_of_a_rule_is_refused_by_the_geometry(mistake: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """The receptive field and the padding of a denser map are those of the original's; nothing has run by then."""
    right = sliding._dilated
    monkeypatch.setattr(sliding, "_dilated", lambda *a: mistake(right(*a)))
    with pytest.raises(Unliftable, match=r"--stride (cannot make denser|does not follow)|\(--stride\)"):
        prepared("padded")
