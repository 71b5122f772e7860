"""A lifted head in another form: its products, and what works on each feature by itself between them.

A value that was laid out stays so as long as what reads it can take it like that: the next product, a function of each
number, a constant for each feature. For everything else, and where it is an output, it gets its grid back under its
own name, where it is first asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from onnx import NodeProto

from ..ops import BROADCASTING, STANDARD_DOMAINS, UNARY, captured, title
from ..plan import Plan
from ..rewrite import Rewrite
from .forms import FORMS, Form
from .products import Product, find, walked
from .writer import Origin, Writer

CARRIED = UNARY | BROADCASTING | {"Dropout"}  #: what works on each number by itself; at inference Dropout does nothing


@dataclass(frozen=True)
class Formed:
    """Heads in another form.

    Attributes:
        rewrite: of their own.
        kept: titles of the FC nodes that there are on purpose.
    """

    rewrite: Rewrite
    kept: frozenset[str]


@dataclass(frozen=True)
class _Laid:
    """A value that is laid out: its tensor, where its windows come from, its number of features and grid axes."""

    tensor: str
    origin: Origin
    units: int
    rank: int


def formed(name: str, plan: Plan, rewrite: Rewrite) -> Formed | None:
    """The heads in another form.

    Args:
        name: of the form.
        plan: what was understood of the original.
        rewrite: the lifted heads; not changed.

    Returns:
        The heads, or ``None`` if none of their nodes is another one in this form.
    """
    own = rewrite.copy()
    walk = _Walk(FORMS[name], plan, own)
    if not walk.taken:
        return None
    walk.run()
    nodes = [n for index in walked(plan, own) for n in own.replaced[index] if n.op_type == "Gemm"]
    return Formed(own, frozenset(map(title, nodes)))


@dataclass
class _Walk:
    """One walk through all heads."""

    form: Form
    plan: Plan
    rewrite: Rewrite
    taken: dict[str, Product] = field(init=False)

    def __post_init__(self) -> None:
        products = find(self.plan, self.rewrite)
        self.taken = {name: product for name, product in products.items() if self.form.takes(product)}
        self._indices = walked(self.plan, self.rewrite)
        self._writer = Writer(self.plan.model, self.rewrite, self._own())
        self._laid: dict[str, _Laid] = {}
        self._given: set[str] = set()
        self._entered: dict[tuple[object, ...], tuple[str, Origin]] = {}
        self._asked = self._read_outside()

    def run(self) -> None:
        """Rewrite every node of the heads."""
        ops = {op.index: op for op in self.plan.model.ops}
        for index in self._indices:
            self._writer.begin(ops[index])
            for node in self.rewrite.replaced[index]:
                self._node(node)
            self.rewrite.replaced[index] = self._writer.nodes

    def _own(self) -> set[str]:
        """Weights that only products that are taken read."""
        others = {
            name
            for nodes in self.rewrite.replaced.values()
            for node in nodes
            if node.output[0] not in self.taken
            for name in node.input
        }
        return {product.weight for product in self.taken.values()} - others

    def _read_outside(self) -> set[str]:
        """The values that something other than the heads' own nodes reads."""
        found = set(self.plan.model.outputs)
        for op in self.plan.model.ops:
            if op.index not in self._indices:
                found |= set(op.reads())
        return found

    def _node(self, node: NodeProto) -> None:
        product = self.taken.get(node.output[0])
        if product is not None:
            self._product(product)
        elif not self._carried(node):
            for name in (*node.input, *captured(node)):
                self._give_back(name)
            self._writer.nodes.append(node)

    def _product(self, product: Product) -> None:
        layout, laid = self.form.layout, self._laid.get(product.x)
        if laid is not None and product.taps == 1:
            x, origin = laid.tensor, laid.origin
        else:
            self._give_back(product.x)
            key = (product.x, product.window, product.dilations, product.one_cell)
            if key not in self._entered:
                self._entered[key] = layout.enter(self._writer, product)
            x, origin = self._entered[key]
        y = layout.times(self._writer, product, x)
        self._lay(product.node.output[0], _Laid(y, origin, product.units, product.rank))

    def _carried(self, node: NodeProto) -> bool:
        """Write a node on what is laid out, if it works on each feature by itself."""
        if node.domain not in STANDARD_DOMAINS or node.op_type not in CARRIED or len(node.output) != 1:
            return False
        laid = [self._laid[name] for name in node.input if name in self._laid]
        if not laid or len({(one.origin, one.rank) for one in laid}) > 1:
            return False
        inputs, units = [], [one.units for one in laid]
        for name in node.input:
            if name in self._laid or not name:
                inputs.append(self._laid[name].tensor if name else "")
                continue
            dims = self._writer.dims_of(name)
            other = None
            if dims is not None:
                other = self.form.layout.constant(self._writer, name, dims, laid[0].rank)
            if other is None or dims is None:
                return False
            inputs.append(other)
            units.append(dims[-1 - laid[0].rank] if len(dims) > laid[0].rank else 1)
        copy = NodeProto.FromString(node.SerializeToString())
        del copy.input[:]
        copy.input.extend(inputs)
        copy.output[0] = self._writer.fresh(f"{node.output[0]}_laid")
        self._writer.nodes.append(copy)
        self._lay(node.output[0], _Laid(copy.output[0], laid[0].origin, max(units), laid[0].rank))
        return True

    def _lay(self, name: str, laid: _Laid) -> None:
        self._laid[name] = laid
        if name in self._asked:
            self._give_back(name)

    def _give_back(self, name: str) -> None:
        """Give a value its grid back, once."""
        laid = self._laid.get(name)
        if laid is None or name in self._given:
            return
        result = self.form.layout.leave(self._writer, laid.tensor, laid.units, laid.rank, laid.origin)
        assert self._writer.nodes[-1].output[0] == result
        self._writer.nodes[-1].output[0] = name
        self._given.add(name)
