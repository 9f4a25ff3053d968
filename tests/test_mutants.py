"""The changes that `mutants.py` makes, and the list of those that may live."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from mutants import PACKAGE, TESTS, USUAL, arguments, changes, may_live, mutants


def test_those_that_may_live_are_changes_of_the_code_as_it_is():
    for (file, *_), reason in may_live().items():
        assert file in TESTS and reason


def test_each_mutant_is_one_change():
    file = "ops/softmax.py"
    original = ast.unparse(ast.parse((PACKAGE / file).read_text(encoding="utf-8"))).splitlines()
    found = mutants(file)
    assert [(m.line, m.source, m.change) for m in found] == changes(file)
    assert len({m.text for m in found}) == len(found) > 10
    for mutant in found:
        compile(mutant.text, file, "exec")
        lines = mutant.text.splitlines()
        assert len(lines) == len(original)
        assert sum(a != b for a, b in zip(lines, original, strict=True)) == 1


def test_what_is_tried_without_asking():
    files = [file for file in TESTS if file.startswith(USUAL)]
    assert {path.name for path in (PACKAGE / "ops").glob("[!_]*.py")} == {
        Path(file).name for file in files if file.startswith("ops/")
    }
    assert not any(file.startswith("kernels") for file in files)


@pytest.mark.parametrize("file", TESTS)
def test_the_files_and_their_tests_are_there(file):
    assert (PACKAGE / file).is_file()
    for name in arguments(file):
        assert not name.startswith("tests/") or (PACKAGE.parent / name).is_file()
