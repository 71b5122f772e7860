"""Correct conversions that are made wrong, one mistake at a time: the checks must reject every one.

``subjects`` are models and what becomes of them, ``mistakes`` the ways to be wrong, ``proof`` shows that an edited
model really is another one, and ``trial`` holds it against the checks.
"""
