"""What ``tools/fuzz.py --save`` has written down is fine by now."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

import onnx_fc2conv as fc2conv
from tools.fuzzing import cases, network_trial
from tools.fuzzing.trial import Trial

FOLDER = Path(__file__).parents[1] / "fuzz_cases"


@pytest.mark.parametrize("name", sorted(p.parent.name for p in FOLDER.glob("*/case.json")))
def test_a_case_that_failed_once(name: str, tmp_path: Path) -> None:
    verdict = cases.again(FOLDER / name, tmp_path)
    assert not verdict.failed, verdict


def test_another_reading_excuses_no_mistake(tmp_path: Path) -> None:
    """A view of one size that the package takes for the start of the head, and the generator for a step before it."""
    shutil.copy(FOLDER / "network-400-26440" / "in.onnx", tmp_path)
    trial = Trial(tmp_path, "onnx-fc2conv", ("--quiet", "--no-verify"))
    fc2conv.convert(tmp_path / "in.onnx").save(trial.output)
    assert network_trial._right_otherwise(trial)
    model = onnx.load(trial.output)
    kernel = next(t for t in model.graph.initializer if list(t.dims) == [3, 2, 1, 2, 3])
    kernel.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(kernel)[:, :, :, ::-1].copy(), kernel.name))
    onnx.save(model, trial.output)
    assert not network_trial._right_otherwise(trial)
