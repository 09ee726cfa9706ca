"""The rules of the house that no linter knows: the top level, size budgets, reasons, imports."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import quantiles

import pytest

ROOT = Path(__file__).parents[2]
TOP_LEVEL = {"pyproject.toml", "README.md", "service", "tests", "deploy", "Makefile"}
SOURCES = sorted((ROOT / "service").rglob("*.py"))
CHECKED = [*SOURCES, *sorted((ROOT / "tests").rglob("*.py"))]
FUNCTION_LINES = {"p90": 20, "most": 40}
FILE_LINES = {"p90": 250, "most": 400}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def tracked_files() -> list[str]:
    """Paths in git's index, relative to the root."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True
    )
    return listed.stdout.splitlines()


def functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, Function):
            yield node


def body_lines(function: Function) -> int:
    """Lines from the first statement after the docstring to the last."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def p90(sizes: Sequence[int]) -> float:
    return quantiles(sizes, n=10, method="inclusive")[-1]


def test_only_the_agreed_entries_stand_at_the_top_level() -> None:
    entries = {path.split("/")[0] for path in tracked_files()}

    assert {entry for entry in entries if not entry.startswith(".")} <= TOP_LEVEL
    assert entries >= TOP_LEVEL - {"README.md"}


def test_functions_stay_within_their_budget() -> None:
    sizes = {
        f"{path.relative_to(ROOT)}:{function.lineno} {function.name}": body_lines(function)
        for path in SOURCES
        for function in functions(path)
    }

    too_long = {where: size for where, size in sizes.items() if size > FUNCTION_LINES["most"]}
    assert too_long == {}
    assert p90(list(sizes.values())) <= FUNCTION_LINES["p90"]


def test_files_stay_within_their_budget() -> None:
    sizes = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES}

    too_long = {where: size for where, size in sizes.items() if size > FILE_LINES["most"]}
    assert too_long == {}
    assert p90(list(sizes.values())) <= FILE_LINES["p90"]


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("def f():\n    return 1\n", 1),
        ('def f():\n    """Doc."""\n    a = 1\n\n    return a\n', 3),
        ('def f():\n    """Doc."""\n', 0),
    ],
)
def test_a_body_is_counted_without_its_docstring(source: str, lines: int) -> None:
    (function,) = ast.parse(source).body

    assert isinstance(function, Function)
    assert body_lines(function) == lines


def test_every_rule_that_is_off_says_why() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    lint = tomllib.loads(text)["tool"]["ruff"]["lint"]
    off = [
        *lint["ignore"],
        *(rule for rules in lint["per-file-ignores"].values() for rule in rules),
    ]

    silent = [
        rule for rule in off if not re.search(rf'^    "{rule}", +# \S.{{10,}}$', text, re.MULTILINE)
    ]
    assert silent == []
    assert lint["select"] == ["ALL"]


def test_every_warning_that_is_let_through_says_why() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    first, *exceptions = tomllib.loads(text)["tool"]["pytest"]["filterwarnings"]

    silent = [
        rule
        for rule in exceptions
        if not re.search(rf"{re.escape(rule)}['\"], +# \w.{{10,}}", text)
    ]
    assert silent == []
    assert first == "error"


def test_every_suppression_in_the_code_says_why() -> None:
    suppression = re.compile(r"# (?:noqa|type: ignore)\b(?P<rest>.*)")
    rules_and_reason = re.compile(r"(?:: ?[A-Z]+\d+(?:, ?[A-Z]+\d+)*|\[[a-z-, ]+\])\s+.*[a-z]{2}.*")
    silent = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in CHECKED
        if path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (found := suppression.search(line)) and not rules_and_reason.fullmatch(found["rest"])
    ]

    assert silent == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["version"],
        ["serve", "--help"],
        ["listen", "--help"],
        ["event", "send", "--help"],
    ],
)
def test_help_and_version_import_nothing_heavy(arguments: list[str]) -> None:
    heavy = {
        *("aiohttp", "alembic", "cryptography", "dramatiq", "httpx", "pydantic_settings"),
        *("redis", "sqlalchemy", "starlette", "structlog", "uvicorn"),
    }
    probe = (
        "import runpy, sys; sys.argv = ['ringback', *sys.argv[1:]]\n"
        "try: runpy.run_module('service', run_name='__main__')\n"
        "finally: print(*sorted(name for name in sys.modules if '.' not in name), file=sys.stderr)"
    )

    done = subprocess.run(
        [sys.executable, "-c", probe, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    imported = set(done.stderr.split())
    assert "typer" in imported
    assert imported & heavy == set()


def test_a_process_without_redis_imports_none_of_it() -> None:
    """It is megabytes, and time at every start."""
    probe = (
        "import sys; from service.broker import make_broker; from service.pubsub import "
        "make_backplane; import service.runtime; make_broker('', []); make_backplane('', ''); "
        "print(*sorted(sys.modules))"
    )

    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True
    )

    imported = set(done.stdout.split())
    assert "dramatiq" in imported
    assert {name for name in imported if name.split(".")[0] == "redis"} == set()
