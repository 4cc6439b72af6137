"""What the program costs, measured on real messages through the real parts. Figures are printed, facts are asserted.

    python -m tests.bench [--quick] [--peers FOLDER] [--out FILE.json]

runs all of them, one at a time, each a process of its own, and gives a table and JSON; `--readme FILE.json` writes the
README's table of it. Or each alone, from the repository:

    python -m tests.bench.market_data       decoder, book and trust beside ccxt.pro on the same frames; a book after an hour
    python -m tests.bench.pipeline          decoding, book and core: messages a second, CPU by kind, memory
    python -m tests.bench.journal           recording: events a second beside the bare store, bytes, replay; 100 SIGKILLs
    python -m tests.bench.soak              10,000 messages a second through sockets for a minute: nothing lost, memory flat
    python -m tests.bench.tick_to_wire      from the socket read that causes an order to its bytes at the socket
    python -m tests.bench.console           the console on a pseudo-terminal: CPU, frames, keys, bytes; what it costs the engine
    python -m tests.bench.backtest          a year of bars beside other backtests, each in an environment of its own
    python -m tests.bench.model             tick to wire while a model writes, beside the same without it
    python -m tests.bench.faults            every fault at both venues and around them: lost, doubled, bare, times to trust, flat
    python -m tests.bench.hours             hours of accelerated market with faults all the time: nothing grows, all of it replays
    python -m tests.bench.kill              F12 under load: from the key to the cancel on the wire, no entry after it, stop kept

`--seconds N` shortens soak and tick_to_wire (`--seconds 10` is a smoke run), `--smoke` market_data, console and kill;
`--help` tells the rest. A fact that does not hold ends a run with an AssertionError; no time is a fact, because machines are
shared: compare ratios within one run.
The recording is `../shared/data/market/hftbacktest/usdm_btcusdt_20240808.gz` beside the repository; where it is absent a
synthetic twin of it is made, and the first line of every output says which of the two was played.
"""
