"""Windows that go through the original's head together have the answers that they have alone, or they go alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

import onnx_fc2conv as fc2conv
from onnx_fc2conv import model_io, pipeline
from onnx_fc2conv.verification import Verifier, batches, oracle, runtime
from onnx_fc2conv.verification.batches import Batches, picks
from onnx_fc2conv.verification.oracle import Oracle
from onnx_fc2conv.verification.session import Feeds, RuntimeRefusal
from tests.networks import Head, integers, network

MLP = Head(
    "f = Flatten(map)\n g = Gemm<transB = 1>(f, w, b)\n r = Relu(g)\n y = Gemm<transB = 1>(r, v)\n z = Softmax(g)",
    {"w": (8, 12), "b": (8,), "v": (4, 8)},
    outputs=("y", "z"),
)
FOUR = Head("f = Flatten(map)\n y = Gemm<transB = 1>(f, w)", {"w": (4, 12)}, batch=4)
LAST = Head("f = Flatten(map)\n g = Gemm<transB = 1>(f, w)\n y = Transpose(g)", {"w": (4, 12)})
ONE_ROW = Head("f = Reshape(map, s)\n y = Gemm(f, w)", {"s": np.array([1, 12]), "w": (12, 3)})
BARE = Head("f = Reshape(map, s)\n y = MatMul(w, f)", {"s": np.array([12, 1]), "w": (3, 12)}, batch=1)
MERGED = Head("r = Reshape(map, s)\n y = MatMul(r, w)", {"s": np.array([-1, 6]), "w": (6, 4)})
ASKS = Head(
    "s = Shape(x)\n n = Slice(s, i, j)\n t = Concat<axis = 0>(n, k)\n f = Reshape(map, t)\n y = Gemm(f, w)",
    {"i": np.array([0]), "j": np.array([1]), "k": np.array([-1]), "w": (12, 4)},
)
GRID = (6, 7)
Run = Callable[..., Any]


def asked(head: Head) -> tuple[Oracle, tuple[str, ...], Feeds, Feeds, list[tuple[int, ...]], dict[str, int | None]]:
    """An oracle, its outputs, maps of an enlarged image, inputs of the trained size, all cells, and the batch axes."""
    conversion = pipeline.prepare(*model_io.load(network(head)))
    images = head.batch if isinstance(head.batch, int) else 1
    image = integers((images, 1, 2 * (head.window[0] + GRID[0] - 1), 2 * (head.window[1] + GRID[1] - 1)), seed=3)
    known = Oracle(conversion.plan, runtime.OnnxRuntime())
    axes = {name: value.layout.before for name, value in conversion.outputs.items()}
    trained = {"x": image[:, :, : 2 * head.window[0], : 2 * head.window[1]]}
    return known, head.outputs, known.maps({"x": image}), trained, list(np.ndindex(*GRID)), axes


def equal(found: Feeds, expected: Feeds) -> bool:
    return all(np.array_equal(found[name], expected[name]) for name in expected)


def close(found: Feeds, expected: Feeds) -> bool:
    return all(np.allclose(found[name], expected[name], rtol=1e-6) for name in expected)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Images in each run of a head."""
    seen, run = [], runtime.Session.run

    def noted(self: runtime.Session, feeds: Feeds, outputs: Any = None) -> Feeds:
        found = run(self, feeds, outputs)
        seen.append(max(len(feeds[name]) for name in self.inputs))
        return found

    monkeypatch.setattr(runtime.Session, "run", noted)
    return seen


@pytest.mark.parametrize(
    ("head", "together"),
    [(MLP, True), (FOUR, True), (LAST, True), (MERGED, None), (ONE_ROW, False), (BARE, False), (ASKS, False)],
    ids=["MLP", "four images", "batch last", "rows", "one row", "no batch axis", "asks for the image"],
)
def test_answers_are_those_of_each_window_alone(
    head: Head, together: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, outputs, maps, trained, cells, axes = asked(head)
    alone = [known.answer(outputs, maps, cell, (2, 2), trained) for cell in cells]
    seen = counted(monkeypatch)
    found = known.answers(outputs, maps, cells, (2, 2), trained, axes, close).answers
    for name in outputs:
        expected = np.stack([a[name] for a in alone], -1)
        exact = name != "z"  # a softmax of several rows rounds as it likes
        np.testing.assert_allclose(found[name], expected, rtol=0 if exact else 1e-6)
    images = head.batch if isinstance(head.batch, int) else 1
    if together is not None:
        assert seen == ([images] * 3 + [images * len(cells)] if together else [images] * len(cells))


@pytest.mark.parametrize("most", [1, 2, 5, 41, 42, 43])
def test_a_batch_is_no_larger_than_its_room(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    known, outputs, maps, trained, cells, axes = asked(MLP)
    expected = known.answers(outputs, maps, cells, (2, 2), trained, axes, equal).answers
    monkeypatch.setattr(oracle, "ROOM", most * known._head_bytes())
    seen = counted(monkeypatch)
    found = known.answers(outputs, maps, cells, (2, 2), trained, axes, close).answers
    np.testing.assert_array_equal(found["y"], expected["y"])
    assert max(seen) == min(most, len(cells))
    assert sum(seen) == len(cells) + (3 if most > 1 else 0)


# -- what must not be believed -----------------------------------------------------------------------------------------


def mixes(answers: Feeds) -> Feeds:
    """Each answer with something of the others."""
    return {name: v + v.mean(0, keepdims=True) - v * (len(v) == 1) for name, v in answers.items()}


def in_another_order(answers: Feeds) -> Feeds:
    return {name: v[::-1] for name, v in answers.items()}


def last_is_lost(answers: Feeds) -> Feeds:
    return {name: v[:-1] if len(v) > 1 else v for name, v in answers.items()}


def all_are_the_first(answers: Feeds) -> Feeds:
    return {name: np.repeat(v[:1], len(v), 0) for name, v in answers.items()}


def summed_up(answers: Feeds) -> Feeds:
    return {name: v.sum(0, keepdims=True) if len(v) > 1 else v for name, v in answers.items()}


def refuses(answers: Feeds) -> Feeds:
    if len(next(iter(answers.values()))) > 1:
        raise RuntimeRefusal("one image only")
    return answers


@pytest.mark.parametrize(
    "wrong", [mixes, in_another_order, last_is_lost, all_are_the_first, summed_up, refuses], ids=lambda f: f.__name__
)
def test_a_head_that_mixes_the_images_of_a_batch_is_given_each_window_alone(
    wrong: Callable[[Feeds], Feeds], monkeypatch: pytest.MonkeyPatch
) -> None:
    known, outputs, maps, trained, cells, axes = asked(MLP)
    expected = [known.answer(outputs, maps, cell, (2, 2), trained) for cell in cells]
    run = runtime.Session.run
    monkeypatch.setattr(runtime.Session, "run", lambda self, feeds, names=None: wrong(run(self, feeds, names)))
    found = known.answers(outputs, maps, cells, (2, 2), trained, axes, close).answers
    for name in outputs:
        np.testing.assert_array_equal(found[name], np.stack([wrong(a)[name] for a in expected], -1))


def test_the_windows_that_are_run_alone_are_compared_in_every_batch() -> None:
    """The last batch is as suspicious as the first."""
    windows = [{"x": np.full((1, 2), i, np.float32)} for i in range(10)]
    ran: list[int] = []

    def run(feeds: Feeds) -> Feeds:
        ran.append(len(feeds["x"]))
        return {"y": feeds["x"] + (7 if len(ran) == 3 else 0)}

    alone = {i: {"y": windows[i]["x"]} for i in picks(10)}
    assert list(alone) == [0, 4, 9]
    assert Batches({"y": 0}, 4, equal).answers(run, windows.__getitem__, alone, 10) == []
    assert ran == [4, 4, 2]


def test_picks_are_windows_that_there_are() -> None:
    assert [list(picks(n)) for n in (1, 2, 3, 4)] == [[0], [0, 1], [0, 1, 2], [0, 1, 3]]


@pytest.mark.parametrize("cell", [(0, 1), (3, 2), (5, 5)])
def test_one_wrong_answer_among_many_is_rejected(cell: tuple[int, int]) -> None:
    """Of cells that were never run alone too."""
    original = network(MLP)
    conversion = pipeline.prepare(*model_io.load(original))
    size = (2 * (3 + GRID[0] - 1), 2 * (2 + GRID[1] - 1))

    def verifier(at: tuple[int, int] | None) -> Verifier:
        made = Verifier(conversion, conversion.proto, "", lambda *_: None)
        timed = made._timed

        def wrong(feeds: Feeds) -> tuple[Feeds, float]:
            found, took = timed(feeds)
            if at is not None:
                found["y"] = found["y"].copy()
                found["y"][(0, 1, *at)] += 0.01
            return found, took

        made._timed = wrong  # type: ignore[method-assign]
        return made

    verifier(None).run(conversion.sizes((size,)))
    with pytest.raises(fc2conv.VerificationFailed, match="windows: output 'y'"):
        verifier(cell).run(conversion.sizes((size,)))


def test_a_head_is_called_far_less_often_than_there_are_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    model: ModelProto = network(MLP)
    seen = counted(monkeypatch)
    report = fc2conv.convert(model, sizes=[(40, 40)]).report
    windows = next(c for c in report.checks if c.name == "windows")
    assert windows.cells == windows.cells_total == 342
    assert seen.count(342) == 1
    assert batches.ALONE < 10
