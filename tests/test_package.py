"""The repository and the package: what lies where, what imports what, and what may not occur in any file."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ALLOWED = set(["console", "engine", "themes", "config.toml", "tests", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"])
SOURCES = ("engine", "console")


def git(root: Path, *arguments: str) -> list[str]:
    """Lines of a git command; the test skips where the sources are no git repository of their own."""
    if not (root / ".git").exists():
        pytest.skip("not a git repository: these sources were unpacked from an archive")
    done = subprocess.run(["git", *arguments, "-z"], cwd=root, capture_output=True, text=True, check=True)
    return [name for name in done.stdout.split("\0") if name]


def written_files(root: Path) -> Iterator[tuple[str, str]]:
    """Name and text of every file that is or will be committed."""
    for name in git(root, "ls-files", "--cached", "--others", "--exclude-standard"):
        path = root / name
        if path.is_file():  # a file that was just deleted is still listed
            yield name, path.read_text(encoding="utf-8", errors="replace")


def modules(root: Path) -> Iterator[tuple[str, ast.Module]]:
    """Name and syntax tree of every module of the program."""
    for package in SOURCES:
        for path in sorted((root / package).rglob("*.py")):
            yield path.relative_to(root).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def calls(tree: ast.Module, name: str) -> list[int]:
    """Lines that call `name` or `anything.name`."""
    found = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return [node.lineno for node in found if name in (getattr(node.func, "id", ""), getattr(node.func, "attr", ""))]


def test_the_top_level_holds_only_what_the_design_names(root: Path) -> None:
    top = {name.split("/")[0] for name in git(root, "ls-files")}
    assert {name for name in top - ALLOWED if not name.startswith(".")} == set()


def test_every_dependency_earns_its_place_in_a_comment(root: Path) -> None:
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)
    wanted = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    wanted += [line for extra in project["project"]["optional-dependencies"].values() for line in extra]
    assert wanted
    bare = [one for one in wanted if not re.search(rf'^ *"{re.escape(one)}", *# \S', text, re.MULTILINE)]
    assert bare == []


def test_everything_put_into_the_wheel_exists(root: Path) -> None:
    wheel = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {"themes": "console/themes", "config.toml": "console/config.toml"}
    assert [name for name in (*wheel["force-include"], *wheel["packages"]) if not (root / name).exists()] == []


def test_the_source_archive_has_all_that_its_tests_read(root: Path) -> None:
    targets = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]
    always = {"pyproject.toml", ".gitignore"}  # hatchling adds them itself
    assert {name.split("/")[0] for name in git(root, "ls-files")} - always == set(targets["sdist"]["include"])


def test_the_import_contracts_hold(root: Path) -> None:
    run = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    environ = {**os.environ, "PYTHONPATH": str(root), "NO_COLOR": "1"}
    done = subprocess.run([sys.executable, "-c", run, "--no-cache"], cwd=root, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_file_names_a_package_registry(root: Path) -> None:
    # Put together here, so that this file does not name one itself.
    hosts = ["py" + "pi.", "python" + "hosted", "registry." + "npm", "crates" + ".io", "ana" + "conda.", "conda" + "-forge"]
    options = ["index" + "-url", "find" + "-links", "trusted" + "-host"]
    found = [(name, word) for name, text in written_files(root) for word in hosts + options if word in text.lower()]
    assert found == []


def test_no_file_names_a_folder_of_somebodys_machine(root: Path) -> None:
    places = "|".join(["ho" + "me", "ro" + "ot", "Us" + "ers", "wo" + "rk", "m" + "nt", "op" + "t", "sr" + "v"])
    absolute = re.compile(rf"(?<![\w.~/}}-])/({places})/[\w.]|[A-Z]:\\\\?Us" + "ers")
    assert absolute.search("in /ho" + "me/somebody") and not absolute.search("https://a.example/wo" + "rk/x")
    assert [(name, found[0]) for name, text in written_files(root) if (found := absolute.search(text))] == []


def test_only_risk_makes_an_approved_order(root: Path) -> None:
    makers = {name for name, tree in modules(root) if calls(tree, "Approved")}
    assert {name for name in makers if not re.match(r"engine/risk(\.py|/)", name)} == set()


def test_a_call_is_found_by_its_bare_and_by_its_dotted_name() -> None:
    assert calls(ast.parse("x = Approved(1)\nrisk.Approved(2)\nApproved\nunApproved()"), "Approved") == [1, 2]


def test_the_engine_prints_nothing(root: Path) -> None:
    trees = ((name, tree) for name, tree in modules(root) if name.startswith("engine/") and not name.endswith("/__main__.py"))
    assert [(name, line) for name, tree in trees for line in calls(tree, "print")] == []


def test_every_module_says_what_it_is_for(root: Path) -> None:
    assert [name for name, tree in modules(root) if not ast.get_docstring(tree)] == []


def test_a_function_of_some_length_says_what_it_promises(root: Path) -> None:
    long = [
        f"{name}: {node.name}"
        for name, tree in modules(root)
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("_")
        and (node.end_lineno or 0) - node.lineno >= 7
        and not ast.get_docstring(node)
    ]
    assert long == []


def test_the_whole_check_can_be_run(root: Path) -> None:
    script = root / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", str(script)], capture_output=True).returncode == 0
    assert "set -euo pipefail" in script.read_text(encoding="utf-8")
