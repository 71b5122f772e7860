"""Draw dresses and the rest, train the detector of dresses on them, and write it as ONNX.

``python -m tools.train_dress_detector`` writes ``models/dress_64x128.onnx`` (needs the extra ``train``; it draws and
learns for well over ten minutes on two cores), and prints its accuracy on windows that it has not seen. Then ``python
tools/make_models.py`` writes the manifest.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import ModelProto

from tools.dress.network import Detector, folded, to_onnx
from tools.dress.samples import Windows, mistakable, windows
from tools.dress.training import LAST_RATE, answers_of, train

MODEL = Path(__file__).parent.parent / "models" / "dress_64x128.onnx"
#: seeds of what it learns from, of what it is judged by, and of what it learns from last
SEEN, HELD_OUT, LAST = 1, 2, 3
PART = 10  #: streets that one process draws at a time, and 20 times as many windows by themselves
REQUIRED = 0.98  #: accuracy on the held-out windows of streets
ROUNDING = 1e-4  #: of a probability, between torch and onnxruntime


def drawn(seed: int, parts: int, what: str = "any") -> Windows:
    """So many parts of windows, on all cores; what is drawn does not depend on how many these are.

    Args:
        seed: everything follows from it.
        parts: how many.
        what: ``"street"``, of streets; ``"alone"``, drawn one by one on any ground, which is harder; ``"any"``, both;
            ``"people"``, at people, who are easily mistaken.
    """
    with ProcessPoolExecutor() as pool:
        return joined(list(pool.map(_part, [(seed * 100_000 + i, what) for i in range(parts)])))


def _part(which: tuple[int, str]) -> Windows:
    seed, what = which
    if what == "people":
        return mistakable(seed, PART)
    return windows(seed, 0 if what == "alone" else PART, 0 if what == "street" else 20 * PART)


def joined(parts: Sequence[Windows]) -> Windows:
    """Several sets as one."""
    return Windows(np.concatenate([w.pictures for w in parts]), np.concatenate([w.answers for w in parts]))


def learn(parts: int, epochs: int) -> Detector:
    """Learn from everything, then, with smaller steps, from half of that and what is easily mistaken."""
    seen, last = drawn(SEEN, parts), drawn(LAST, max(parts // 3, 1), "people")
    print(f"{len(seen.answers)} windows to learn from, {len(last.answers)} more in the end", flush=True)
    detector = folded(train(seen, epochs, SEEN, _say))
    half = len(seen.answers) // 2
    mixed = joined([last, Windows(seen.pictures[:half], seen.answers[:half])])
    return train(mixed, max(epochs * 3 // 10, 1), SEEN + 1, _say, LAST_RATE, detector)


def _say(line: str) -> None:
    print(line, flush=True)


def accuracy(answers: np.ndarray, right: Windows) -> tuple[float, float, float]:
    """The share of right answers among the windows that are clearly a dress or none; of the dresses; of the others."""
    dress, none = right.answers[right.sure] > 0, right.answers[right.sure] == 0
    correct = (answers[right.sure] > 0.5) == dress
    return float(correct.mean()), float(correct[dress].mean()), float(correct[none].mean())


def judged(model: ModelProto, detector: Detector, held_out: Windows, words: str) -> float:
    """Print the accuracy of the ONNX model, which must be the trained one, and return it."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    images = held_out.pictures.transpose(0, 3, 1, 2).astype(np.float32) / 255
    answers = np.concatenate([session.run(None, {"input": part})[0][:, 0] for part in np.array_split(images, 20)])
    assert np.abs(answers - answers_of(detector, held_out)).max() < ROUNDING, "the ONNX model is not the trained one"
    overall, dresses, rest = accuracy(answers, held_out)
    count = int(held_out.sure.sum())
    print(
        f"held out, {count} windows {words}: {overall:.2%} right, {dresses:.2%} of the dresses, {rest:.2%} of the rest"
    )
    return overall


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 1 if the detector is not good enough, and then nothing is written."""
    parser = argparse.ArgumentParser(prog="train_dress_detector", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=MODEL, metavar="FILE", help="default: models/dress_64x128.onnx")
    parser.add_argument("--parts", type=int, default=24, metavar="N", help="of 1,600 windows (default: 24)")
    parser.add_argument("--epochs", type=int, default=10, metavar="N", help="default: 10")
    arguments = parser.parse_args(argv)
    detector = learn(arguments.parts, arguments.epochs)
    model = to_onnx(detector)
    onnx.checker.check_model(model, full_check=True)
    parts = max(arguments.parts // 6, 1)
    overall = judged(model, detector, drawn(HELD_OUT, parts, "street"), "of streets")
    judged(model, detector, drawn(HELD_OUT, parts, "alone"), "drawn one by one, on any ground")
    if overall < REQUIRED:
        print(f"less than {REQUIRED:.0%}: nothing was written", file=sys.stderr)
        return 1
    arguments.out.write_bytes(model.SerializeToString(deterministic=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
