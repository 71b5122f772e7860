"""Which form an output gives its grid, and where its map is: said in ``metadata_props`` and read back from there.

The geometry is that of the map, whatever the form. Whoever only has the converted file learns from this what an
output's axes are, and by which inner value the map can be had all the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from onnx import ModelProto

from .errors import UsageError

SCHEMA = 1
METADATA_KEY = "onnx_fc2conv.output_forms"


@dataclass(frozen=True)
class OutputForm:
    """The form of one output.

    Attributes:
        form: ``rows``, ``mean`` or ``max``; an output that is its map has none.
        map: name of the inner value that is the map.
    """

    form: str
    map: str


def store(proto: ModelProto, forms: Mapping[str, OutputForm]) -> None:
    """Write the forms of the outputs into a model, in place of what it said of them before."""
    kept = [prop for prop in proto.metadata_props if prop.key != METADATA_KEY]
    if len(kept) < len(proto.metadata_props):
        rest = ModelProto()
        rest.metadata_props.extend(kept)
        del proto.metadata_props[:]
        proto.metadata_props.extend(rest.metadata_props)
    if forms:
        outputs = {name: asdict(form) for name, form in forms.items()}
        text = json.dumps({"schema": SCHEMA, "outputs": outputs}, separators=(",", ":"))
        proto.metadata_props.add(key=METADATA_KEY, value=text)


def stored(proto: ModelProto) -> dict[str, OutputForm]:
    """The forms that a model says its outputs have; none for outputs that are maps, or if it says nothing.

    Raises:
        UsageError: what it says is damaged, or of a schema that this version does not know.
    """
    text = next((prop.value for prop in proto.metadata_props if prop.key == METADATA_KEY), None)
    if text is None:
        return {}
    try:
        data = json.loads(text)
        if data["schema"] != SCHEMA:
            raise UsageError(f"the output forms have schema {data['schema']}, this version reads {SCHEMA}")
        rows = data["outputs"].items()
        return {str(name): OutputForm(str(row["form"]), str(row["map"])) for name, row in rows}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise UsageError(f"the model's metadata on its output forms is damaged: {e}") from e
