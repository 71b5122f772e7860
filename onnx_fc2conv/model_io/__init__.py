"""Models on disk. The only room that knows where a tensor's bytes are, and the only one that writes.

Reading trusts nothing: every name must be defined once, every tensor as long as its dims say, every external data
file inside the model's folder. Large tensors' bytes stay where they are (``light``): what the other rooms get, copy and
edit is a message of kilobytes. Writing is all or nothing: the bytes go from file to file (``splicing``, ``copying``),
or are turned in blocks on the way (``moving``); everything goes to a private place beside the target, is flushed to the
disk there, and is renamed last (``staging``).
"""

from .metadata import metadata
from .reading import load, parse
from .splicing import whole
from .staging import require_shareable, staged
from .writing import Target, write_bytes, write_text

__all__ = ["Target", "load", "metadata", "parse", "require_shareable", "staged", "whole", "write_bytes", "write_text"]
