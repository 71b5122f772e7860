"""The options of the reverse direction: validated where they are made, the same in Python and on the command line."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any

import pytest

import onnx_fc2conv as fc2conv
from onnx_fc2conv import UsageError
from onnx_fc2conv.settings import ReverseSettings

BAD: list[tuple[dict[str, Any], str]] = [
    ({"form": "toeplitz"}, "none of matmul, dense"),
    ({"form": None}, "none of matmul, dense"),
    ({"sizes": ((0, 1),)}, "positive pixel counts"),
    ({"max_bytes": 0, "form": "dense"}, "whole number of at least 1"),
    ({"max_bytes": 1.5, "form": "dense"}, "whole number of at least 1"),
    ({"max_bytes": 5}, "--form dense"),
    ({"strict": True}, "--form dense"),
    ({"pointwise_only": True, "form": "dense"}, "--form matmul"),
    ({"sizes": ((8, 8), (9, 9)), "form": "dense"}, "once"),
    ({"sizes": ((8, 8), (9, 9)), "revert": True}, "once"),
    ({"revert": True, "skip": ("a",)}, "leave --skip out"),
    ({"revert": True, "pointwise_only": True}, "leave --pointwise-only out"),
    ({"runtime": "tensorrt"}, "none of onnxruntime, reference"),
    ({"report": "r.txt"}, "must end in .json or .md"),
]


@pytest.mark.parametrize(("options", "said"), BAD, ids=str)
def test_bad_options_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ReverseSettings(**options)


def test_every_option_has_a_help_in_one_line() -> None:
    for option in fields(ReverseSettings):
        help_ = option.metadata["help"]
        assert help_ == " ".join(help_.split())
        assert not help_.endswith(".")
        assert len(help_) > 10


def test_the_api_has_the_same_options_and_defaults() -> None:
    written = {
        "report",
        "quiet",
        "revert",
        "share_data",
    }  # of the command line, functions of their own, and of ``save``
    settings = {f.name: f.default for f in fields(ReverseSettings) if f.name not in written}
    parameters = list(inspect.signature(fc2conv.convolution_to_matmul).parameters.values())[1:]
    assert {p.name: p.default for p in parameters} == settings
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters)
    back = list(inspect.signature(fc2conv.revert).parameters.values())[1:]
    assert {p.name: p.default for p in back} == {"size": None, "verify": True, "runtime": "onnxruntime"}
