"""Calls of model-local functions that image data flows through, written out.

A function is a template: its inputs and outputs take the names at the call, its attributes the values at the call or
their defaults, and everything else a name of its own. A call that image data does not reach stays a call.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onnx import AttributeProto, FunctionProto, ModelProto, NodeProto, defs, helper

from ..errors import Unliftable, UnreadableModel
from ..nodes import everywhere
from ..ops import STANDARD_DOMAINS, captured, title
from .names import Copies, Names
from .needed import IMAGE_RANK, needed, prune, replace_nodes

MAX_NODES = 200_000  #: in a model after its functions are written out; a few nested ones can stand for billions
MAX_DEPTH = 1000  #: calls inside of calls; onnxruntime recurses, and ends the process where the stack does

Key = tuple[str, str, str]


def key(domain: str, name: str, overload: str) -> Key:
    """What a call and the function that it calls have in common."""
    return ("" if domain in STANDARD_DOMAINS else domain, name, overload)


def _called(node: NodeProto) -> Key:
    return key(node.domain, node.op_type, node.overload)


class Library:
    """The functions of a model.

    Attributes:
        opsets: the version of each domain that the model imports, or would with its functions written out.
    """

    def __init__(self, proto: ModelProto) -> None:
        self._functions: dict[Key, FunctionProto] = {}
        self._twice: set[Key] = set()
        self.opsets = {key(o.domain, "", "")[0]: o.version for o in proto.opset_import}
        self._sizes: dict[Key, int] = {}
        self._depths: dict[Key, int] = {}
        for function in proto.functions:
            known = key(function.domain, function.name, function.overload)
            if known in self._functions:
                self._twice.add(known)
            self._functions[known] = function

    def calls(self, node: NodeProto) -> bool:
        """True if a node is a call of one of the functions."""
        return _called(node) in self._functions

    def function(self, call: NodeProto) -> FunctionProto:
        """The function that a node calls, fit to be written out in this model.

        Raises:
            UnreadableModel: it is defined twice, calls itself, or does not fit the call.
            Unliftable: it means other operators than the model's opset imports do.
        """
        function = self._functions[_called(call)]
        if _called(call) in self._twice:
            raise UnreadableModel(f"function '{_name(function)}' is defined twice", title(call))
        if function.domain in STANDARD_DOMAINS and defs.has(function.name, function.domain):
            reason = "is a function of the model and an operator of the standard, and runtimes differ on which runs"
            raise Unliftable(reason, title(call))
        _require_fit(call, function)
        self._require_same_operators(call, function)
        return function

    def _require_same_operators(self, call: NodeProto, function: FunctionProto) -> None:
        for imported in function.opset_import:
            domain = key(imported.domain, "", "")[0]
            version = self.opsets.setdefault(domain, imported.version)
            if version == imported.version:
                continue
            for node in everywhere(function.node):
                if _called(node)[0] != domain or self.calls(node):
                    continue
                if not _same_operator(node.op_type, domain, imported.version, version):
                    raise Unliftable(
                        f"function '{_name(function)}' is written for opset {imported.version} of domain "
                        f"'{domain or 'ai.onnx'}', the model imports {version}, and {node.op_type} differs",
                        title(call),
                    )

    def size(self, call: NodeProto) -> int:
        """How many nodes a call stands for, with all calls inside of it written out.

        Raises:
            UnreadableModel: functions call each other in a circle.
            Unliftable: they call each other too deep.
        """
        top = _called(call)
        path = {} if top in self._sizes else {top: self._called_by(top)}
        while path:
            current = next(reversed(path))
            if path[current]:
                inner = path[current].pop()
                if inner in path:
                    raise UnreadableModel(f"function '{_name(self._functions[inner])}' calls itself", title(call))
                if inner not in self._sizes:
                    path[inner] = self._called_by(inner)
            else:
                del path[current]
                self._depths[current] = 1 + max((self._depths[k] for k in self._called_by(current)), default=0)
                own = sum(1 for _ in everywhere(self._functions[current].node))
                self._sizes[current] = own + sum(self._sizes[k] for k in self._called_by(current))
        if self._depths[top] > MAX_DEPTH:
            raise Unliftable(f"its functions call each other {self._depths[top]} levels deep", title(call))
        return self._sizes[top]

    def _called_by(self, known: Key) -> list[Key]:
        """The functions that one calls itself, as often as it does."""
        return [k for n in everywhere(self._functions[known].node) if (k := _called(n)) in self._functions]

    def reachable(self, nodes: Iterable[NodeProto]) -> set[Key]:
        """The functions that these nodes call, directly or through others."""
        found: set[Key] = set()
        waiting = list(nodes)
        while waiting:
            for node in everywhere([waiting.pop()]):
                called = _called(node)
                if called in self._functions and called not in found:
                    found.add(called)
                    waiting += self._functions[called].node
        return found


def _name(function: FunctionProto) -> str:
    return f"{function.domain}.{function.name}"


def _same_operator(op_type: str, domain: str, one: int, other: int) -> bool:
    try:
        return bool(
            defs.get_schema(op_type, one, domain).since_version == defs.get_schema(op_type, other, domain).since_version
        )
    except Exception:  # onnx has a C++ type of its own for an operator that it does not know
        return False


def _require_fit(call: NodeProto, function: FunctionProto) -> None:
    def refuse(reason: str) -> UnreadableModel:
        return UnreadableModel(f"function '{_name(function)}' {reason}", title(call))

    for what, given, declared in (
        ("inputs", len(call.input), len(function.input)),
        ("outputs", len(call.output), len(function.output)),
    ):
        if given > declared:
            raise refuse(f"has {declared} {what}, and the call {given}")
    known = set(function.input)
    for name in (o for node in function.node for o in node.output if o):
        if name in known:
            raise refuse(f"defines its value '{name}' twice")
        known.add(name)
    omitted = {name for i, name in enumerate(function.input) if i >= len(call.input) or not call.input[i]}
    for node in function.node:
        for name in {n for n in node.input if n} | captured(node):
            if name not in known:
                raise refuse(f"reads '{name}', which is not defined in it")
        if omitted & captured(node):
            raise refuse(f"needs its input '{min(omitted & captured(node))}', which the call leaves out")
    for name in function.output:
        if name not in known or name in omitted:
            raise refuse(f"does not define its output '{name}'")


def wanted(proto: ModelProto, rank: int = IMAGE_RANK) -> list[int]:
    """Positions of the calls that image data flows through."""
    functions = {key(f.domain, f.name, f.overload) for f in proto.functions}
    if not any(_called(node) in functions for node in proto.graph.node):
        return []
    return [i for i in sorted(needed(proto.graph, rank)) if _called(proto.graph.node[i]) in functions]


def inline(proto: ModelProto, rank: int = IMAGE_RANK) -> list[str]:
    """Write out all calls that image data flows through, in place.

    Returns:
        One line for each call that was written out, and for each function that is gone with its last call.

    Raises:
        UnreadableModel, Unliftable: see ``Library``.
    """
    library, chosen = Library(proto), wanted(proto, rank)
    called_before = library.reachable(proto.graph.node)
    size = len(proto.graph.node)
    for i in chosen:
        size += library.size(proto.graph.node[i])
        if size > MAX_NODES:
            reason = f"its functions stand for more than {MAX_NODES} nodes"
            raise Unliftable(reason, title(proto.graph.node[i]))
    names, changes = Names(proto.graph), []
    nodes: list[NodeProto] = []
    read: list[str] = []
    for i, node in enumerate(proto.graph.node):
        if i not in chosen:
            nodes.append(node)
            continue
        read += node.input
        written = _written_out(node, library, names)
        changes.append(
            f"{title(node)}: function written out ({len(written)} {'node' if len(written) == 1 else 'nodes'})"
        )
        nodes += written
    replace_nodes(proto.graph, nodes)
    used = {_called(n)[0] for n in everywhere(nodes)} - {key(o.domain, "", "")[0] for o in proto.opset_import}
    proto.opset_import.extend(helper.make_opsetid(d, v) for d, v in library.opsets.items() if d in used)
    prune(proto.graph, read)
    return changes + _drop_uncalled(proto, library, called_before)


def _written_out(call: NodeProto, library: Library, names: Names) -> list[NodeProto]:
    done: list[NodeProto] = []
    stack = [call]
    while stack:
        node = stack.pop()
        if library.calls(node):
            function = library.function(node)
            stack += reversed(list(_body(node, function, names)))
        else:
            done.append(node)
    return done


def _body(call: NodeProto, function: FunctionProto, names: Names) -> Iterator[NodeProto]:
    given: dict[str, AttributeProto] = {a.name: a for a in function.attribute_proto}
    given |= {a.name: a for a in call.attribute}
    copies = Copies(names, call.name or call.op_type, given)
    values = dict.fromkeys(function.input, "") | dict(zip(function.input, call.input, strict=False))
    passed: list[tuple[str, str]] = []
    for inner, outer in zip(function.output, call.output, strict=False):
        if not outer:
            continue
        if inner in values:  # an input that is an output, or the same value twice
            passed.append((values[inner], outer))
        else:
            values[inner] = outer
    yield from copies.nodes(function.node, values)
    for source, outer in passed:
        yield helper.make_node("Identity", [source], [outer], name=names.node(copies.labelled("Identity")))


def _drop_uncalled(proto: ModelProto, library: Library, called_before: set[Key]) -> list[str]:
    """Functions that were called and are not any more. One that never was is the user's own business."""
    never = [f for f in proto.functions if key(f.domain, f.name, f.overload) not in called_before]
    called = library.reachable(proto.graph.node) | library.reachable(n for f in never for n in f.node)
    changes = []
    for i in reversed(range(len(proto.functions))):
        function = proto.functions[i]
        this = key(function.domain, function.name, function.overload)
        if this in called_before and this not in called:
            changes.append(f"function '{_name(function)}': gone with its last call")
            del proto.functions[i]
    return changes[::-1]
