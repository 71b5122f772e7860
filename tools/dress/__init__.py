"""The example of a dress detector: what it is shown, what it is, and how it learns.

``canvas`` and ``colours`` draw; ``fabrics``, ``dresses`` and ``people`` make figures; ``houses``, ``nature`` and
``cars`` make the rest; ``street`` puts them together, in some ``light``; ``samples`` cuts windows with their labels;
``network`` is the detector and ``training`` trains it. Only the last two need torch. Everything is seeded.
"""
