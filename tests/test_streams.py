"""Facts of a session, each on the stream where it belongs, numbered so that what is read twice or missing is known."""

import itertools
from decimal import Decimal
from typing import get_args

import msgspec
import pytest

from engine import events as e
from engine.events import Action, Command, Decided, Event, Filled, Purpose, Side, Tick
from engine.queue import Chunk
from engine.queue.streams import STREAMS, Fact, Manifest, Ordered, Place, Stream, chained, facts, manifest, stream_of

MARKET = "binance:ASTER/USDT:USDT"


def decided(at: int) -> Decided:
    return Decided(at, MARKET, Purpose.ENTRY, Side.BUY, 5, False, "the spread is too wide")


def filled(at: int) -> Filled:
    fee, wallet = Decimal("0.0300"), Decimal("9999.97")
    return Filled(at, MARKET, "c1", 7, Side.BUY, 5, 6_000, fee, False, Decimal(0), 5, wallet)


def chunk(first: int, *steps: tuple[Event, list[Event]]) -> Chunk:
    outputs = [msgspec.Raw(e.encode(output)) for _, some in steps for output in some]
    counts = [(place, len(some)) for place, (_, some) in enumerate(steps) if some]
    return Chunk(first, [event for event, _ in steps], outputs, counts)  # type: ignore[misc]


def values(session: str = "s1", numbers: int = 4) -> list[bytes]:
    made = facts(session, chunk(0, *((Tick(at), [decided(at)]) for at in range(numbers))), {})
    return [msgspec.msgpack.encode(fact) for _, fact in made]


def test_money_and_decisions_each_go_to_their_stream_with_the_input_they_came_from() -> None:
    counts: dict[Stream, int] = {}
    command = Command(12, "1", Action.ARM, "the start")
    first = list(facts("s1", chunk(10, (Tick(10), []), (Tick(11), [decided(11), filled(11)]), (command, [])), counts))
    assert [(stream, fact.sequence, fact.input) for stream, fact in first] == [
        *((Stream.DECISIONS, 0, 11), (Stream.EXECUTIONS, 0, 11), (Stream.DECISIONS, 1, 12)),
    ]
    assert [fact.decoded() for _, fact in first] == [decided(11), filled(11), command]
    later = list(facts("s1", chunk(13, (Tick(13), [filled(13)])), counts))
    assert [(stream, fact.sequence) for stream, fact in later] == [(Stream.EXECUTIONS, 1)]


def test_market_data_is_on_no_stream_and_every_order_and_fill_is() -> None:
    assert not {e.Quote, e.BookDelta, e.Trade, e.Kline, e.Tick} & set(STREAMS)
    assert {e.SendOrder, e.OrderChanged, e.Filled, e.FundingPaid, e.AccountSnapshot} < set(STREAMS)
    assert set(STREAMS) <= {*get_args(e.Input), *get_args(e.Output)}


@pytest.mark.parametrize("raw", [b"", b"\x90", b"\xc1\xc1", b"\x92\xa4Tick\x01", b"\x92\xd9\x04Tick\x01", e.encode(Tick(3))])
def test_what_is_no_fact_is_on_no_stream(raw: bytes) -> None:
    assert stream_of(raw) is None


def test_the_event_of_a_fact_is_encoded_as_everywhere() -> None:
    ((_, fact),) = facts("s1", chunk(0, (Tick(1), [filled(1)])), {})
    assert e.decode_output(bytes(fact.event)) == filled(1)
    assert stream_of(bytes(fact.event)) is Stream.EXECUTIONS


def test_records_that_come_twice_are_given_out_once() -> None:
    some = values()
    reader = Ordered("s1")
    taken = [fact.sequence for value in (*some[:3], *some[1:], *some) if (fact := reader.take(value)) is not None]
    assert (taken, reader.repeated, reader.missing) == ([0, 1, 2, 3], 6, 0)


def test_a_hole_is_noticed_and_others_sessions_are_left_alone() -> None:
    some = values()
    reader = Ordered("s1")
    taken = [reader.take(value) for value in (some[0], *values("s2"), b"\xc1", some[3])]
    assert [fact.sequence for fact in taken if fact is not None] == [0, 3]
    assert (reader.missing, reader.strange, reader.following) == (2, 1, 4)


def test_a_manifest_names_where_records_lie_and_a_hash_that_a_reader_finds_too() -> None:
    some = values()
    place = Place("aster-decisions").added(some[:1], 40, 40).added(some[1:], 43, 45)
    assert (place.first, place.last, place.count) == (40, 45, 4)
    reader = Ordered("s1")
    for value in (some[0], some[0], *some[1:]):
        reader.take(value)
    assert reader.sha256 == place.sha256 == chained(chained(chained(chained("", some[0]), some[1]), some[2]), some[3])
    told = Manifest("s1", False, (place,))
    assert manifest(msgspec.json.encode(told)) == told
    assert manifest(b"{}") is None and manifest(some[0]) is None


def test_one_changed_record_changes_the_hash() -> None:
    found = {Place("t").added(list(order), 0, 1).sha256 for order in itertools.permutations(values(numbers=2))}
    assert len(found) == 2
    assert isinstance(msgspec.msgpack.decode(values()[0], type=Fact), Fact)
