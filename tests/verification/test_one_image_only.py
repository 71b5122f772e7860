"""Originals that declare any batch and run with one image only: the converted model is held to each image by itself."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, helper

import onnx_fc2conv as fc2conv
from tests.networks import Head, network

ONE_ROW = Head("f = Reshape(map, s)\ny = Gemm(f, W)", {"s": np.array([1, 12]), "W": (12, 3)})
IMAGE_BY_IMAGE = "runs with one image only: image by image"


def mixed(model: ModelProto) -> ModelProto:
    """The model with the largest answer of all images in place of each."""
    copy = ModelProto()
    copy.CopyFrom(model)
    copy.graph.node[-1].output[0] = "unmixed"
    copy.graph.node.append(helper.make_node("ReduceMax", ["unmixed"], ["most"], axes=[0]))
    copy.graph.node.append(helper.make_node("Max", ["most", "unmixed"], ["y"]))
    return copy


def test_each_image_has_its_own_answer() -> None:
    report = fc2conv.convert(network(ONE_ROW)).report
    (check,) = (c for c in report.checks if IMAGE_BY_IMAGE in c.note)
    assert check.passed
    assert check.error == 0


def test_a_model_that_mixes_images_is_rejected() -> None:
    original = network(ONE_ROW)
    converted = fc2conv.convert(original, verify=False).model
    with pytest.raises(fc2conv.VerificationFailed, match="same size"):
        fc2conv.verify(original, mixed(converted))
