"""`python -m engine.config` prints `config.toml`; `python -m engine.config table` prints the README's settings table."""

import sys

from engine.config import render_config, render_table

if sys.argv[1:] not in ([], ["table"]):
    sys.exit("usage: python -m engine.config [table]")
sys.stdout.write(render_table() if sys.argv[1:] else render_config())
