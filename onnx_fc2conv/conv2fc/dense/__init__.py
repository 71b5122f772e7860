"""Every convolution as the paper's equivalent FC: one product of the whole map with an explicit matrix, at one size.

The map of each image is one vector, from node to node. A convolution is a Gemm with the doubly block Toeplitz matrix
(Ma and Lu, "An Equivalence of Fully Connected Layer and Convolutional Layer", 2017); pools that take means are too.
What scales, shifts or moves features goes into the matrices in front or behind, activations stand in between, "extended
to the non-linear case", and what is neither (a maximum) stays on the map, between two views.

==============  ====================================================================================================
``window``      which cell each tap meets, along one axis
``linear``      operators as the places and values of a matrix's entries
``reading``     how features are read from others: order, scale, shift
``matrix``      the explicit matrix, with such readings taken in
``products``    which nodes are linear operators
``moves``       which nodes only move, scale or shift features
``steps``       what is computed on flat values
``vectors``     the flat values while they are planned, and what is folded into what
``elementwise``  nodes on flat values
``joining``     values side by side
``walk``        from node to node
``left``, ``refused``  what stays, and why
``estimate``    what it is going to cost, and then the building of it
==============  ====================================================================================================
"""

from .estimate import Estimate, plan

__all__ = ["Estimate", "plan"]
