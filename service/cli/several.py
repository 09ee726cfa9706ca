"""The same for several things: what one of them is refused does not keep the others back."""

from collections.abc import Callable, Sequence
from typing import Final

from service.cli.exits import CommandError, Exit
from service.cli.render import say

#: About one thing; anything else would be said of each of the others too.
_OF_ONE: Final = frozenset({Exit.NOT_FOUND, Exit.CONFLICT, Exit.MISUSE})


def each(names: Sequence[str], act: Callable[[str], None]) -> None:
    """Do it for each; of one alone the refusal is told as it is.

    Raises:
        CommandError: some were refused, or all.
    """
    refused: list[Exit] = []
    for name in names:
        try:
            act(name)
        except CommandError as error:
            if len(names) == 1 or error.code not in _OF_ONE:
                raise
            refused.append(error.code)
            say(f"{name}: {error}")
    if refused:
        raise CommandError(_told(len(refused), len(names)), _advice(refused), Exit.PARTIAL)


def _told(refused: int, count: int) -> str:
    if refused == count:
        return f"All {count} were refused; nothing was done."
    return f"{refused} of {count} were refused; the others are done."


def _advice(refused: Sequence[Exit]) -> str:
    """What is not there cannot be looked at."""
    gone = refused.count(Exit.NOT_FOUND)
    if not gone:
        return "Look at how those are now (`get` shows it), then decide."
    ids = "Check the ids of what is not there, and that the key is of the right tenant (--tenant)."
    return ids if gone == len(refused) else f"{ids} `get` shows how the other refused ones are now."
