"""``same-size``: inference at the trained size, converted / original, in default sessions of onnxruntime.

Heads alone and whole networks, at several batch sizes: the head as plain Conv nodes, and in the form that ``--tune``
chooses for that batch. All take turns; the answers are compared first.
"""

from __future__ import annotations

import inspect
from functools import partial
from pathlib import Path

import onnx
from onnx import ModelProto

import onnx_fc2conv as fc2conv

from .models import inference_cases
from .plan import Plan, answer, image, require_same, session
from .tables import Table, duration
from .timing import medians

BATCHES = (1, 8, 32)
DETECTOR = Path(__file__).parents[2] / "models" / "reference_detector.onnx"
COLUMNS = ("model", "form", *(f"batch {n}" for n in BATCHES))
AT_LEAST = 0.2  #: seconds that the runs of one round take, so that short ones are repeated
MOST = 2000  #: repetitions


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
    plain = fc2conv.convert(model, verify=False).model
    for batch in BATCHES:
        forms = {"original": model, "plain Conv": plain}
        if tunes():
            options = {"tune": batch, "verify": False}
            forms["--tune"] = fc2conv.convert(model, **options).model  # type: ignore[arg-type]
        found = at_batch(name, forms, batch, plan.rounds)
        seconds[batch] = found.pop("original")
        for form, median in found.items():
            ratios.setdefault(form, {})[batch] = median / seconds[batch]
    cells = [duration(seconds[n]) for n in BATCHES]
    table.add((name, "original", *cells), model=name, form="original", seconds=seconds)
    for form, row in ratios.items():
        table.add(("", form, *(f"{row[n]:.2f}" for n in BATCHES)), model=name, form=form, ratios=row, pairs=plan.rounds)


def tunes() -> bool:
    """Whether ``convert`` has the option."""
    return "tune" in inspect.signature(fc2conv.convert).parameters


def at_batch(name: str, forms: dict[str, ModelProto], batch: int, rounds: int) -> dict[str, float]:
    """Median seconds of one run of each form."""
    sessions = {form: session(model) for form, model in forms.items()}
    feeds = image(sessions["original"], batch)
    expected = answer(sessions["original"], feeds)
    inner = {form: {s.get_inputs()[0].name: next(iter(feeds.values()))} for form, s in sessions.items()}
    for form, s in sessions.items():
        require_same(f"{name}, {form}, batch {batch}", answer(s, inner[form]), expected)
    ways = {form: partial(s.run, None, inner[form]) for form, s in sessions.items()}
    once = medians({"original": ways["original"]}, 1)["original"]
    count = max(1, min(MOST, int(AT_LEAST / rounds / once)))
    repeated = {form: partial(_repeated, way, count) for form, way in ways.items()}
    return {form: seconds / count for form, seconds in medians(repeated, rounds).items()}


def _repeated(way: partial[object], count: int) -> None:
    for _ in range(count):
        way()
