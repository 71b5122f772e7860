"""Classes of options that become frozen dataclasses when somebody first needs one.

``dataclasses`` brings ``inspect``, ``ast`` and ``dis``, and compiles six methods for each class: together more than a
bare ``--help`` takes. A command line only has to know which options there are.
"""

from __future__ import annotations

from _thread import allocate_lock

TYPE_CHECKING = False  # ``typing`` takes longer than ``argparse``
if TYPE_CHECKING:
    from dataclasses import Field
    from typing import Any, ClassVar

    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_):
        """What tells type checkers that the classes are dataclasses; at run time there is nothing to tell."""
        return lambda cls: cls


_making = allocate_lock()


class Option:
    """One option before it is a field: its default, and what the command line says of it."""

    __slots__ = ("default", "metadata")

    def __init__(self, default: Any, metadata: dict[str, Any]) -> None:
        self.default, self.metadata = default, metadata


class _Fields:
    """What ``dataclasses.fields`` asks a class for, where it is no dataclass yet."""

    def __get__(self, instance: object, owner: type[Late]) -> Any:
        if owner is Late:
            raise AttributeError("__dataclass_fields__")
        _make(owner)
        return vars(owner)["__dataclass_fields__"]


@dataclass_transform(frozen_default=True)
class Late:
    """A frozen dataclass from its first instance on, or from when its fields are asked for; fields are options.

    Attributes:
        OPTIONS: the options by the names of the fields, in order.
    """

    if TYPE_CHECKING:
        OPTIONS: ClassVar[dict[str, Option]]
        __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    else:
        __dataclass_fields__ = _Fields()

        def __init_subclass__(cls):
            cls.OPTIONS = {name: value for name, value in vars(cls).items() if isinstance(value, Option)}
            for name, option in cls.OPTIONS.items():
                setattr(cls, name, option.default)

        def __init__(self, *args, **kwargs):
            _make(type(self))  # which gives the class an ``__init__`` of its own
            type(self).__init__(self, *args, **kwargs)


def _make(cls: type[Late]) -> None:
    from dataclasses import dataclass, field

    with _making:
        if "__init__" in vars(cls):
            return  # another thread did it
        for name, option in cls.OPTIONS.items():
            setattr(cls, name, field(default=option.default, metadata=option.metadata))
        dataclass(frozen=True)(cls)
