"""Any Conv that ONNX allows and onnxruntime runs is its product, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conv2fc.products import Case, by_hand, compare, lowered, run
from tests.conv2fc.products import product as rewritten


@dataclass(frozen=True)
class Drawn:
    """A Conv and two sizes that it takes."""

    case: Case
    sizes: tuple[tuple[int, ...], ...]


@st.composite
def drawn(draw: st.DrawFn) -> Drawn:
    rank = draw(st.integers(1, 3))
    per_axis = lambda low, high: tuple(draw(st.integers(low, high)) for _ in range(rank))  # noqa: E731
    window = per_axis(1, 4)
    strides, same = per_axis(1, 3), draw(st.sampled_from(["", "", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    dilations = (1,) * rank if same.startswith("SAME") else per_axis(1, 3)
    extent = [(k - 1) * d + 1 for k, d in zip(window, dilations, strict=True)]
    pads = (0,) * 2 * rank if same else tuple(draw(st.integers(0, e)) for e in extent * 2)
    group = draw(st.integers(1, 3))
    block, columns = draw(st.sampled_from([1, 2, 3, 16])), draw(st.integers(1, 3))
    attrs = {"strides": list(strides), "dilations": list(dilations), "group": group}
    attrs |= {"auto_pad": same} if same else {"pads": list(pads)}
    opset = draw(st.sampled_from([7, 8, 9, 10, 11, 13, 18]))
    case = Case(window, attrs, group * block, group * columns, draw(st.booleans()), opset)
    least = extent if same else [max(e - pads[i] - pads[rank + i], 1) for i, e in enumerate(extent)]
    sizes = tuple(tuple(n + draw(st.integers(0, 5)) for n in least) for _ in range(2))
    return Drawn(case, sizes)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(drawn())
def test_any_conv(found: Drawn) -> None:
    case, sizes = found.case, found.sizes
    free, fixed = case.model(), case.model(2, sizes[0])
    compare(free, rewritten(free), [{"x": case.image(1 + i, size, i)} for i, size in enumerate(sizes)])
    compare(fixed, rewritten(fixed), [{"x": case.image(2, sizes[0])}])


@settings(max_examples=15, deadline=None, derandomize=True)
@given(drawn().filter(lambda d: "pads" in d.case.attrs))
def test_any_conv_by_its_definition(found: Drawn) -> None:
    case, size = found.case, found.sizes[0]
    x, constants = case.image(1, size), case.constants()
    expected = by_hand(x, constants["w"], constants.get("b"), case.attrs)
    assert (run(rewritten(case.model()), {"x": x}) == expected).all()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(drawn())
def test_costs_are_those_of_the_definition(found: Drawn) -> None:
    """Every unit sums one product for each tap and channel of its group, at every position."""
    case, size = found.case, found.sizes[0]
    model = case.model(1, size)
    (row,) = lowered(model)[1].products
    positions = run(model, {"x": case.image(1, size)})[0, 0].size
    assert row.before == row.after == positions * case.weight().size
    assert row.count * row.rows * row.columns == case.weight().size
