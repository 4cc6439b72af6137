"""One strategy over the same bars in other people's backtesters, each a script for an environment of its own."""
