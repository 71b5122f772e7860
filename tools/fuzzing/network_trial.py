"""Judging the conversion of a network that the generator knows: every output, every cell, and the way back."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from .law import Answers, difference, excused, in_form, on_crops, on_windows
from .networks import Network, Plan, build, inputs_at
from .pairs import Pair, Unjudged, judge
from .runtime import CannotRun, Feeds, Session, values_of
from .trial import Trial, Verdict, run

IMAGES = 2
REPORT = "report.json"
NOT_LOADED = "[ONNXRuntimeError]"
LAST_BITS = re.compile(r"differs by [\d.]+e-1[1-9]")  #: of float64, beyond which there is nothing to compare with
SATURATES = "products saturate"  #: on some processors, which the message says; no conversion can be checked there


def perform(plan: Plan, folder: Path) -> Verdict:
    """Write the network, convert it, judge it, take it back."""
    network = build(plan)
    if network is None:
        return Verdict("illegal", "no network comes of this plan")
    try:
        onnx.checker.check_model(network.model)
        Session(network.model).run({"x": inputs_at(network, network.size, IMAGES)})
    except (CannotRun, onnx.checker.ValidationError) as e:
        return Verdict("illegal", str(e)[:300])
    (folder / "in.onnx").write_bytes(network.model.SerializeToString())
    if plan["program"] == "onnx-conv2fc":
        return _lowered(plan, folder)
    return convert(network, tuple(plan["options"]), plan["report"], folder)


def convert(network: Network, options: tuple[str, ...], report: bool, folder: Path) -> Verdict:
    """Convert the network that lies there, judge it, take it back."""
    wanted = ("--report", str(folder / REPORT)) if report else ()
    trial = Trial(folder, "onnx-fc2conv", ("--quiet", *options, *wanted), may_also=(REPORT,))
    verdict = run(trial, lambda t: judged(network, t))
    if verdict.kind == "rejected" and NOT_LOADED in verdict.text and "--no-verify" not in options:
        (folder / "out.onnx").unlink(missing_ok=True)
        plain = convert(network, (*options, "--no-verify"), report, folder)
        return plain if plain.failed else verdict  # onnxruntime's optimiser fails, and runs what was written without
    known = SATURATES in verdict.text or ("reference" in options and LAST_BITS.search(verdict.text))
    if verdict.kind == "rejected" and not known:
        return Verdict("check failed", verdict.text, verdict.code)
    return verdict if verdict.kind not in ("ok", "headless", "reread") else _taken_back(folder) or verdict


def _lowered(plan: Plan, folder: Path) -> Verdict:
    """The other direction: products in place of Convs."""
    from .trial import judged as compared

    form = ("--form", "dense", "--max-bytes", "20000000") if plan["more"] == 0 else ()
    checked = () if plan["report"] else ("--no-verify",)
    runtime = ("--runtime", "reference") if plan["dtype"] == "float64" else ()
    verdict = run(Trial(folder, plan["program"], ("--quiet", *form, *checked, *runtime)), compared)
    return Verdict("check failed", verdict.text, verdict.code) if verdict.kind == "rejected" else verdict


def _taken_back(folder: Path) -> Verdict | None:
    """``--revert`` gives the original again; ``None`` if it does."""
    trial = Trial(folder, "onnx-conv2fc", ("--quiet", "--revert", "--no-verify"), source="out.onnx", target="back.onnx")
    verdict = run(trial)
    if verdict.failed:
        return verdict
    if verdict.kind != "ok":
        return Verdict("not reverted", verdict.text, verdict.code)
    before, after = (onnx.load(str(folder / n)) for n in ("in.onnx", "back.onnx"))
    return None if before == after else Verdict("not reverted", "what came back is another model", 0)


class Broken(Exception):
    """What was written does not run."""


class Converted(Session):
    """What was written, loaded; its failures are told from those of the oracle."""

    def __init__(self, path: str) -> None:
        try:
            super().__init__(path)
        except CannotRun as e:
            raise Broken(str(e)) from e

    def run(self, feeds: Feeds, outputs: Sequence[str] | None = None) -> Feeds:
        """The outputs by name."""
        try:
            return super().run(feeds, outputs)
        except CannotRun as e:
            raise Broken(f"{e}, on {[list(v.shape) for v in feeds.values()]}") from e


def judged(network: Network, trial: Trial) -> Verdict | None:
    """What is wrong with the converted file; ``None`` if nothing is."""
    options = trial.options
    try:
        converted = Converted(str(trial.output))
        wrong = _at_the_trained_size(network, converted, options)
        if wrong is None and _reads_no_head(network, trial):
            return _as_a_whole(network, converted)
        if wrong is None and "--static" not in options:
            wrong = _enlarged(network, converted, options)
        if wrong and "--output" in options and _as_a_whole(network, converted).kind == "headless":
            return Verdict("headless", "read without a head", 0)
        if wrong is None and "--report" in options:
            wrong = _promised(network, converted, trial)
    except Broken as e:
        wrong = f"what was written does not run: {e}"[:500]
    except CannotRun as e:
        return Verdict("oracle failed", str(e)[:500], 0)
    if wrong and _right_otherwise(trial):
        return Verdict("reread", f"right, and read with other spatial axes or another map: {wrong}", 0)
    return Verdict("wrong", wrong, 0) if wrong else None


def _right_otherwise(trial: Trial) -> bool:
    """Whether every output obeys the law by what the file claims of itself, at a map that the generator did not mean.

    A pool over the whole map may be read as a step of the backbone, a view of one size as the start of a head, and an
    image that no Conv reads as one of other axes.
    """
    options = trial.options
    form = options[options.index("--output") + 1] if "--output" in options else "map"
    try:
        pair = Pair.load(str(trial.folder / trial.source), str(trial.output), form, "--stride" in options)
        every = bool(pair.images) and set(pair.claims) >= set(pair.original.outputs)
        return every and judge(pair) is None
    except (Unjudged, CannotRun):
        return False


def _reads_no_head(network: Network, trial: Trial) -> bool:
    """Whether some output got no grid: the package took the network for one without a head there."""
    ranks = {o.name: len(o.type.tensor_type.shape.dim) for o in onnx.load(str(trial.output)).graph.output}
    gridded = {o.name: len(o.type.tensor_type.shape.dim) + len(network.size) for o in network.model.graph.output}
    plain = not {"--output", "--static", "--global-pool"} & set(trial.options)
    return plain and any(ranks[n] != gridded[n] for n, cut_at in network.cuts.items() if cut_at != n)


def _as_a_whole(network: Network, converted: Session) -> Verdict:
    """Then the original itself is right at any size that it runs at."""
    size = [n + s for n, s in zip(network.size, network.trace.stride, strict=True)]
    feeds = {"x": inputs_at(network, size, IMAGES, seed=3)}
    try:
        expected = Session(network.oracle).run(feeds)
    except CannotRun:
        return Verdict("headless", "read as a network without a head, and the original does not run at other sizes", 0)
    found = converted.run(feeds)
    wrong = [f"'{n}' {w}" for n, v in expected.items() if (w := difference(found[n], v, n in network.exact))]
    return (
        Verdict("wrong", f"{wrong[0]}, read without a head", 0)
        if wrong
        else Verdict("headless", "read without a head", 0)
    )


def _at_the_trained_size(network: Network, converted: Session, options: tuple[str, ...]) -> str | None:
    static = "--static" in options
    for batch in (1, 3):
        feeds = {"x": inputs_at(network, network.size, batch, seed=batch)}
        expected, found = Session(network.model).run(feeds), converted.run(feeds)
        for name, want in expected.items():
            have = found[name]
            if "--stride" in options and network.cuts[name] == name:
                have = every(network, have, int(options[options.index("--stride") + 1]))
            if have.shape != want.shape and (static or have.size != want.size):
                return f"output '{name}' has shape {have.shape} at the trained size, the original's is {want.shape}"
            run = partial(Session(network.model).run, outputs=[name])
            wrong = excused(run, feeds, name, have.reshape(want.shape), want, name in network.exact)
            if wrong:
                return f"output '{name}' {wrong} at the trained size"
    return None


def _enlarged(network: Network, converted: Session, options: tuple[str, ...]) -> str | None:
    """The law at two larger sizes."""
    form = options[options.index("--output") + 1] if "--output" in options else "map"
    denser = options[options.index("--stride") + 1] if "--stride" in options else None
    for grow in ([1, 2, 1], [2, 0, 1]):
        size = [n + g * s for n, g, s in zip(network.size, grow, network.trace.stride, strict=False)]
        if "keep" in options:
            wrong = _whole(network, converted, size)
        elif denser is not None:
            wrong = _denser(network, converted, size, int(denser))
        else:
            wrong = _by_windows(network, converted, size, form, "--dynamic-batch" in options)
        if wrong:
            return f"{wrong} at {'x'.join(map(str, size))}"
    return None


def _by_windows(network: Network, converted: Session, size: list[int], form: str, any_batch: bool) -> str | None:
    image = inputs_at(network, size, IMAGES, seed=sum(size))
    expected = law(network, image)
    feeds = image
    if any_batch:
        other = inputs_at(network, size, IMAGES, seed=1)
        feeds = np.concatenate([image, other])
        more = law(network, other)
        expected = {n: np.concatenate([v, more[n]]) for n, v in expected.items()}
    found = converted.run({"x": feeds})
    for name, want in expected.items():
        is_map = network.cuts[name] == name
        whole = want if is_map else in_form(want, len(size), form)
        wrong = difference(found[name], whole, name in network.exact and form != "mean")
        if wrong and not any_batch and form == "map":  # the original itself may move as far when its image does
            wrong = excused(
                lambda f: law(network, f["x"]), {"x": image}, name, found[name], want, name in network.exact
            )
        if wrong:
            return f"output '{name}' {wrong}"
    return None if form != "map" or any_batch else _by_crops(network, image, found, network.trace.stride)


def law(network: Network, image: np.ndarray) -> Answers:
    """Every output as the law gives it, with the grid axes appended."""
    trained = {"x": inputs_at(network, network.size, IMAGES)}
    result: Answers = {}
    for name, cut_at in network.cuts.items():
        if cut_at == name:
            result[name] = values_of(network.oracle, [name], {"x": image})[name]
            continue
        axes = list(range(2, 2 + len(network.size)))
        result |= on_windows(network.oracle, {"x": image}, trained, cut_at, axes, [name])
    return result


def _by_crops(network: Network, image: np.ndarray, found: Answers, stride: list[int]) -> str | None:
    """The whole original on image crops, where nothing pads and nothing looks further."""
    last = network.last
    names = [n for n, cut_at in network.cuts.items() if cut_at == last and n != last]
    if network.trace.padded or network.trace.whole or not names:
        return None
    return _crops_differ(network, image, found, stride, names)


def _crops_differ(
    network: Network, image: np.ndarray, found: Answers, stride: list[int], names: list[str]
) -> str | None:
    grid = found[names[0]].shape[-len(stride) :]
    want = on_crops(Session(network.model), {"x": image}, {"x": (network.axes, network.size, stride)}, grid, names)
    for name in names:
        wrong = difference(found[name], want[name], name in network.exact)
        if wrong:
            return f"output '{name}' {wrong}, by image crops,"
    return None


def _denser(network: Network, converted: Session, size: list[int], stride: int) -> str | None:
    """With ``--stride``: by image crops where nothing pads; else every k-th answer is what it was."""
    image = inputs_at(network, size, IMAGES, seed=sum(size))
    found = converted.run({"x": image})
    for name, want in law(network, image).items():
        have = every(network, found[name], stride)
        if network.cuts[name] != network.last:
            continue
        wrong = difference(have, want, name in network.exact)
        if wrong:
            return f"output '{name}' {wrong} (every k-th)"
    own = [s // _ratio(s, stride) for s in network.trace.stride]
    return _by_crops(network, image, found, own)


def every(network: Network, values: np.ndarray, stride: int) -> np.ndarray:
    """Every k-th cell of a denser grid."""
    steps = [_ratio(s, stride) for s in network.trace.stride]
    place: Any = (..., *(slice(None, None, k) for k in steps))
    found: np.ndarray = values[place]
    return found


def _ratio(coarse: int, fine: int) -> int:
    return max(coarse // fine, 1)


def _whole(network: Network, converted: Session, size: list[int]) -> str | None:
    """With ``--global-pool keep`` there is one answer for the whole image: the original's own, where it runs."""
    feeds = {"x": inputs_at(network, size, IMAGES, seed=sum(size))}
    try:
        expected = Session(network.model).run(feeds)
    except CannotRun:
        return None
    if not network.pools:
        return None
    found = converted.run(feeds)
    for name, want in expected.items():
        if found[name].size != want.size:
            return f"output '{name}' has shape {found[name].shape} for one answer"
        wrong = difference(found[name].reshape(want.shape), want, name in network.exact)
        if wrong:
            return f"output '{name}' {wrong} (whole image)"
    return None


def _promised(network: Network, converted: Session, trial: Trial) -> str | None:
    """Where the report says "exact", image crops must give the same answers, whatever the generator believes."""
    report: dict[str, Any] = json.loads((trial.folder / REPORT).read_text(encoding="utf-8"))
    last = network.last
    names = [n for n, cut_at in network.cuts.items() if cut_at == last and n != last]
    plain = not {"--output", "--stride", "--static", "--global-pool"} & set(trial.options)
    if report.get("verdict") != "exact" or not plain or not names:
        return None
    size = [n + s for n, s in zip(network.size, network.trace.stride, strict=True)]
    image = inputs_at(network, size, IMAGES, seed=3)
    wrong = _crops_differ(network, image, converted.run({"x": image}), network.trace.stride, names)
    return f"the report says exact, and {wrong}" if wrong else None
