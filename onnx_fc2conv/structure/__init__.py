"""Models in another structure than the rooms read, turned into equivalent ones that they do.

Only what image data flows through is changed, and every change is listed: calls of model-local functions are written
out, an ``If`` whose condition is a constant becomes the branch that it takes, sparse weights become dense. An opset
older than 7 is raised to 7.
Where there is nothing to do the model is handed on as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from onnx import ModelProto

from ..errors import Fc2ConvError, NothingToConvert, Unliftable, UnreadableModel
from ..nodes import everywhere
from ..ops import FULLY_CONNECTED, Model, title, view
from . import branches, functions, opset, sparse
from .names import require_shallow
from .needed import ANY_RANK, IMAGE_RANK

__all__ = ["ANY_RANK", "IMAGE_RANK", "Straightened", "straighten"]

MAX_ROUNDS = 256  #: conditions inside and behind branches are decided once those are written out


@dataclass(frozen=True)
class Straightened:
    """A model that the other rooms understand.

    Attributes:
        model: it; the very same object if nothing was changed.
        changes: what was done, one line each.
        reasons: for nodes that had to stay, by their titles, why.
        hiding: the first of them that has an FC inside.
        layouts: spatial axes of each image for which branches were decided; they must turn out to be those.
    """

    model: Model
    changes: tuple[str, ...] = ()
    reasons: dict[str, str] = field(default_factory=dict)
    hiding: str | None = None
    layouts: tuple[dict[str, list[int]], ...] = ()

    def explains(self, error: Fc2ConvError) -> Unliftable | None:
        """The refusal of a node that had to stay, with the reason why; ``None`` if the error is about another."""
        if isinstance(error, NothingToConvert):
            return None if self.hiding is None else Unliftable(self.reasons[self.hiding], self.hiding)
        if error.node not in self.reasons:
            return None
        return Unliftable(f"{error.reason}; {self.reasons[error.node]}", error.node)


def straighten(model: Model, known: branches.Known, rank: int = IMAGE_RANK) -> Straightened:
    """Write out what hides the head or the backbone.

    Args:
        model: as it was read; never changed.
        known: evaluates a model's constants.
        rank: inputs of fewer axes hold no image.

    Raises:
        Unliftable: it cannot be written out so that it means the same.
        UnreadableModel: a function or a branch is not valid.
    """
    changes: list[str] = []
    layouts: list[dict[str, list[int]]] = []
    require_shallow(model.proto)
    sparse.require_sane(model.proto)
    if opset.too_old(model):
        model = _changed(model, opset.raise_to_oldest, changes)
    for _ in range(MAX_ROUNDS):
        if functions.wanted(model.proto, rank):
            model = _changed(model, partial(functions.inline, rank=rank), changes)
        if any(sparse.wanted(model.proto, rank)):
            model = _changed(model, partial(sparse.make_dense, rank=rank), changes)
        decisions = branches.decide(model, known, rank)
        if not decisions.known:
            return _left(model, decisions, changes, layouts)
        layouts += [decisions.layout] if decisions.layout else []
        model = _changed(model, partial(branches.inline, decided=decisions.taken), changes)
    raise Unliftable(f"branches decide about branches more than {MAX_ROUNDS} times in a row")


def _left(
    model: Model, decisions: branches.Decisions, changes: list[str], layouts: list[dict[str, list[int]]]
) -> Straightened:
    stayed = [(model.proto.graph.node[i], reason) for i, reason in decisions.taken.items() if isinstance(reason, str)]
    reasons = {title(node): reason for node, reason in stayed}
    hide = (title(node) for node, _ in stayed if any(n.op_type in FULLY_CONNECTED for n in everywhere([node])))
    return Straightened(model, tuple(changes), reasons, next(hide, None), tuple(layouts))


def _changed(model: Model, change: Callable[[ModelProto], list[str]], changes: list[str]) -> Model:
    proto = model.proto
    if not changes:  # later ones work on the copy that the first one made
        proto = ModelProto()
        proto.CopyFrom(model.proto)
    changes += change(proto)
    try:
        return view(proto, model.folder)
    except Exception as e:  # graphsurgeon raises what it finds
        raise UnreadableModel(f"the model is not valid once its functions and branches are written out: {e}") from e
