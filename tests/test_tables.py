"""A session as tables: exact decimals, the same facts in CSV and Parquet, and nothing half left behind."""

import csv
import shutil
from decimal import Decimal
from pathlib import Path

import pytest
from pyarrow import parquet

from console.cli import main
from console.exits import Exit
from engine.errors import SessionError
from engine.events import Filled, FundingPaid, Instrument, Side, Trade, decode_output
from engine.queue import tables
from engine.queue.retention import condense
from engine.queue.session import Session
from engine.queue.tables import export_tables


@pytest.fixture(scope="module")
def folder(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("tables")
    with Session(small) as session:
        for form in ("csv", "parquet"):
            export_tables(session, to / form, form)
    return to


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / "csv" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_fills_and_trades_are_those_of_the_session_in_exact_units(small: Path, folder: Path) -> None:
    with Session(small) as session:
        steps = [step for chunk in session.chunks() for step in chunk.steps()]
    units = {event.market: (event.tick, event.step) for event, _ in steps if isinstance(event, Instrument)}
    fills = [one for _, raws in steps for one in map(decode_output, raws) if isinstance(one, Filled)]
    told = rows(folder, "fills")
    assert len(told) == len(fills) > 0
    for row, fill in zip(told, fills, strict=True):
        tick, step = units[fill.market]
        assert (Decimal(row["price"]), Decimal(row["quantity"])) == (fill.price * tick, fill.quantity * step)
        assert Decimal(row["fee"]) == fill.fee and row["client_id"] == fill.client_id and int(row["at"]) == fill.at
    trades = [event for event, _ in steps if isinstance(event, Trade)]
    assert [int(row["id"]) for row in rows(folder, "trades")] == [trade.id for trade in trades]
    assert all("E" not in row["price"] for row in told), "a decimal is written as people write it"


def test_parquet_holds_the_same_as_csv_with_types(folder: Path) -> None:
    for path in sorted((folder / "csv").iterdir()):
        table = parquet.read_table(folder / "parquet" / f"{path.stem}.parquet")
        lines = rows(folder, path.stem)
        assert table.num_rows == len(lines)
        assert not lines or table.column_names == [*lines[0], "at_utc"]
        for column in table.column_names:
            values = table.column(column)
            if str(values.type).startswith("decimal"):
                assert [value.as_py() for value in values] == [Decimal(line[column]) for line in lines]
            elif column == "at_utc":
                assert str(values.type) == "timestamp[ns, tz=UTC]"
                assert [value.value for value in values] == [int(line["at"]) for line in lines]
            else:
                assert [str(value.as_py()) for value in values] == [line[column] for line in lines]


def test_tables_are_written_in_pieces(small: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "ROWS", 7)
    with Session(small) as session:
        export_tables(session, tmp_path / "p", "parquet")
    whole, pieces = (parquet.read_table(place / "quotes.parquet") for place in (folder / "parquet", tmp_path / "p"))
    assert whole.equals(pieces) and whole.num_rows > 7


def test_what_cannot_be_told_in_units_names_its_input(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stray = Trade(1, "binance:ZZZ/USDT:USDT", 1, 5, 7, Side.BUY, 0)
    monkeypatch.setattr(tables, "whole", lambda *_: iter([(41, stray, [])]))
    with Session(small) as session, pytest.raises(SessionError, match="input 41 tells of binance:ZZZ/USDT:USDT before"):
        export_tables(session, tmp_path / "t", "csv")
    assert not list(tmp_path.iterdir())


def test_a_number_too_fine_for_parquet_names_its_column(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paid = FundingPaid(1, "binance", "", Decimal("1e-19"), Decimal(1))
    monkeypatch.setattr(tables, "whole", lambda *_: iter([(41, None, [paid])]))
    with Session(small) as session, pytest.raises(SessionError, match=r"funding\.parquet: amount of inputs 41 to 41"):
        export_tables(session, tmp_path / "t", "parquet")
    assert not list(tmp_path.iterdir())


def test_of_a_condensed_session_there_is_what_it_kept(small: Path, folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / small.name
    shutil.copy(small, copy)
    condense(copy, 1_900_000_000 * 10**9)
    with Session(copy) as session:
        counts = export_tables(session, tmp_path / "t", "csv")
    assert counts["fills"] == len(rows(folder, "fills")) and counts["trades"] == 0


def test_nothing_is_written_over_and_nothing_half_is_left(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    with Session(small) as session:
        with pytest.raises(SessionError, match="there already"):
            export_tables(session, tmp_path / "mine", "csv")
        with pytest.raises(SessionError, match="cannot be written"):
            export_tables(session, tmp_path / "no" / "where", "csv")

        def stop(_: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            export_tables(session, tmp_path / "new", "csv", stop)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_command_writes_a_folder_and_says_what_is_in_it(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sessions", "export", str(small), "--to", str(tmp_path / "t"), "--as", "csv"]) == Exit.OK
    assert " fills" in capsys.readouterr().out and (tmp_path / "t" / "orders.csv").is_file()
    assert main(["sessions", "show", str(small), "--as", "csv"]) == Exit.USAGE
