"""Settings: every option is validated where it is made, whoever makes it."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from threading import Barrier, Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnx_fc2conv import UsageError
from onnx_fc2conv.settings import Settings, parse_size, parse_stride
from onnx_fc2conv.settings.late import Late
from onnx_fc2conv.settings.options import option as an_option

SIZES = {
    "512x1024": (512, 1024),
    "512X1024": (512, 1024),
    "160": (160,),
    "16x32x32": (16, 32, 32),
    "1x1": (1, 1),
    "007x8": (7, 8),
}
NO_SIZES = """axb 0x1 1x0 -1x1 1x-1 x xx 512x x512 512x1024x 512,1024 512*1024 1.5x2 1e3x2 0 1x2x3x4 0x10x20 ∞x1
512×1024 inf nan 1x2;3 ½x1""".split()  # noqa: RUF001


@pytest.mark.parametrize(("text", "size"), SIZES.items())
def test_parse_size(text: str, size: tuple[int, ...]) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", " ", "\n", *NO_SIZES, "9" * 5000, "1x" * 5000 + "1"])
def test_parse_size_refuses(text: str) -> None:
    with pytest.raises(UsageError, match="must look like 512x1024"):
        parse_size(text)


STRIDES = {"8": (8,), "8x4": (8, 4), "4X8x16": (4, 8, 16), "1": (1,)}
NO_STRIDES = ["", " ", "x", "8x", "0", "8x0", "-8", "8.0", "1x2x3x4", "½", "9" * 5000, "8 x 4", "+8", "1_0"]


@pytest.mark.parametrize(("text", "stride"), STRIDES.items())
def test_parse_stride(text: str, stride: tuple[int, ...]) -> None:
    assert parse_stride(text) == stride


@pytest.mark.parametrize("text", NO_STRIDES)
def test_parse_stride_refuses(text: str) -> None:
    with pytest.raises(UsageError, match="must look like 8, or like 8x4"):
        parse_stride(text)


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=3))
def test_parse_size_reads_what_is_written(numbers: list[int]) -> None:
    assert parse_size("x".join(map(str, numbers))) == tuple(numbers)


@given(st.text(max_size=12) | st.text("0123456789xX+-_. ", max_size=12))
def test_parse_size_gives_a_valid_size_or_a_usage_error(text: str) -> None:
    try:
        size = parse_size(text)
    except UsageError:
        return
    assert Settings(sizes=(size,)).sizes == (size,)
    assert len(size) == text.lower().count("x") + 1


def test_defaults() -> None:
    defaults = {f.name: getattr(Settings(), f.name) for f in fields(Settings)}
    assert defaults == {
        "sizes": (),
        "global_pool": "window",
        "stride": None,
        "dynamic_batch": False,
        "output": "map",
        "require_exact": False,
        "verify": True,
        "runtime": "onnxruntime",
        "check": False,
        "static": False,
        "max_kernel": None,
        "max_channels": None,
        "tune": None,
        "share_data": False,
        "report": None,
        "quiet": False,
    }


def test_every_option_has_a_help_in_one_line() -> None:
    for option in fields(Settings):
        help_ = option.metadata["help"]
        assert help_ == " ".join(help_.split())
        assert not help_.endswith(".")
        assert len(help_) > 10


GOOD: list[dict[str, Any]] = [
    {"sizes": ((512, 1024), (160, 96))},
    {"sizes": ((160,),)},
    {"stride": (8,)},
    {"stride": (8, 4)},
    {"runtime": "reference"},
    {"report": "r.json"},
    {"report": "folder/R.MD"},
    {"require_exact": True, "verify": False, "quiet": True},
]
BAD: list[tuple[dict[str, Any], str]] = [
    ({"sizes": ((),)}, "positive pixel counts"),
    ({"sizes": ((0, 1),)}, "positive pixel counts"),
    ({"sizes": ((1, -1),)}, "positive pixel counts"),
    ({"sizes": ((512.0, 1024.0),)}, "positive pixel counts"),
    ({"sizes": (("512", "1024"),)}, "positive pixel counts"),
    ({"sizes": ((True, True),)}, "positive pixel counts"),
    ({"sizes": ((8, 8), (8, None))}, "positive pixel counts"),
    ({"stride": (0,)}, "not a positive number of pixels"),
    ({"stride": ()}, "not a positive number of pixels"),
    ({"stride": (8.0,)}, "not a positive number of pixels"),
    ({"stride": (True,)}, "not a positive number of pixels"),
    ({"stride": 8}, "not a positive number of pixels"),
    ({"stride": (8,), "global_pool": "keep"}, "--global-pool keep .*; leave --stride out"),
    ({"stride": (8,), "static": True}, "--static .*; leave --stride out"),
    ({"runtime": "tensorrt"}, "none of onnxruntime, reference"),
    ({"runtime": None}, "none of onnxruntime, reference"),
    ({"report": ""}, "must end in .json or .md"),
    ({"report": "r.txt"}, "must end in .json or .md"),
    ({"report": "r.json.gz"}, "must end in .json or .md"),
    ({"report": "json"}, "must end in .json or .md"),
]


@pytest.mark.parametrize("options", GOOD, ids=str)
def test_settings_keep_what_they_are_given(options: dict[str, Any]) -> None:
    settings = Settings(**options)
    assert {name: getattr(settings, name) for name in options} == options


@pytest.mark.parametrize(("options", "said"), BAD, ids=[str(o) for o, _ in BAD])
def test_settings_refuse(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        Settings(**options)
    assert caught.value.exit_code == 2


def made_by_several(count: int) -> list[Settings]:
    """Instances of a class of options that no one has used before, each by a thread of its own."""
    together, found = Barrier(count), list[Any]()

    class Fresh(Late):
        number: int = an_option(1, "a number")

    def make() -> None:
        together.wait()
        found.append(Fresh(number=7))

    threads = [Thread(target=make) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_settings_become_dataclasses_when_they_are_needed() -> None:
    class Fresh(Late):
        number: int = an_option(1, "a number", metavar="N")
        words: tuple[str, ...] = an_option((), "words")

    assert (Fresh.number, Fresh.words, list(Fresh.OPTIONS)) == (1, (), ["number", "words"])
    assert "__init__" not in vars(Fresh)
    assert [(f.name, f.default, dict(f.metadata)) for f in fields(Fresh)] == [
        ("number", 1, {"help": "a number", "metavar": "N"}),
        ("words", (), {"help": "words"}),
    ]
    first, second = Fresh(2, words=("a",)), replace(Fresh(2), words=("a",))
    assert first == second
    assert hash(first) == hash(second)
    assert repr(first).endswith("Fresh(number=2, words=('a',))")
    assert (Fresh().number, Fresh.number) == (1, 1)
    with pytest.raises(TypeError, match="'nothing'"):
        Fresh(nothing=1)  # type: ignore[call-arg]
    assert not is_dataclass(Late)


def test_several_threads_may_need_them_at_once() -> None:
    for _ in range(20):
        assert [s.number for s in made_by_several(8)] == [7] * 8  # type: ignore[attr-defined]


def test_settings_cannot_be_changed_later() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().verify = False  # type: ignore[misc]
