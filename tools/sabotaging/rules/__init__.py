"""Mutation testing of the rules: small changes of the code, each of which a test must notice.

``targets`` says what is mutated, ``mutators`` how, ``recording`` which test runs which line, ``trial`` judges one
mutant in a process of its own, ``campaign`` a seeded sample of them, and ``score`` says how many were killed.
"""
