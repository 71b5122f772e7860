"""What is mutated, and the tests that judge it."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[3]
PACKAGE = "onnx_fc2conv"
MUTATED = ("flatten.py", "geometry", "lift")  #: of the package, files and folders
#: The tests of these rooms; those that train, plot, compare with other runtimes or need a corpus are left out.
JUDGES = (
    "tests/lift",
    "tests/test_flatten.py",
    "tests/test_geometry.py",
    "tests/test_grid.py",
    "tests/test_heads.py",
    "tests/test_forms.py",
    "tests/test_folding.py",
    "tests/test_global_pool.py",
    "tests/test_images.py",
    "tests/test_verdict.py",
    "tests/test_static.py",
    "tests/test_constants.py",
    "tests/test_limits.py",
    "tests/test_headless.py",
    "tests/test_dynamic_batch.py",
    "tests/test_metadata.py",
    "tests/test_api.py",
    "tests/test_reach.py",
    "tests/atrous",
    "tests/backbone/test_unbake.py",
    "tests/verification",
    "tests/heatmap/test_places.py",
)


def sources(root: Path = ROOT) -> list[Path]:
    """The files that are mutated, relative to the root, in order."""
    found: list[Path] = []
    for name in MUTATED:
        path = root / PACKAGE / name
        found += [path] if path.is_file() else sorted(path.rglob("*.py"))
    return [path.relative_to(root) for path in found]


def judges(root: Path = ROOT) -> list[str]:
    """The files of tests, relative to the root, in order."""
    found: list[Path] = []
    for name in JUDGES:
        path = root / name
        found += [path] if path.is_file() else sorted(path.rglob("test_*.py"))
    return [path.relative_to(root).as_posix() for path in found]


def module_of(source: Path) -> str:
    """The name under which a file is imported."""
    parts = source.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
