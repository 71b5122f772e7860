"""``same-size``: inference at the trained size, converted / original, in default sessions of onnxruntime.

Heads alone and whole networks, at several batch sizes: the head as plain Conv nodes, and in the form that ``--tune``
chooses for that batch. All take turns, quick models more of them; the answers are compared first.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto

import onnx_fc2conv as fc2conv

from .models import inference_cases
from .plan import Plan, answer, image, require_same, session
from .tables import Table, duration

BATCHES = (1, 8, 32)
DETECTOR = Path(__file__).parents[2] / "models" / "reference_detector.onnx"
ORIGINAL = "original"
COLUMNS = ("model", "form", *(f"batch {n}" for n in BATCHES))
TURN = 0.02  #: seconds that the runs of one turn take, so that short ones are repeated
TURNS, SPENT = 41, 20.0  #: turns, and seconds that they may take, if the rounds that were asked for do not take more
SETTLED = 0.005  #: seconds after which no thread of the session that ran before spins for work


def run(plan: Plan) -> list[Table]:
    """Measure all models."""
    about = (__doc__ or "").partition("\n\n")[2].replace("\n", " ").strip()
    table = Table("bench same-size", about, COLUMNS)
    for name, case in inference_cases(plan.small).items():
        measure(name, case.made(), plan, table)
    measure("64x128 detector (reference_detector.onnx)", onnx.load(DETECTOR), plan, table)
    return [table]


def measure(name: str, model: ModelProto, plan: Plan, table: Table) -> None:
    """The rows of one model."""
    ratios: dict[str, dict[int, float]] = {}
    seconds: dict[int, float] = {}
    turns: dict[int, int] = {}
    plain = fc2conv.convert(model, verify=False).model
    for batch in BATCHES:
        tuned = fc2conv.convert(model, tune=batch, verify=False)
        forms = {ORIGINAL: model, "plain Conv": plain, "--tune": tuned.model}
        found = at_batch(name, forms, batch, plan.rounds)
        seconds[batch], turns[batch] = statistics.median(found[ORIGINAL]), len(found[ORIGINAL])
        for form in forms.keys() - {ORIGINAL}:
            pairs = zip(found[form], found[ORIGINAL], strict=True)
            ratios.setdefault(form, {})[batch] = statistics.median(a / b for a, b in pairs)
    table.add((name, ORIGINAL, *(duration(seconds[n]) for n in BATCHES)), model=name, form=ORIGINAL, seconds=seconds)
    for form in ("plain Conv", "--tune"):
        row = ratios[form]
        table.add(("", form, *(f"{row[n]:.2f}" for n in BATCHES)), model=name, form=form, ratios=row, pairs=turns)


def at_batch(name: str, forms: dict[str, ModelProto], batch: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of one run of each form, turn by turn."""
    sessions = {form: session(model) for form, model in forms.items()}
    feeds = image(sessions[ORIGINAL], batch)
    expected = answer(sessions[ORIGINAL], feeds)
    inner = {form: {s.get_inputs()[0].name: next(iter(feeds.values()))} for form, s in sessions.items()}
    for form, s in sessions.items():
        require_same(f"{name}, {form}, batch {batch}", answer(s, inner[form]), expected)
    found: dict[str, list[float]] = {form: [] for form in forms}
    once = taken(sessions[ORIGINAL], feeds, 1)
    count = max(1, int(TURN / once))
    for _ in range(max(rounds, min(TURNS, int(SPENT / (count * once * len(forms)))))):
        for form, s in sessions.items():
            time.sleep(SETTLED)
            found[form].append(taken(s, inner[form], count) / count)
    return found


def taken(session: Any, feeds: dict[str, np.ndarray], count: int) -> float:
    """Seconds of so many runs."""
    start = time.perf_counter()
    for _ in range(count):
        session.run(None, feeds)
    return time.perf_counter() - start
