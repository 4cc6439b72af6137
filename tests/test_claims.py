"""What the README claims of security and of the first version's promises: each line names tests or benchmarks that exist."""

import ast
import re
from pathlib import Path

import pytest

from tests.test_documentation import between


@pytest.fixture(scope="module")
def tests(root: Path) -> set[str]:
    """The names of all tests."""
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in (root / "tests").rglob("test_*.py"))
    functions = (node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {node.name for node in functions if node.name.startswith("test_")}


@pytest.mark.parametrize(("table", "least"), [("security", 10), ("promised", 27)])
def test_each_line_of_the_readmes_claims_names_tests_that_exist(root: Path, tests: set[str], table: str, least: int) -> None:
    rows = between((root / "README.md").read_text(encoding="utf-8"), table).strip().splitlines()[2:]
    assert len(rows) >= least
    for row in rows:
        *_, shown = [cell.strip() for cell in row.strip("|").split("|")]
        named = re.findall(r"`([^`]+)`", shown)
        assert named, f"nothing shows: {row[:80]}"
        for name in named:
            if name.startswith("python -m "):
                assert (root / f"{name.removeprefix('python -m ').replace('.', '/')}.py").is_file(), name
            else:
                assert name in tests, f"there is no test {name}"
