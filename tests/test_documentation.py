"""What is written about the program is what the program does: generated parts equal their source."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from console import orderline, research
from console.cli import OWN_FLAGS, make_parser
from console.exits import Exit
from console.exits import render_table as render_exits
from engine.config import Settings, load, render_config, render_table
from engine.config.render import EXAMPLE, LIST
from engine.runtime.summary import render_table as render_summary

SECTIONS = [section for section in msgspec.structs.fields(Settings) if section.name != LIST]  # tables of their own
SETTINGS = [(section.name, key.name) for section in SECTIONS for key in msgspec.structs.fields(section.type)]


@pytest.fixture(scope="module")
def readme(root: Path) -> str:
    return (root / "README.md").read_text(encoding="utf-8")


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


def test_every_flag_is_in_the_readme(readme: str) -> None:
    for action in make_parser()._actions:
        for name in action.option_strings:
            if name.startswith("--") and name != "--help":
                assert f"`{name}" in readme or f" {name}" in readme, f"{name} is not in the README"


@pytest.mark.parametrize("name", OWN_FLAGS)
def test_the_flags_of_a_command_with_its_own_are_in_the_readme(readme: str, name: str) -> None:
    parser = importlib.import_module(OWN_FLAGS[name]).make_parser()
    assert between(readme, name).strip() == research.render_table(parser).strip()
    assert parser.prog == f"barter-tui {name}"


def test_the_readmes_table_of_the_summary_is_the_generated_one(readme: str) -> None:
    assert between(readme, "summary").strip() == render_summary()
