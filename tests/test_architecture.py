"""The import law and the sizes that keep the package readable, held by parsing every file of it.

Leaves know nothing of the rooms. Rooms know leaves and themselves. Only the pipeline and the command line know rooms.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "onnx_fc2conv"
NAME = PACKAGE.name

#: every leaf imports only leaves before it, and the files of its own folder
LEAVES = """_version errors forked dtypes settings geometry output_form head_form places nodes tensors ops parts
inferring shapes inference constants flatten plan rewrite emitter taps dilated open_sizes reach conversion
findings""".split()
ROOMS = """model_io structure backbone atrous heads lift limits tuning assemble spatial forms conv2fc verification
handover report undo""".split()
STORY = "saving draft tuned pipeline sizing reverse reverting checkup cli heatmap __init__ __main__".split()
ALSO = {"heads": ["backbone"], "atrous": ["backbone"]}  #: rooms that a room may import besides itself

#: library -> the modules and rooms that may import it
ONLY_IN = {
    "onnxruntime": ["verification"],
    "onnx_graphsurgeon": ["model_io", "ops"],
    "rich": ["report", "cli"],
    "argparse": ["cli", "heatmap"],
    "PIL": ["heatmap"],
    "matplotlib": ["heatmap"],
}
FOR_TYPE_CHECKERS = {"typing_extensions"}  #: imported by no interpreter
RUNTIME_LIBRARIES = {"numpy", "onnx", "google", "ml_dtypes", *ONLY_IN} | set(sys.stdlib_module_names)
VIZ = {"PIL": "pillow", "matplotlib": "matplotlib"}  #: of the extra viz; imported by name, when they are needed

LONGEST_FILE, LONGEST_FUNCTION = 330, 60


@dataclass(frozen=True)
class Source:
    """One file of a package."""

    place: str  #: path inside the package, such as ``lift/pool.py``
    text: str

    @property
    def part(self) -> str:
        """The leaf, room or part of the story that it belongs to."""
        first = self.place.split("/")[0]
        return first.removesuffix(".py")

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    def imports(self) -> Iterator[str]:
        """Absolute dotted names of everything imported anywhere in the file, such as ``onnx_fc2conv.ops.Op``."""
        folder = [NAME, *self.place.split("/")[:-1]]
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = folder[: len(folder) - node.level + 1] if node.level else []
                parts = [*base, *(node.module.split(".") if node.module else [])]
                yield from (".".join([*parts, alias.name]) for alias in node.names)

    def own_imports(self) -> Iterator[str]:
        """The parts of the package that it imports."""
        for name in self.imports():
            library, *rest = name.split(".")
            if library == NAME:
                yield rest[0] if rest and rest[0] in {*LEAVES, *ROOMS, *STORY} else "__init__"

    def libraries(self) -> Iterator[str]:
        """The top-level names of everything imported from outside of the package."""
        yield from (name.split(".")[0] for name in self.imports() if name.split(".")[0] != NAME)


Law = Callable[[Source], Iterator[str]]


def every_file_has_a_place(source: Source) -> Iterator[str]:
    if source.part not in {*LEAVES, *ROOMS, *STORY}:
        yield f"'{source.part}' is neither leaf nor room"


def leaves_import_earlier_leaves(source: Source) -> Iterator[str]:
    if source.part in LEAVES:
        earlier = LEAVES[: LEAVES.index(source.part) + 1]
        yield from (f"imports {part}" for part in source.own_imports() if part not in earlier)


def rooms_import_leaves_and_themselves(source: Source) -> Iterator[str]:
    if source.part in ROOMS:
        allowed = {*LEAVES, source.part, *ALSO.get(source.part, [])}
        yield from (f"imports {part}" for part in source.own_imports() if part not in allowed)


def libraries_stay_in_their_rooms(source: Source) -> Iterator[str]:
    for library in source.libraries():
        if source.part not in ONLY_IN.get(library, [source.part]):
            yield f"imports {library}"


def libraries_are_declared(source: Source) -> Iterator[str]:
    yield from (
        f"imports {library}" for library in source.libraries() if library not in RUNTIME_LIBRARIES | FOR_TYPE_CHECKERS
    )


def no_import_is_absolute_or_starred(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            yield "imports *"
        if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == NAME:
            yield "imports its own package by its absolute name"


def modules_have_docstrings(source: Source) -> Iterator[str]:
    if not (ast.get_docstring(source.tree) or "").strip():
        yield "has no docstring"


def files_are_short(source: Source) -> Iterator[str]:
    if (lines := len(source.text.splitlines())) > LONGEST_FILE:
        yield f"has {lines} lines"


def functions_are_short(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > LONGEST_FUNCTION:
                yield f"{node.name} has {lines} lines"


LAWS: list[Law] = [
    every_file_has_a_place,
    leaves_import_earlier_leaves,
    rooms_import_leaves_and_themselves,
    libraries_stay_in_their_rooms,
    libraries_are_declared,
    no_import_is_absolute_or_starred,
    modules_have_docstrings,
    files_are_short,
    functions_are_short,
]


def sources(package: Path) -> list[Source]:
    """Every Python file below a folder."""
    return [
        Source(path.relative_to(package).as_posix(), path.read_text(encoding="utf-8"))
        for path in sorted(package.rglob("*.py"))
    ]


def violations(package: Path, law: Law) -> list[str]:
    """Where a law is broken, as ``place: what``."""
    return [f"{source.place}: {what}" for source in sources(package) for what in law(source)]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_the_package_keeps_the_law(law: Law) -> None:
    assert violations(PACKAGE, law) == []


def test_every_leaf_and_room_exists() -> None:
    """Else a renamed room would be free of its law."""
    parts = {source.part for source in sources(PACKAGE)}
    assert parts == {*LEAVES, *ROOMS, *STORY}


def test_only_two_rooms_import_another_one() -> None:
    """The exceptions are used; when one is no longer, it goes."""
    used: dict[str, set[str]] = {}
    for s in sources(PACKAGE):
        used.setdefault(s.part, set()).update(p for p in s.own_imports() if p in ROOMS and p != s.part)
    assert {part: sorted(rooms) for part, rooms in used.items() if rooms and part in ROOMS} == ALSO


FORBIDDEN: list[tuple[Law, str, str, str]] = [
    # law, file of a made-up package, its text, what is found
    (every_file_has_a_place, "helpers.py", "", "'helpers' is neither leaf nor room"),
    (leaves_import_earlier_leaves, "errors.py", "from .ops import Op", "imports ops"),
    (leaves_import_earlier_leaves, "geometry.py", "from . import lift", "imports lift"),
    (leaves_import_earlier_leaves, "geometry/grid.py", "from ..plan import Plan", "imports plan"),
    (leaves_import_earlier_leaves, "ops.py", "def f():\n    from .lift.pool import window_pool", "imports lift"),
    (leaves_import_earlier_leaves, "ops.py", "import onnx_fc2conv.plan", "imports plan"),
    (leaves_import_earlier_leaves, "plan.py", "from . import convert", "imports __init__"),
    (rooms_import_leaves_and_themselves, "lift/pool.py", "from ..heads import find", "imports heads"),
    (rooms_import_leaves_and_themselves, "lift/pool.py", "from .. import pipeline", "imports pipeline"),
    (rooms_import_leaves_and_themselves, "heads.py", "from .lift import lift", "imports lift"),
    (
        rooms_import_leaves_and_themselves,
        "lift/deep/pool.py",
        "from ...verification import Check",
        "imports verification",
    ),
    (libraries_stay_in_their_rooms, "lift/pool.py", "import onnxruntime as ort", "imports onnxruntime"),
    (libraries_stay_in_their_rooms, "cli.py", "if True:\n    import onnxruntime.capi", "imports onnxruntime"),
    (libraries_stay_in_their_rooms, "lift/pool.py", "import onnx_graphsurgeon as gs", "imports onnx_graphsurgeon"),
    (libraries_stay_in_their_rooms, "heads.py", "from onnx_graphsurgeon import Node", "imports onnx_graphsurgeon"),
    (libraries_stay_in_their_rooms, "pipeline.py", "from rich.console import Console", "imports rich"),
    (libraries_stay_in_their_rooms, "report/render.py", "from PIL import Image", "imports PIL"),
    (libraries_stay_in_their_rooms, "cli/heat.py", "import matplotlib.colors", "imports matplotlib"),
    (libraries_are_declared, "ops.py", "import torch", "imports torch"),
    (no_import_is_absolute_or_starred, "lift/pool.py", "from ..ops import *", "imports *"),
    (
        no_import_is_absolute_or_starred,
        "lift/pool.py",
        "from onnx_fc2conv.ops import Op",
        "imports its own package by its absolute name",
    ),
    (modules_have_docstrings, "ops.py", "import os", "has no docstring"),
    (modules_have_docstrings, "ops.py", '" "', "has no docstring"),
    (files_are_short, "ops.py", "x = 1\n" * 331, "has 331 lines"),
    (functions_are_short, "ops.py", "def f():\n" + "    x = 1\n" * 60, "f has 61 lines"),
    (functions_are_short, "ops.py", "class A:\n    def g(self):\n" + "        x = 1\n" * 60, "g has 61 lines"),
]


@pytest.mark.parametrize(("law", "place", "text", "found"), FORBIDDEN, ids=[f"{f[1]}-{f[3]}" for f in FORBIDDEN])
def test_the_law_finds_what_it_forbids(law: Law, place: str, text: str, found: str, tmp_path: Path) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    assert violations(tmp_path, law) == [f"{place}: {found}"]


def test_every_law_is_seen_to_fail() -> None:
    assert {law for law, *_ in FORBIDDEN} == set(LAWS)


ALLOWED = [
    (
        "lift/pool.py",
        "from ..flatten import covers_map\nfrom .registry import lifts\nfrom .. import dtypes\nimport numpy",
    ),
    ("heads.py", "from .backbone import Trace\nfrom .plan import Plan"),
    ("geometry/grid.py", "from .axis import Axis\nfrom ..errors import UsageError"),
    ("verification/runtime.py", "import onnxruntime as ort"),
    ("pipeline.py", "from . import heads, model_io\nfrom .lift import lift"),
]


@pytest.mark.parametrize(("place", "text"), ALLOWED)
def test_the_law_leaves_the_rest_alone(place: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'"""A room."""\n\n{text}\n', encoding="utf-8")
    assert [v for law in LAWS for v in violations(tmp_path, law)] == []


MODEL = PACKAGE.parent / "models" / "reference_detector.onnx"
HEAVY = ["numpy", "onnx", "onnx_graphsurgeon", "onnxruntime", "rich", "google.protobuf", "dataclasses", "inspect"]
REVERSE = "from onnx_fc2conv import cli; cli.main_reverse"
IMPORTED = [
    # what is run, libraries that it must not have imported
    ("import onnx_fc2conv", HEAVY),
    ("import onnx_fc2conv; dir(onnx_fc2conv)", HEAVY),
    ("from onnx_fc2conv import convert, revert, Settings, UsageError", HEAVY),
    ("from onnx_fc2conv import cli; cli.main(['--help'])", HEAVY),
    ("from onnx_fc2conv import cli; cli.main(['--version'])", HEAVY),
    ("from onnx_fc2conv import cli; cli.main(['--nonsense'])", HEAVY),
    (f"{REVERSE}(['--help'])", HEAVY),
    (f"{REVERSE}(['--version'])", HEAVY),
    ("sys.argv[1:] = ['--help']; import runpy; main('onnx_fc2conv')", HEAVY),
    (f"{REVERSE}([MODEL])", ["onnxruntime"]),
    ("from onnx_fc2conv import inspect; inspect(MODEL)", ["onnxruntime", "rich"]),
    ("from onnx_fc2conv import Report; Report", ["onnxruntime", "rich"]),
    ("from onnx_fc2conv import cli; cli.main([MODEL])", ["onnxruntime"]),
    ("from onnx_fc2conv import cli; cli.main([MODEL, '--quiet', '--tune', '8'])", ["onnxruntime", "rich"]),
    ("from onnx_fc2conv import cli; cli.main([MODEL, OUT, '--no-verify', '--quiet'])", ["onnxruntime", "rich"]),
    (
        "from onnx_fc2conv import cli; cli.main([MODEL, OUT, '--quiet', '--runtime', 'reference'])",
        ["onnxruntime", "rich"],
    ),
    ("import onnx_fc2conv; onnx_fc2conv.convert(MODEL, verify=False).save(OUT)", ["onnxruntime", "rich"]),
    ("from onnx_fc2conv import heatmap", ["onnxruntime", "rich", "PIL", "matplotlib"]),
]


def imported(code: str, out: Path) -> set[str]:
    """The libraries in ``sys.modules`` after some code ran in a new interpreter."""
    script = f"""
import sys
MODEL, OUT = {str(MODEL)!r}, {str(out)!r}
def main(package):
    try:
        runpy.run_module(package, run_name='__main__')
    except SystemExit as e:
        assert not e.code, e.code
{code}
print('MODULES', *sys.modules)"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].removeprefix("MODULES ").split())


@pytest.mark.parametrize(("code", "absent"), IMPORTED, ids=[c.partition("; ")[2] or c for c, _ in IMPORTED])
def test_heavy_libraries_are_imported_late(code: str, absent: list[str], tmp_path: Path) -> None:
    assert imported(code, tmp_path / "out.onnx") & set(absent) == set()


def test_a_verified_conversion_does_import_onnxruntime(tmp_path: Path) -> None:
    """What the test above looks for can be found."""
    modules = imported("from onnx_fc2conv import cli; cli.main([MODEL, OUT])", tmp_path / "out.onnx")
    assert {"onnxruntime", *HEAVY} <= modules


def test_what_draws_pictures_is_an_extra() -> None:
    """Nothing asks for it at run time, and no file imports it when the package is imported."""
    settings = (PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8")
    required = re.split(r"^dependencies = \[", settings, flags=re.M)[1].split("]")[0]
    extras = dict(re.findall(r"^(\w+) = \[(.*)\]$", settings, flags=re.M))
    for library, package in VIZ.items():
        assert package not in required
        assert package in extras["viz"]
        assert package in extras["dev"]
        assert library not in imported("from onnx_fc2conv import heatmap", Path("none"))
    assert "torch" in extras["train"]
    assert "torch" not in extras["dev"] + required


def test_every_folder_is_installed() -> None:
    """A package that is not listed is there in a checkout and missing from an installation."""
    settings = (PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.findall(r'"([\w.]+)"', re.split(r"^packages = \[", settings, flags=re.M)[1].split("]")[0])
    folders = [".".join([NAME, *path.parent.relative_to(PACKAGE).parts]) for path in PACKAGE.rglob("__init__.py")]
    assert sorted(listed) == sorted(folders)
