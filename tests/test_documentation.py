"""What is written about the program is what the program does: generated parts equal their source."""

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from console import cli, orderline, research
from console.actions import ACTIONS, DATA
from console.cli import OWN_FLAGS, make_parser
from console.exits import Exit
from console.exits import render_table as render_exits
from engine.config import Settings, load, render_config, render_table
from engine.config.render import EXAMPLE, LIST
from engine.runtime.summary import render_table as render_summary

SECTIONS = [section for section in msgspec.structs.fields(Settings) if section.name != LIST]  # tables of their own
SETTINGS = [(section.name, key.name) for section in SECTIONS for key in msgspec.structs.fields(section.type)]
README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def typed(program: str) -> list[str]:
    """What the README has typed after `program`: in its code blocks, to the comment or the next command, and in its sentences."""
    blocks = "\n".join(re.findall(r"^```\w*\n(.*?)^```", README, re.DOTALL | re.MULTILINE))
    lines = re.findall(rf"(?:^|&& ){re.escape(program)}\b([^#|&\n]*)", blocks, re.MULTILINE)
    within = re.findall(rf"`{re.escape(program)}( [^`]*)?`", README)
    return sorted({" ".join(words.split()) for words in lines + within})


@pytest.fixture(scope="module")
def readme() -> str:
    return README


def between(text: str, name: str) -> str:
    """What stands between `<!-- name -->` and `<!-- /name -->`, each of which occurs once."""
    opening, closing = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    assert (text.count(opening), text.count(closing)) == (1, 1)
    return text.partition(opening)[2].partition(closing)[0]


@pytest.mark.parametrize(("section", "key"), SETTINGS)
def test_each_setting_is_described_in_the_readme(readme: str, section: str, key: str) -> None:
    rows = [row for row in readme.splitlines() if row.startswith(f"| `{section}.{key}` |")]
    assert len(rows) == 1
    assert all(cell.strip() for cell in rows[0].strip("|").split("|"))


def test_the_readmes_settings_table_is_the_generated_one(readme: str) -> None:
    assert between(readme, "settings") == render_table(), "write it again from: python -m engine.config table"


def test_config_toml_is_the_generated_one(root: Path) -> None:
    text = (root / "config.toml").read_text(encoding="utf-8")
    assert text == render_config(), "write it again: python -m engine.config > config.toml"


def test_the_readme_shows_what_an_orders_line_understands(readme: str) -> None:
    assert between(readme, "orders").strip() == orderline.render_table()


@pytest.mark.parametrize(("arguments", "made"), [([], render_config), (["table"], render_table)])
def test_the_command_in_the_readme_prints_what_is_generated(root: Path, arguments: list[str], made: object) -> None:
    command = [sys.executable, "-m", "engine.config", *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert callable(made)
    assert done.stdout == made()


def test_each_setting_has_a_description_that_reads_as_one() -> None:
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in render_table().splitlines()[2:]]
    assert len(rows) == len(SETTINGS)
    reads_well = re.compile(r"([A-Z]|fixed: |percentage_of_capital: |kelly: |risk_parity: ).*[^.]")
    assert [row[0] for row in rows if len(row) != 4 or not reads_well.fullmatch(row[3])] == []


def test_further_indicators_are_described_in_the_readme_and_the_example_is_one(readme: str, tmp_path: Path) -> None:
    assert f"`[[{LIST}]]`" in readme
    file = tmp_path / "config.toml"
    file.write_text("\n".join(line.removeprefix("# ") for line in EXAMPLE if "=" in line or "[[" in line[:6]))
    (one,) = load(file=file, environ={}, flags={}).indicators
    assert one.shown == "slow RSI"


def test_the_places_for_generated_tables_exist(readme: str) -> None:
    for name in ("summary", "exit-codes", "settings"):
        between(readme, name)


def test_links_of_the_readme_to_files_lead_somewhere(root: Path, readme: str) -> None:
    targets = [target for target in re.findall(r"\]\(([^)]+)\)", readme) if "://" not in target]
    assert targets
    assert [target for target in targets if not (root / target.partition("#")[0]).exists()] == []


def test_the_changelog_has_a_place_for_what_is_not_released(root: Path) -> None:
    assert "\n## [Unreleased]\n" in (root / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_exit_code_is_in_the_readme_and_in_the_help(readme: str) -> None:
    assert between(readme, "exit-codes").strip() == render_exits()
    help_text = " ".join(make_parser().format_help().split())
    assert all(code.meaning in help_text for code in Exit)


@pytest.mark.parametrize("line", typed("barter-tui"))
def test_each_command_in_the_readme_is_understood(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    name, *words = shlex.split(line) or [""]
    try:
        if name in OWN_FLAGS:
            given = importlib.import_module(OWN_FLAGS[name]).make_parser().parse_args(words)
            if hasattr(given, "set"):
                research.settings_of(given, {})
        else:
            given = make_parser().parse_args(shlex.split(line))
            load(file=None, environ={}, flags=cli._flags(given))
    except SystemExit:
        pytest.fail(capsys.readouterr().err)
    named = getattr(given, "words", [])[:1]
    assert set(named) <= set({"sessions": ACTIONS, "data": DATA, "model": ["pull"]}.get(name, ()))


def test_many_commands_in_the_readme_are_found() -> None:
    assert len(typed("barter-tui")) > 30 and "backtest --data synthetic --strategy dip:DIP --check" in typed("barter-tui")
    assert "" in typed("barter-tui") and "kill --flatten" in typed("barter-tui")


def test_the_benches_that_the_readme_names_understand_it(root: Path) -> None:
    from tests.bench.__main__ import make_parser as of_benches

    lines = typed("python -m tests.bench")
    assert "--quick" in lines
    for line in lines:
        of_benches().parse_args(shlex.split(line))


def test_the_flags_of_a_run_are_in_the_readme_as_generated(readme: str) -> None:
    assert between(readme, "flags").strip() == research.render_table(make_parser()).strip()


@pytest.mark.parametrize("name", OWN_FLAGS)
def test_the_flags_of_a_command_with_its_own_are_in_the_readme(readme: str, name: str) -> None:
    parser = importlib.import_module(OWN_FLAGS[name]).make_parser()
    assert between(readme, name).strip() == research.render_table(parser).strip()
    assert parser.prog == f"barter-tui {name}"


def test_the_readmes_table_of_the_summary_is_the_generated_one(readme: str) -> None:
    assert between(readme, "summary").strip() == render_summary()
