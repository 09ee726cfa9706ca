"""The short way that the README tells is the one that `make stranger` goes and times."""

from tests.support import readme
from tests.system import stranger


def test_what_is_told_is_what_is_walked() -> None:
    lines = [line for block in readme.blocks("stranger") for line in joined(block)]

    assert lines == [" ".join(command.split()) for command in stranger.COMMANDS]


def joined(block: str) -> list[str]:
    """The commands of a block, each on one line."""
    lines = block.replace("\\\n", " ").splitlines()
    return [" ".join(line.split()) for line in lines if line.strip()]
