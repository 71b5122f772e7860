"""Heads in every form, made and run without measuring anything."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import ModelProto

from onnx_fc2conv import model_io, pipeline
from onnx_fc2conv.conversion import Conversion
from onnx_fc2conv.draft import Draft
from onnx_fc2conv.head_form import FORMS, PLAIN
from onnx_fc2conv.settings import Settings
from onnx_fc2conv.tuning import find, fitting

from ..networks import Head, answers_over, feeds_of, network, places_of, session

OTHERS = tuple(form for form in FORMS if form != PLAIN)


def drafted(model: Any, **options: Any) -> Draft:
    """The lifted heads of a model."""
    return pipeline.drafted(*model_io.load(model), Settings(**options))


def in_form(model: Any, form: str, **options: Any) -> Conversion:
    """The conversion of a model with its heads in a form."""
    return drafted(model, **options).finished(form)


def reasons(model: Any, batch: int = 2, **options: Any) -> dict[str, str]:
    """Why the heads of a model cannot have a form."""
    draft = drafted(model, **options)
    return fitting(find(draft.plan, draft.rewrite), draft.plan.static, batch)


def kinds(proto: ModelProto) -> list[str]:
    """The op_types of its nodes."""
    return [node.op_type for node in proto.graph.node]


def assert_answers(head: Head, proto: ModelProto) -> None:
    """Every cell equals the original head on its window, bit for bit: one image as trained, three that are larger."""
    model = network(head)
    onnx.checker.check_model(proto, full_check=True)
    runs = session(proto)
    for batch, grow in ((1, (0, 0, 0)), (3, (2, 3, 1))):
        feeds = feeds_of(head, grow, batch)
        expected = answers_over(model, feeds, places_of(head, model))
        for name, found in zip(expected, runs.run(list(expected), feeds), strict=True):
            np.testing.assert_array_equal(found, expected[name])
