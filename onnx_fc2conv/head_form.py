"""The form that the head of a converted model is written in: said in ``metadata_props`` and read back from there.

All forms compute the same sums of the same products with the same weights. Which is fastest depends on the runtime, the
size of the weights and the number of images; ``--tune`` measures it.
"""

from __future__ import annotations

import json

from onnx import ModelProto

from .errors import Unliftable, UsageError

SCHEMA = 1
METADATA_KEY = "onnx_fc2conv.head_form"

PLAIN = "conv"  #: what is written where nobody asks for another
#: every form, the simplest first, and what it does
FORMS = {
    PLAIN: "every FC a Conv, the first one over the window",
    "folded": "a Conv over the window, then all windows of all images as one image, every further FC a 1x1 Conv",
    "unfolded": "all windows of all images laid out as the columns of one image, every FC a 1x1 Conv",
    "gemm": "all windows of all images laid out as rows, every FC a Gemm",
}


class Unfitting(Unliftable):
    """The heads of a model cannot have the form that is asked for."""


def store(proto: ModelProto, form: str) -> None:
    """Write the form into a model, in place of what it said of it before; of the plain one nothing is said."""
    kept = [prop for prop in proto.metadata_props if prop.key != METADATA_KEY]
    if len(kept) < len(proto.metadata_props):
        rest = ModelProto()
        rest.metadata_props.extend(kept)
        del proto.metadata_props[:]
        proto.metadata_props.extend(rest.metadata_props)
    if form != PLAIN:
        text = json.dumps({"schema": SCHEMA, "form": form}, separators=(",", ":"))
        proto.metadata_props.add(key=METADATA_KEY, value=text)


def stored(proto: ModelProto) -> str:
    """The form that a model says its head has.

    Raises:
        UsageError: what it says is damaged, or of a schema that this version does not know.
    """
    text = next((prop.value for prop in proto.metadata_props if prop.key == METADATA_KEY), None)
    if text is None:
        return PLAIN
    try:
        data = json.loads(text)
        if data["schema"] != SCHEMA:
            raise UsageError(f"the form of the head has schema {data['schema']}, this version reads {SCHEMA}")
        form = data["form"]
        if form not in FORMS:
            raise ValueError(f"no form {form!r}")
    except (ValueError, KeyError, TypeError, RecursionError) as e:
        raise UsageError(f"the model's metadata on the form of its head is damaged: {e}") from e
    return str(form)
