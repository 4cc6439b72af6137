"""Strangers' bytes at each door of the program: what is read gives a value or the error that is documented, and nothing else.

    python -m tests.fuzz [--seconds N] [--door NAME] [--list]

Each door is one entry of `doors.DOORS`: real messages as seeds, and a function that takes bytes and raises only for a finding.
What can be read goes on into a core that has a position and orders, which must not fail on it, and into the journal's codec.
`tests/test_fuzz.py` runs every door a little; this runs each for N seconds, guided by coverage with atheris
(`pip install atheris`, Linux, in an environment of its own) and, where that is absent, with hypothesis. An input on which one
fails is printed in full and kept in the folder `fuzz-findings` of the system's temporary folder; it becomes a test.
"""
