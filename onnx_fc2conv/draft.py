"""A conversion before it is put together: the lifted heads, which may still be written in one form or another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from onnx import ModelProto

from . import forms, head_form, spatial, tuning, undo
from .conversion import Conversion
from .errors import Unliftable
from .ops import Model
from .plan import Plan
from .rewrite import Rewrite
from .settings import Settings


@dataclass(frozen=True)
class Draft:
    """What a conversion is made from.

    Attributes:
        name: the original's name in messages.
        settings: the options.
        plan: what was understood of the original.
        rewrite: the lifted heads.
        original: the model as it was given.
        assemble: puts a model and its heads together.
        restructured, unbaked: what was done to it before, one line each.
        freed: the batch that it was made for, where that is freed.
    """

    name: str
    settings: Settings
    plan: Plan
    rewrite: Rewrite
    original: ModelProto
    assemble: Callable[[Model, Rewrite], ModelProto]
    restructured: tuple[str, ...] = ()
    unbaked: tuple[str, ...] = ()
    freed: int | None = None

    def finished(self, form: str = head_form.PLAIN) -> Conversion:
        """The conversion, with all that is stored in it. The constants of the draft go with it: it is made once."""
        conversion = self._built(form, self.rewrite)
        undo.remember(conversion)
        return conversion

    def tried(self, form: str = head_form.PLAIN) -> Conversion:
        """The same to look at, which leaves the draft as it is."""
        return self._built(form, self.rewrite if form != head_form.PLAIN else self.rewrite.copy())

    def _built(self, form: str, rewrite: Rewrite) -> Conversion:
        """Assemble and free.

        Raises:
            Unliftable: the heads cannot have the form, or the outputs not theirs.
        """
        plan, kept = self.plan, frozenset[str]()
        if form != head_form.PLAIN:
            formed = tuning.formed(form, plan, rewrite)
            if formed is None:
                raise head_form.Unfitting(f"the model says that its head has the form '{form}', which it cannot have")
            rewrite, kept = formed.rewrite, formed.kept
        converted = self.assemble(plan.model, rewrite)
        geometry = spatial.keep(converted) if plan.static else spatial.free(converted, plan, rewrite)
        if self.freed is not None:
            _require_batch(plan, rewrite)
        given = forms.apply(converted, plan, rewrite, self.settings.output)
        head_form.store(converted, form)
        return Conversion(
            self.name,
            plan,
            rewrite,
            converted,
            geometry,
            self.original,
            self.restructured,
            self.unbaked,
            given,
            self.settings.limits,
            form,
            kept,
        )


def _require_batch(plan: Plan, rewrite: Rewrite) -> None:
    """Refuse to free a batch that an output does not have."""
    for name in plan.model.outputs:
        lifted = rewrite.values.get(name)
        if lifted is not None and lifted.layout.before != 0:
            reason = f"output '{name}' has no batch axis in front, so the batch cannot be freed"
            raise Unliftable(reason, str(plan.model.producer[name]))
