"""Any indicator of `ta` by its name: the table against the library, the worker against direct calls, and what is not accepted."""

import asyncio
import importlib
import inspect
import json
import math
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pandas
import pytest
from factory import settings
from simulated import KEY, SECRET, simulated, until
from ta.utils import IndicatorMixin

from engine.catalog import KINDS, ON_PRICE, Wanted, arguments, columns, drawn, found, problem
from engine.config import create_aster_config, load
from engine.core import Core
from engine.errors import ConfigError
from engine.events import Event, IndicatorValues, encode
from engine.execution.live import Credentials
from engine.processor.catalog import FIELDS, KEPT, Reply, Request, Row
from engine.runtime import Endpoints, Engine
from engine.views import ChartView, IndicatorsView, Watch

MARKET = "binance:ASTER/USDT:USDT"
MODULES = ("momentum", "trend", "volatility", "volume", "others")
GIVEN: dict[str, dict[str, int]] = {"SMAIndicator": {"window": 20}}


def library() -> dict[str, type]:
    classes: dict[str, type] = {}
    for name in MODULES:
        module = importlib.import_module(f"ta.{name}")
        members = inspect.getmembers(module, inspect.isclass)
        classes |= {n: c for n, c in members if issubclass(c, IndicatorMixin) and c.__module__ == module.__name__}
    return classes


def bars(count: int, seed: int = 5) -> list[Row]:
    dice, close, rows = random.Random(seed), 100.0, []
    for _ in range(count):
        opened, close = close, close * math.exp(dice.gauss(0, 0.002))
        high, low = max(opened, close) * (1 + dice.random() * 0.001), min(opened, close) * (1 - dice.random() * 0.001)
        rows.append((opened, high, low, close, float(dice.randint(1, 5000))))
    return rows


def directly(wanted: Wanted, rows: list[Row]) -> dict[str, float]:
    frame = pandas.DataFrame(rows, columns=list(FIELDS))
    kind = KINDS[found(wanted.name)]
    made = library()[found(wanted.name)](**{field: frame[field] for field in kind.inputs}, **arguments(wanted))
    return {column: float(getattr(made, output)().iloc[-1]) for output, column in columns(wanted).items()}


# --- the table -------------------------------------------------------------------------------------------------------


def test_the_table_has_every_indicator_of_the_installed_library() -> None:
    assert KINDS.keys() == library().keys()


@pytest.mark.parametrize("name", KINDS)
def test_a_row_of_the_table_is_what_the_library_takes_and_gives(name: str) -> None:
    kind, made = KINDS[name], library()[name]
    takes = {key: one.default for key, one in inspect.signature(made.__init__).parameters.items()}  # type: ignore[misc]
    assert kind.module == made.__module__.removeprefix("ta.")
    assert kind.inputs == tuple(key for key in takes if key in FIELDS)
    left_out = {"self", "fillna", "dropnans", *FIELDS}  # `dropnans` would shift the bars that figures belong to
    assert kind.parameters.keys() == takes.keys() - left_out
    for key, default in kind.parameters.items():
        assert takes[key] is inspect.Parameter.empty if isinstance(default, type) else takes[key] == default
    gives = [key for key, _ in inspect.getmembers(made, inspect.isfunction) if not key.startswith("_")]
    assert kind.outputs == tuple(gives)


# --- entries ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["RSIIndicator", "rsi", "RSI", "momentum.RSIIndicator"])
def test_an_indicator_is_found_by_any_of_its_names(name: str) -> None:
    assert found(name) == "RSIIndicator" and problem(Wanted(name)) is None


WRONG = {
    "name": ({"name": "RSIndicator"}, "indicators[1].name: 'RSIndicator' is no indicator of the ta library", "RSIIndicator"),
    "parameter": ({"name": "RSI", "parameters": {"windows": 14}}, "RSIIndicator has no parameter 'windows'", "window"),
    "type": ({"name": "RSI", "parameters": {"window": 1.5}}, "window of RSIIndicator is 1.5", "a whole number"),
    "flag": ({"name": "RSI", "parameters": {"window": True}}, "window of RSIIndicator is True", "a whole number"),
    "size": ({"name": "RSI", "parameters": {"window": 5000}}, "window of RSIIndicator is 5000", "from 0 to 400"),
    "missing": ({"name": "SMAIndicator"}, "SMAIndicator needs window", "parameters = {window = 20}"),
    "bars": ({"name": "RSI", "timeframe": "5m"}, "'5m' is not a length of bars", "one of 1s, 1m"),
    "field": ({"name": "RSI", "period": 5}, "indicators[1]: Object contains unknown field `period`", "parameters"),
    "label": ({"name": "RSI", "label": "x" * 50}, "indicators[1].label", "40 characters"),
}


@pytest.mark.parametrize("case", WRONG)
def test_an_entry_that_cannot_be_is_named_with_what_would_do(case: str) -> None:
    entry, words, expected = WRONG[case]
    with pytest.raises(ConfigError) as raised:
        create_aster_config(indicators=[entry])  # type: ignore[arg-type]
    assert words in str(raised.value) and expected in str(raised.value)


def test_the_list_comes_from_a_file_and_from_nowhere_else(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[[indicators]]\nname = "MACD"\ntimeframe = "1m"\nparameters = { window_fast = 5 }\nlabel = "quick"\n')
    chosen = load(file=file, environ={}, flags={})
    assert chosen.indicators == (Wanted("MACD", "1m", {"window_fast": 5}, "quick"),)
    with pytest.raises(ConfigError, match=r"tables of the settings file. Expected \[\[indicators\]\]"):
        load(file=file, environ={}, flags={"indicators.name": "RSI"})
    file.write_text("indicators = 7\n")
    with pytest.raises(ConfigError, match=r"indicators: this is a whole number. Expected tables"):
        load(file=file, environ={}, flags={})


def test_two_of_one_name_need_labels_and_there_are_no_more_than_fifty() -> None:
    with pytest.raises(ConfigError, match="two indicators are called"):
        create_aster_config(indicators=[{"name": "RSI"}, {"name": "RSI"}])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="there are 51 of them"):
        create_aster_config(indicators=[{"name": "RSI", "label": str(n)} for n in range(51)])  # type: ignore[arg-type]


# --- the worker --------------------------------------------------------------------------------------------------------


def ask(process: "subprocess.Popen[bytes]", request: Request) -> Reply:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(msgspec.json.encode(request) + b"\n")
    process.stdin.flush()
    return msgspec.json.decode(process.stdout.readline(), type=Reply)


def started(root: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "engine.processor.catalog"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root)


def test_every_indicator_in_a_real_worker_is_what_a_direct_call_gives(root: Path) -> None:
    wanted = [Wanted(name, "", dict(GIVEN.get(name, {}))) for name in KINDS]
    rows, process = bars(KEPT), started(root)
    try:
        reply = ask(process, Request(MARKET, 1000, 7, True, rows[:-1], wanted))
        reply = ask(process, Request(MARKET, 1000, 8, False, rows[-1:]))
        assert (reply.market, reply.open_ms, reply.failed) == (MARKET, 8, {})
        for one in wanted:
            for column, value in directly(one, rows).items():
                ours = reply.values[column]
                assert ours is None if math.isnan(value) else ours == pytest.approx(value, rel=1e-9), column
        process.stdin.close()  # type: ignore[union-attr]
        assert process.wait(10) == 0, "it ends when its input does"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


def test_outputs_that_are_prices_are_outputs_and_lie_near_the_price() -> None:
    named = {output for kind in KINDS.values() for output in kind.outputs}
    assert named >= ON_PRICE
    rows = bars(KEPT)
    for name in KINDS:
        wanted = Wanted(name, "", dict(GIVEN.get(name, {})))
        values = directly(wanted, rows)
        assert all(0.8 < values[column] / rows[-1][3] < 1.25 for column in drawn(wanted))


def test_a_worker_that_begins_tells_what_is_drawn_at_each_bar(root: Path) -> None:
    wanted, rows = [Wanted("EMA", "", {"window": 5}), Wanted("RSI"), Wanted("Donchian" + "Channel", "", {}, "D")], bars(60)
    process = started(root)
    try:
        first = ask(process, Request(MARKET, 1000, 7, True, rows[:-1], wanted))
        assert set(first.past) == {"EMA", "D.donchian_channel_hband", "D.donchian_channel_lband", "D.donchian_channel_mband"}
        line = first.past["EMA"]
        assert len(line) == 59 and line[:4] == [None] * 4 and line[-1] == first.values["EMA"]
        for place in (10, 40):
            assert line[place] == pytest.approx(directly(wanted[0], rows[: place + 1])["EMA"], rel=1e-9)
        assert ask(process, Request(MARKET, 1000, 8, False, rows[-1:])).past == {}
    finally:
        process.kill()
        process.wait()
        process.stdin.close()  # type: ignore[union-attr]
        process.stdout.close()  # type: ignore[union-attr]


RECURSIVE = ("EMAIndicator", "RSIIndicator", "AverageTrueRange", "ADXIndicator", "MACD", "KAMAIndicator", "TRIXIndicator")


@pytest.mark.parametrize("name", RECURSIVE)
def test_what_is_kept_is_enough_for_recursions(name: str) -> None:
    rows = bars(3000)
    whole, kept = directly(Wanted(name), rows), directly(Wanted(name), rows[-KEPT:])
    for column, value in whole.items():
        assert kept[column] == pytest.approx(value, rel=1e-6, abs=1e-9)


def test_an_indicator_that_fails_is_named_and_the_others_go_on(root: Path) -> None:
    process = started(root)
    try:
        wanted = [Wanted("StochasticOscillator", "", {"window": 0}, "bad"), Wanted("RSI")]
        reply = ask(process, Request(MARKET, 1000, 7, True, bars(KEPT), wanted))
        assert reply.values["RSI"] is not None and (reply.failed or reply.values["bad.stoch"] is None)
    finally:
        process.kill()
        process.wait()
        process.stdin.close()  # type: ignore[union-attr]
        process.stdout.close()  # type: ignore[union-attr]


# --- in the engine -----------------------------------------------------------------------------------------------------


async def test_figures_reach_core_picture_and_features_and_a_killed_worker_is_replaced(tmp_path: Path) -> None:
    wanted = [
        {"name": "RSI", "parameters": {"window": 9}, "label": "quick RSI"},
        {"name": "MACD", "timeframe": "1m"},
        {"name": "EMA", "parameters": {"window": 3}},
    ]
    inputs: list[bytes] = []
    outputs: list[list[bytes]] = []

    def journal(event: Event, out: list[Event]) -> None:
        inputs.append(encode(event))
        outputs.append([encode(one) for one in out])

    async with simulated() as venue:
        chosen = settings(engine={"state_dir": str(tmp_path), "venues": ["binance"]}, indicators=wanted)  # type: ignore[arg-type]
        endpoints, keys = Endpoints(venue.rest, venue.ws, True), Credentials(KEY, SECRET)
        async with Engine(chosen, venue.clock, endpoints, keys, journal=journal) as engine:
            market = lambda: engine.state.markets[MARKET]  # noqa: E731
            await until(lambda: 1000 in market().catalog, 60.0)
            await until(lambda: market().features[1000].extra, 30.0)
            assert 0 < market().features[1000].extra["quick RSI"] < 100
            (picture,) = [one for one in engine.pictures(Watch(MARKET, 1000, 5)) if isinstance(one, IndicatorsView)]
            (drawn_,) = [one for one in engine.pictures(Watch(MARKET, 1000, 5)) if isinstance(one, ChartView)]
            assert drawn_.listed.keys() == {"EMA"}
            near = [(bar.close, value) for bar, value in zip(drawn_.bars, drawn_.listed["EMA"], strict=True) if value == value]
            assert near and all(0.9 < value / (close * float(drawn_.tick)) < 1.1 for close, value in near)
            assert picture.extra.keys() == {"quick RSI", "EMA"} and picture.extra_open_ms >= picture.bar_open_ms - 5000
            workers = children(os.getpid())
            assert len(workers) == 1
            os.kill(workers[0], signal.SIGKILL)
            newest = market().catalog[1000].bar_open_ms
            await until(lambda: market().catalog[1000].bar_open_ms > newest + 2000, 60.0)
            assert any("died, so it is started anew" in text for _, _, text in engine.alerts)
        assert children(os.getpid()) == []
    replay(chosen, inputs, outputs)


def replay(chosen: object, inputs: list[bytes], outputs: list[list[bytes]]) -> None:
    """The same inputs give the same outputs, without a worker."""
    from engine.events import decode_input

    core = Core(chosen)  # type: ignore[arg-type]
    events = [decode_input(raw) for raw in inputs]
    assert any(isinstance(event, IndicatorValues) for event in events)
    for event, told in zip(events, outputs, strict=True):
        assert [encode(one) for one in core.process(event)] == told


def children(pid: int) -> list[int]:
    """Catalogue workers among a process's children."""
    found_: list[int] = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
            command = path.with_name("cmdline").read_text()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z" and "engine.processor.catalog" in command:
            found_.append(int(path.parent.name))
    return found_


async def test_without_an_entry_no_worker_is_started(tmp_path: Path) -> None:
    async with simulated() as venue:
        chosen = settings(engine={"state_dir": str(tmp_path), "venues": ["binance"]})
        async with Engine(chosen, venue.clock, Endpoints(venue.rest, venue.ws, True), Credentials(KEY, SECRET)):
            await asyncio.sleep(0.2)
            assert children(os.getpid()) == []


def test_the_engine_does_not_import_what_the_worker_needs() -> None:
    code = "import sys, engine.runtime, console.app, json; print(json.dumps([m for m in ('ta', 'pandas') if m in sys.modules]))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(told) == []
