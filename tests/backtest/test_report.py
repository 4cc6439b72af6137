"""The report: one file that needs nothing else, with the figures of the statistics, and nothing of a stranger's unescaped."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import pytest

from engine.backtest import charts, report
from engine.backtest.metrics import FIGURES, shown
from engine.backtest.montecarlo import position_profits, simulate
from engine.backtest.spans import DAY_MS
from engine.errors import SessionError
from tests.backtest.ledgers import START_MS, bars, random_run, trades
from tests.backtest.test_result_export import Outcome

VOID = {"meta", "br", "img", "input", "hr", "link"}
EVIL = "<script>alert('x')</script>\"&"


class Page(HTMLParser):
    """Text by tag, outside of scripts; `open` is empty at the end of a page whose tags are all closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "script" in self.open or "style" in self.open:
            return
        self.text += data
        if "td" in self.open or "th" in self.open:
            self.cells[-1] += data


@pytest.fixture(scope="module")
def long() -> Outcome:
    return Outcome(*random_run(40 * 1440, 1_500))


@pytest.fixture(scope="module")
def html(long: Outcome) -> str:
    return report.page(long)


def test_the_page_is_whole_and_loads_nothing(html: str) -> None:
    page = Page(html)
    assert page.open == []
    assert not [attrs for tag, attrs in page.tags if tag in ("link", "img", "iframe") or "src" in attrs or "href" in attrs]
    policies = [attrs["content"] for _, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policies == [report.POLICY] and "default-src 'none'" in report.POLICY
    assert sum(len(part) > 1_000_000 for part in html.split("<script")) == 1  # the library, once
    assert '"showSendToCloud": false' in html


def test_it_shows_each_figure_of_the_statistics(long: Outcome, html: str) -> None:
    page = Page(html)
    found = long.statistics
    for figure in FIGURES:
        at = page.cells.index(figure.title + figure.description)
        assert page.cells[at + 1] == shown(figure, getattr(found, figure.name))
    assert "breakout on ASTER/USDT:USDT 1m" in page.text
    assert "Book features were neutral." in page.text


def test_synthetic_prices_are_said_in_large_letters_and_real_ones_are_not_called_so(long: Outcome, html: str) -> None:
    assert "synthetic" not in Page(html).text.lower()
    made = Page(report.page(replace(long, series=replace(long.series, synthetic=True))))
    title, _, body = made.text.strip().partition("\n")
    assert title == "SYNTHETIC breakout on ASTER/USDT:USDT 1m"
    assert body.startswith("SYNTHETIC") and "Backtest over synthetic data" in body
    assert ("div", {"class": "synthetic"}) in made.tags


def test_what_strangers_wrote_is_text_and_not_markup(long: Outcome) -> None:
    plain = report.page(long)
    contract = msgspec.structs.replace(long.series.contract, symbol=EVIL, venue=EVIL)
    series = replace(long.series, contract=contract, source=EVIL, remarks=(EVIL,))
    found = report.page(replace(long, series=series, labels={"strategy": EVIL, EVIL: EVIL}, notes=[EVIL]))
    assert "<script>alert" not in found and found.count("<script") == plain.count("<script")
    page = Page(found)
    assert page.open == []
    assert page.text.count(EVIL) >= 9  # title and heading, with strategy and symbol, and each of the others


def test_months_stand_in_their_columns_and_compound_to_the_year() -> None:
    series = bars([100] * 90, DAY_MS, START_MS - 31 * DAY_MS)  # December 2024 to February 2025
    equity = np.concatenate((np.full(31, 11_000.0), np.full(31, 9_900.0), np.full(28, 12_375.0)))
    page = Page(report.page(Outcome(series, trades(), equity)))
    first, second = page.cells.index("2024"), page.cells.index("2025")
    assert page.cells[first : first + 14] == ["2024", *[""] * 11, "10.00", "10.00"]
    assert page.cells[second : second + 14] == ["2025", "-10.00", "25.00", *[""] * 10, "12.50"]


def test_a_run_without_trades_is_a_page_that_says_so() -> None:
    page = Page(report.page(Outcome(bars([100, 101, 99]), trades(), np.full(3, 10_000.0))))
    assert page.open == [] and page.text.count("There was no trade.") == 5  # a remark, two charts, two tables


def test_one_bar_is_a_page_too() -> None:
    made = trades({"exit_bar": 0, "reason": 1, "profit": -1.0})
    assert Page(report.page(Outcome(bars([100]), made, np.array([9_999.0])))).open == []


def test_long_lines_are_thinned_and_keep_their_peaks(long: Outcome) -> None:
    by_name = {trace.name: trace for trace in charts.over_time(long).data}
    assert all(len(trace.x) <= max(charts.POINTS, 3 * charts.DRAWN) for trace in by_name.values())
    assert (min(by_name["Equity"].y), max(by_name["Equity"].y)) == (long.equity.min(), long.equity.max())
    assert min(by_name["Drawdown"].y) == pytest.approx(-100 * long.statistics.max_drawdown)
    tick = float(long.series.contract.tick)
    assert (min(by_name["Price"].y), max(by_name["Price"].y)) == (long.series.low.min() * tick, long.series.high.max() * tick)
    assert (np.diff(by_name["Price"].x) >= 0).all()
    assert by_name["Buy and hold"].y[-1] == pytest.approx(10_000 * (1 + long.statistics.buy_and_hold))


def test_of_many_trades_the_largest_are_drawn_and_the_page_says_how_many(long: Outcome, html: str) -> None:
    marks = next(trace for trace in charts.over_time(long).data if trace.name == "Exit")
    assert len(marks.x) == charts.DRAWN == 1_000
    assert "Of 1,500 trades the 1,000 that earned or lost most are drawn." in Page(html).text
    drawn = charts._largest(long.trades)
    assert np.abs(drawn["profit"]).min() >= np.sort(np.abs(long.trades["profit"]))[500]
    assert (np.diff(drawn["exit_bar"]) >= 0).all()


def test_a_trade_is_drawn_from_its_entry_to_its_exit_and_told_in_words() -> None:
    made = trades(
        {"quantity": 15, "entry": 123, "exit": 130, "entry_bar": 1, "exit_bar": 3, "profit": 0.1, "reason": 2},
        {"side": -1, "entry": 130, "exit": 135, "entry_bar": 3, "exit_bar": 3, "profit": -0.05, "reason": 1},
    )
    series = bars([123, 123, 128, 135])
    by_name = {trace.name: trace for trace in charts.over_time(Outcome(series, made, np.full(4, 10_000.0))).data}
    assert list(by_name["Won"].x[:2]) == [series.open_ms[1], series.open_ms[3]]
    assert list(by_name["Won"].y[:2]) == pytest.approx([1.23, 1.30]) and np.isnan(by_name["Won"].y[2])
    assert list(by_name["Not won"].y[:2]) == pytest.approx([1.30, 1.35])
    entries = by_name["Entry: ▲ long, ▼ short"]
    assert list(entries.marker.symbol) == ["triangle-up", "triangle-down"]
    assert entries.customdata[0] == "long 1.5: 1.23 → 1.30, target, +0.10"
    assert by_name["Price"].type == "candlestick" and list(by_name["Price"].close) == pytest.approx([1.23, 1.23, 1.28, 1.35])


def test_the_bars_of_results_count_each_trade_and_part_at_zero(long: Outcome) -> None:
    figure = charts.results(long)
    assert figure is not None
    bar = figure.data[0]
    assert sum(bar.y) == 1_500 and len(bar.x) <= charts.BINS
    assert not ((np.asarray(bar.x) - bar.width / 2 < -1e-9) & (np.asarray(bar.x) + bar.width / 2 > 1e-9)).any()
    assert [colour == charts.GAIN for colour in bar.marker.color] == [middle > 0 for middle in bar.x]


@pytest.mark.parametrize("profits", [[0.0], [1.0], [-1.0], [1.0, 1.0], [-3.0, 1e-9], [1e-12, 5.0]])
def test_results_of_any_spread_have_bins(profits: list[float]) -> None:
    made = trades(*[{"profit": profit} for profit in profits])
    figure = charts.results(Outcome(bars([100, 100]), made, np.full(2, 10_000.0)))
    assert figure is not None and sum(figure.data[0].y) == len(profits)


def test_further_findings_are_tables_by_their_descriptions(long: Outcome) -> None:
    class Odd(msgspec.Struct, frozen=True):
        """What <was> found. And more."""

        size: Annotated[int, msgspec.Meta(description="How <large>")]
        none: float | None = None

    summary = simulate(position_profits(long.trades), 10_000.0, runs=200).summary()
    page = Page(report.page(long, [summary, Odd(12_345)]))
    assert page.open == []
    assert "What the runs came to" in page.text and "What <was> found" in page.text
    assert page.cells[page.cells.index("Equity ends below the start") + 1] == f"{summary.chance_of_loss:,.4g}"
    assert page.cells[page.cells.index("How <large>") :][:4] == ["How <large>", "12,345", "none", "-"]
    assert page.cells[page.cells.index("level") :][:3] == ["level", "final", "drawdown"]


def test_the_same_result_is_the_same_page(long: Outcome, html: str) -> None:
    assert report.page(long) == html


def test_the_file_comes_whole_and_over_nothing(long: Outcome, html: str, tmp_path: Path) -> None:
    report.write(long, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == html
    with pytest.raises(SessionError, match="there already"):
        report.write(long, tmp_path / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
