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
    refused = 0
    for name in names:
        try:
            act(name)
        except CommandError as error:
            if len(names) == 1 or error.code not in _OF_ONE:
                raise
            refused += 1
            say(f"{name}: {error}")
    if refused:
        raise CommandError(
            f"{refused} of {len(names)} were refused; the others are done.",
            "Look at how those are now (`get` shows it), then decide.",
            Exit.PARTIAL,
        )
