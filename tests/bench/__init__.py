"""What the program costs, measured on real messages through the real parts. Figures are printed, facts are asserted.

One way to run them, from the repository, one at a time, since each measures its own process:

    python -m tests.bench.pipeline          decoding, book and core: messages a second, CPU by kind, memory
    python -m tests.bench.journal           recording: events a second beside the bare store, bytes, replay; 100 SIGKILLs
    python -m tests.bench.soak              10,000 messages a second through sockets for a minute: nothing lost, memory flat
    python -m tests.bench.tick_to_wire      from the socket read that causes an order to its bytes at the socket
    python -m tests.bench.console           the console on a pseudo-terminal: CPU, frames, keys, bytes; what it costs the engine
    python -m tests.bench.kill              F12 under load: from the key to the cancel on the wire, no entry after it, stop kept

`--seconds N` shortens soak and tick_to_wire (`--seconds 10` is a smoke run), `--smoke` the two after them; `--help` tells
the rest. A fact that does not hold ends a run with an AssertionError; no time is a fact, because machines are shared:
compare ratios within one run.
The recording is `../shared/data/market/hftbacktest/usdm_btcusdt_20240808.gz` beside the repository; where it is absent a
synthetic twin of it is made, and the first line of every output says which of the two was played.
"""
