"""The reverse equivalence: convolutions as products with a matrix, in standard ONNX operators.

A convolution is a matrix product (Ma and Lu, "An Equivalence of Fully Connected Layer and Convolutional Layer", 2017),
in two forms:

``matmul/``  patches of the map, gathered side by side, times the kernel as a matrix: the same multiplications, any size
``dense/``   the whole map as one vector, times the explicit doubly block Toeplitz matrix: one FC, at one size
"""

from .lowering import Lowering, Product
from .selection import Selection

__all__ = ["Lowering", "Product", "Selection"]
