"""Other forms of a head that compute exactly the same, and the choice of the fastest.

``products.py``  which Convs of a head are products with a constant matrix
``columns.py``   all windows of all images as the columns of one image
``rows.py``      the same as rows
``forms.py``     the forms that are made of those, and which of them a head can have
``walk.py``      the head in another form
``measuring.py`` how long one model takes, relative to another
``choosing.py``  which form is written

A Conv of onnxruntime's goes image by image and reads its whole weight again for each; a product with all windows of all
images reads it once. So other forms pay where a weight is far larger than the cache and there are several images. What
they cost is the laying out of the windows, each of whose cells is copied as often as a window has cells.
"""

from __future__ import annotations

from .choosing import Timed, Trial, Tuning, chosen, tried
from .forms import fitting
from .measuring import Compared, Run, compared
from .products import find
from .walk import Formed, formed

__all__ = [
    "Compared",
    "Formed",
    "Run",
    "Timed",
    "Trial",
    "Tuning",
    "chosen",
    "compared",
    "find",
    "fitting",
    "formed",
    "tried",
]
