"""Tests of the part of the model that stays as it is."""
