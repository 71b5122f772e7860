"""The detector of dresses: what it is, what it finds in a street, and that all is drawn from seeds alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

import onnx_fc2conv as fc2conv
from onnx_fc2conv import dtypes, heatmap
from onnx_fc2conv.heatmap import detection
from tools import bench_windows, dress_pictures
from tools.dress import samples
from tools.dress.street import Scene, street

MODEL = Path(__file__).parents[1] / "models" / "dress_64x128.onnx"
README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
SIZE = (512, 1024)
SEEDS = (16, 9, 6)
TERMS, NODES = 4 * 128, 9  #: products that the widest sum of the network has, and nodes with rounding


@pytest.fixture(scope="module")
def result() -> Any:
    return fc2conv.convert(MODEL, sizes=[SIZE])


@pytest.fixture(scope="module")
def loaded(result: Any) -> heatmap.Loaded:
    return heatmap.load(result.model)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [street(seed) for seed in SEEDS]


# -- the model -------------------------------------------------------------------------------------------------------


def test_it_sees_no_farther_than_its_stride() -> None:
    """Every kernel is its stride, or 1x1, and none pads: the map of a crop is the crop of the map."""
    nodes = [n for n in onnx.load(MODEL).graph.node if n.op_type in ("Conv", "MaxPool")]
    kernels = []
    for node in nodes:
        given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        assert set(given) == {"kernel_shape", "strides"}, "no pads, dilations or groups"
        assert given["kernel_shape"] == given["strides"]
        kernels.append(given["kernel_shape"])
    assert np.prod(kernels, 0).tolist() == [32, 32]
    assert [n.op_type for n in onnx.load(MODEL).graph.node][-5:] == ["Flatten", "Gemm", "Tanh", "Gemm", "Sigmoid"]


def test_all_403_answers_are_those_of_the_403_crops(result: Any, scenes: list[Scene]) -> None:
    """By a plain loop over crops of a street, in one batch through the original."""
    assert (result.report.verdict, result.geometry.grid_size(SIZE)) == ("exact", (13, 31))
    checks = {c.name: c for c in result.report.checks if c.size == list(SIZE)}
    assert (checks["windows"].cells, checks["windows"].cells_total) == (403, 403)
    assert checks["image crops"].passed
    picture = np.asarray(scenes[0].picture, np.float32).transpose(2, 0, 1) / 255
    crops = [picture[:, 32 * i : 32 * i + 128, 32 * j : 32 * j + 64] for i in range(13) for j in range(31)]
    expected = ort.InferenceSession(MODEL).run(None, {"input": np.stack(crops)})[0].reshape(13, 31)
    (found,) = ort.InferenceSession(result.model.SerializeToString()).run(None, {"input": picture[None]})
    assert found.shape == (1, 1, 13, 31)
    assert np.abs(found[0, 0] - expected).max() <= dtypes.tolerance(TensorProto.FLOAT, TERMS, NODES)
    assert np.ptp(expected) > 0.5, "some windows are dresses"


def test_it_has_learnt() -> None:
    """On windows that neither training nor the held-out set has: another seed."""
    seen = samples.windows(99, 1, 60)
    images = seen.pictures.transpose(0, 3, 1, 2).astype(np.float32) / 255
    answers = ort.InferenceSession(MODEL).run(None, {"input": images})[0][:, 0]
    dress = seen.answers >= samples.SURE
    none = seen.answers == 0
    assert min(dress.sum(), none.sum()) > 40
    assert (answers[dress] > 0.5).mean() > 0.9
    assert (answers[none] < 0.5).mean() > 0.9


# -- the street ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", range(len(SEEDS)), ids=[f"seed {s}" for s in SEEDS])
def test_every_dress_of_a_street_is_found(index: int, loaded: heatmap.Loaded, scenes: list[Scene]) -> None:
    scene = scenes[index]
    assert scene.picture.size == (SIZE[1], SIZE[0])
    assert len(scene.dresses) >= 4
    found, alarms = dress_pictures.judged(scene, heatmap.detect(loaded, scene.picture))
    assert min(found) >= 0.5, found
    assert alarms <= 1


def test_without_suppression_there_are_more_alarms(
    loaded: heatmap.Loaded, scenes: list[Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detection, "suppressed", lambda boxes, scores, iou, top: list(np.argsort(-scores)))
    boxes = [heatmap.detect(loaded, scene.picture, threshold=0.3) for scene in scenes]
    assert sum(map(len, boxes)) > 1.5 * sum(len(scene.dresses) for scene in scenes)


def test_boxes_that_are_elsewhere_are_noticed(loaded: heatmap.Loaded, scenes: list[Scene]) -> None:
    """The judge itself: boxes one window to the side find nothing, and each is an alarm."""
    found = heatmap.detect(loaded, scenes[0].picture)
    moved = [heatmap.Detection((d.box[0], d.box[1] + 64, d.box[2], d.box[3] + 64), d.score, 1.0) for d in found]
    overlap, alarms = dress_pictures.judged(scenes[0], moved)
    assert min(overlap) < 0.5
    assert alarms >= len(found) - 1
    assert dress_pictures.judged(scenes[0], []) == ([0.0] * len(scenes[0].dresses), 0)


def test_drawing_is_deterministic(scenes: list[Scene]) -> None:
    again = street(SEEDS[0])
    assert again.dresses == scenes[0].dresses
    assert again.picture.tobytes() == scenes[0].picture.tobytes()
    assert street(SEEDS[0] + 1).picture.tobytes() != scenes[0].picture.tobytes()
    first, second = (samples.windows(3, 0, 3) for _ in range(2))
    np.testing.assert_array_equal(first.pictures, second.pictures)
    np.testing.assert_array_equal(first.answers, second.answers)


ANSWERS = [
    # window at, dress's window, answer
    ((0, 0), (0, 0, 128, 64), 1.0),
    ((0, 16), (0, 0, 128, 64), 0.8),
    ((25, 0), (0, 0, 128, 64), 0.4),
    ((0, 34), (0, 0, 128, 64), 0.0),
    ((-34, 0), (0, 0, 128, 64), 0.0),
    ((64, 32), (0, 0, 256, 128), 0.0),
    ((100, 200), (100, 200, 228, 264), 1.0),
]


@pytest.mark.parametrize(("window", "dress", "expected"), ANSWERS)
def test_the_right_answer_falls_with_the_distance(window: Any, dress: Any, expected: float) -> None:
    assert samples.answer(window, (dress,)) == pytest.approx(expected)


# -- what is printed -------------------------------------------------------------------------------------------------


def test_the_benchmark_compares_five_ways() -> None:
    rows = bench_windows.rows(onnx.load(MODEL), rounds=1)
    assert [row[1] for row in rows] == ["1", "1 + 403 heads", "1 + 1 head of 403", "403", "1 of 403"]
    assert rows[0][-1] == "1"
    assert all(float(row[-1]) > 0 for row in rows)


def test_the_benchmark_notices_other_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_windows, "crops", lambda v, w, s: reversed(list(crops(v, w, s))))
    with pytest.raises(SystemExit, match="other answers"):
        bench_windows.rows(onnx.load(MODEL), rounds=1)


crops = bench_windows.crops


def test_the_pictures_of_the_readme(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dress_pictures.main(["--out", str(tmp_path)]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0] == "| " + " | ".join(dress_pictures.COLUMNS) + " |"
    assert re.fullmatch(r"\| 32 \| 13 x 31 = 403 \| 0\.\d\d \| 5 of 5 \| [01] \|", table[2])
    assert re.fullmatch(r"\| 8 \| 49 x 121 = 5929 \| 0\.\d\d \| 5 of 5 \| [01] \|", table[3])
    assert all(line in README for line in table)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dresses_32.jpg", "dresses_8.jpg", "street.jpg"]
    for path in tmp_path.iterdir():
        assert path.stat().st_size < 300_000
        assert (dress_pictures.PICTURES / path.name).stat().st_size < 300_000


# -- training --------------------------------------------------------------------------------------------------------


def test_what_has_not_learnt_enough_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A few steps of training; what they give is the same in ONNX, which the command itself holds."""
    pytest.importorskip("torch", reason="torch is not installed")
    from tools import train_dress_detector

    def few(seed: int, parts: int, what: str = "") -> samples.Windows:
        return samples.windows(seed, 0, 130)

    monkeypatch.setattr(train_dress_detector, "drawn", few)
    assert train_dress_detector.main(["--epochs", "3", "--out", str(tmp_path / "x.onnx")]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("130 windows to learn from, 130 more in the end\nepoch 1 of 3: loss ")
    assert out.count("loss") == 4
    assert err == "less than 98%: nothing was written\n"
    assert not list(tmp_path.iterdir())
    right = samples.Windows(np.zeros((4, 1, 1, 3), np.uint8), np.array([1.0, 0.0, 0.5, 0.9], np.float32))
    found = train_dress_detector.accuracy(np.array([0.9, 0.8, 0.0, 0.4]), right)
    assert found == pytest.approx((1 / 3, 1 / 2, 0.0)), "a window that is neither does not count"
