"""Bytes from file to file: in the kernel where that is fast, and in blocks where it is not.

The kernel hands over pages where both files have the bytes at the same place in a page. Where they have not it copies
each page in two parts, which takes 2.5 times as long as blocks do that fit the cache. Nothing here ever holds more than
a few blocks, so that a model may be larger than the memory.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import BinaryIO

import numpy as np

from ..errors import UnreadableModel
from ..places import Place
from .exchange import Chunks
from .moving import moved

BLOCK = 2**20  #: bytes at once; more do not fit the cache, and make the system look for large pages in one piece
PAGE = 4096  #: bytes
AT_ONCE = 2**30  #: bytes that the kernel is asked for at once


def write(chunks: Chunks, f: BinaryIO) -> None:
    """Write all of it at the end of an open file.

    Raises:
        UnreadableModel: a file that bytes are taken from was changed meanwhile.
        OSError: the disk is full, or the like.
    """
    for chunk in chunks:
        if isinstance(chunk, bytes):
            f.write(chunk)
        elif chunk.place.view is None:
            f.flush()
            _copy(chunk.place, f)
        else:
            for block in moved(chunk.place, chunk.place.view, chunk.elem_type):
                data = block.view(np.uint8).data
                for start in range(0, len(data), BLOCK):
                    f.write(data[start : start + BLOCK])


def _copy(place: Place, target: BinaryIO) -> None:
    """A stretch of a file, at the end of another one."""
    source, out = place.open(), target.fileno()
    try:
        start = os.lseek(out, 0, os.SEEK_END)
        done = _in_kernel(source, place, out, start) if (start - place.offset) % PAGE == 0 else 0
        buffer = memoryview(bytearray(min(BLOCK, place.length - done)))
        os.lseek(source, place.offset + done, os.SEEK_SET)
        target.seek(start + done)
        with open(source, "rb", buffering=0, closefd=False) as f:
            while done < place.length:
                count = f.readinto(buffer[: place.length - done])
                if not count:
                    raise UnreadableModel(f"'{place.path}' became shorter while it was read")
                target.write(buffer[:count])
                done += count
        target.flush()
    finally:
        os.close(source)


def _in_kernel(source: int, place: Place, out: int, start: int) -> int:
    """Copy without bringing anything into memory; returns how many bytes the system was able to."""
    done = 0
    if hasattr(os, "copy_file_range"):
        with suppress(OSError):  # not this pair of file systems
            while done < place.length:
                rest = min(AT_ONCE, place.length - done)
                count = os.copy_file_range(source, out, rest, place.offset + done, start + done)
                if count == 0:
                    break
                done += count
    return done
