"""The lines of a what-if: which cell a value falls in, and what the axes say."""

from console.panes.profit import columns, plot


def test_curves_share_a_scale_that_holds_zero_and_end_at_both_ends_of_the_time() -> None:
    second = 10**9
    rows = plot({"one": [(0, 0.0), (9 * second, 5.0)], "two": [(0, 0.0), (9 * second, -5.0)]}, 40, 12)
    said = ["".join(text for text, _ in row) for row in rows]
    assert len(rows) == 12 and "one +5.00" in said[0] and "two -5.00" in said[0]
    assert said[1].endswith("+5.00") and said[10].endswith("-5.00") and any(line.endswith(" 0") for line in said)
    assert "00:00:00" in said[11] and "00:00:09" in said[11]
    assert plot({}, 40, 12) == plot({"one": []}, 40, 12) == plot({"one": [(0, 1.0)]}, 8, 12) == []


def test_a_cell_holds_the_newest_of_its_values_or_the_one_before() -> None:
    assert columns([(2, 1.0), (3, 2.0), (9, 3.0)], 0, 10, 5) == [None, 2.0, 2.0, 2.0, 3.0]
