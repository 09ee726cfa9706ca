"""The import contracts hold something: a planted import breaks them."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def broken_contracts(root: Path) -> tuple[set[str], str]:
    """The names of the contracts that a checkout breaks, and all that was said."""
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=root,
        env={"COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    verdicts = (line.partition(" BROKEN") for line in done.stdout.splitlines())
    return {name for name, verdict, _ in verdicts if verdict}, done.stdout


def test_planted_imports_break_the_contracts(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "service", tmp_path / "service")
    for room, line in [
        ("domain", "import service.settings"),
        ("settings", "import sqlalchemy.ext.asyncio"),
        ("attic", "import redis"),
    ]:
        (tmp_path / "service" / room).mkdir(exist_ok=True)
        with (tmp_path / "service" / room / "__init__.py").open("a") as module:
            module.write(f"\n{line}\n")

    broken, said = broken_contracts(tmp_path)

    assert broken >= {
        "Use cases know no door, doors know no other door, and only the top reads settings",
        "The database libraries live in store",
        "Redis lives in broker and pubsub",
    }
    assert "service.domain -> service.settings" in said
    assert "The following modules are not listed as layers:" in said
    assert "- service.attic" in said
