"""Hundreds of models of real exporters, outside of this repository: each is converted, left alone or refused.

Whether the answers are right is judged elsewhere; here: the right exit code, one readable line, nothing else written.
"""

from __future__ import annotations

import hashlib
import json
import os
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.test_cli import call

CORPUS = Path(os.environ.get("ONNX_FC2CONV_CORPUS") or Path(__file__).parents[2] / "shared" / "models")
MANIFEST = CORPUS / "manifest.json"
MODELS: list[dict[str, Any]] = json.loads(MANIFEST.read_text(encoding="utf-8"))["models"] if MANIFEST.is_file() else []
HUGE = 500 * 2**20  #: bytes

#: models that should be converted and are not yet: glob -> part of the reason
REFUSED = {
    "edge/extdir/ext_per_tensor.onnx": "does not exist",
}

EXIT_CODES = {
    "must_convert": {0},
    "may_refuse": {0, 1, 2, 3},
    "must_be_unchanged": {0, 1},
    "must_refuse": {1, 2, 3},
}

needs_corpus = pytest.mark.skipif(not MODELS, reason="no corpus here; name its folder in ONNX_FC2CONV_CORPUS")


def expected_refusal(path: str) -> str | None:
    """Part of the reason why a model is refused that should be converted."""
    return next((reason for glob, reason in REFUSED.items() if fnmatch(path, glob)), None)


@needs_corpus
@pytest.mark.parametrize("entry", MODELS, ids=[entry["path"] for entry in MODELS])
def test_model(entry: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = CORPUS / entry["path"], tmp_path / "out.onnx"
    if source.stat().st_size > HUGE:
        pytest.skip("huge")
    before = hashlib.sha256(source.read_bytes()).hexdigest()
    ran = call(capsys, source, target, "--quiet")
    assert hashlib.sha256(source.read_bytes()).hexdigest() == before
    reason = expected_refusal(entry["path"])
    assert ran.code in (EXIT_CODES[entry["class"]] if reason is None else {1, 2}), ran
    if ran.code == 0:
        assert ran.clean() == ""
        assert onnx.load(target, load_external_data=False).graph.output
    else:
        line = ran.one_line(1, 2, 3)
        assert "internal error" not in line
        assert reason is None or reason in line
        assert not list(tmp_path.iterdir())


@needs_corpus
@pytest.mark.parametrize("glob", REFUSED)
def test_every_listed_refusal_is_about_a_model(glob: str) -> None:
    assert any(fnmatch(entry["path"], glob) and entry["class"] == "must_convert" for entry in MODELS)


@needs_corpus
def test_every_class_of_the_corpus_is_judged() -> None:
    assert {entry["class"] for entry in MODELS} == set(EXIT_CODES)
