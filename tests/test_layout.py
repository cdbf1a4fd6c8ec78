"""The walls: what lies where, and which way imports run."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ["permissions", "serializers", "gateway"]  # each may import those before it
SHOWN_BY_ALL = {"apps", "models", "routing"}  # by the tests of the other files


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph("livegate", exclude_type_checking_imports=False, cache_dir=None)


def test_imports_run_one_way_between_the_rooms(graph):
    for number, room in enumerate(ROOMS):
        for higher in ROOMS[number + 1 :]:
            chains = graph.find_shortest_chains(f"livegate.{room}", f"livegate.{higher}")
            assert not chains, f"{room} must not know {higher}: {chains}"
    assert graph.find_shortest_chains("livegate.gateway", "livegate.permissions")


def test_no_two_modules_import_each_other_by_any_way(graph):
    ours = [module for module in graph.modules if module != "livegate"]
    assert len(ours) > 20
    circles = [
        (module, chain)
        for module in ours
        for imported in graph.find_modules_directly_imported_by(module)
        if (chain := graph.find_shortest_chain(imported, module))
    ]
    assert circles == []


def test_the_root_holds_a_docstring_and_a_version_only():
    assert [path.name for path in ROOT.glob("*.py")] == ["__init__.py"]
    docstring, version = ast.parse((ROOT / "__init__.py").read_text()).body
    assert isinstance(docstring, ast.Expr)
    assert ast.unparse(version).startswith("__version__ = ")


def test_every_package_of_the_rooms_is_listed_to_be_installed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {
        ".".join(["livegate", *path.parent.relative_to(ROOT).parts])
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
    }
    assert set(listed) == {"livegate", *found}


def test_each_source_file_has_a_test_file_of_its_name():
    for room in ROOMS:
        for path in (ROOT / room).rglob("[!_]*.py"):
            folder = path.relative_to(ROOT).parent
            if path.stem in SHOWN_BY_ALL or folder.name == "migrations":
                continue
            if folder.name == "commands":  # of the app that has them
                folder = folder.parent.parent
            assert (ROOT / "tests" / folder / f"test_{path.name}").is_file(), path


def test_each_file_that_the_rooms_need_beside_python_is_listed_to_be_installed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    installed = {
        path
        for package, patterns in listed.items()
        for pattern in patterns
        for path in ROOT.joinpath(*package.split(".")[1:]).glob(pattern)
    }
    needed = {
        path
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert installed == {ROOT / "py.typed", *needed}


def test_every_module_begins_with_a_docstring_that_captions_it():
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            assert ast.get_docstring(ast.parse(path.read_text())), path
