"""The parameters of a URL: what nobody would heed, or what would override ours, is refused."""

from collections.abc import Set as AbstractSet
from difflib import get_close_matches
from urllib.parse import parse_qsl


def read(query: str, known: AbstractSet[str]) -> list[tuple[str, str]]:
    """The names and values of a query, in its order.

    Raises:
        ValueError: one is not known, or is there more than once; no value is repeated.
    """
    given = parse_qsl(query, keep_blank_values=True)
    names = [name for name, _ in given]
    for name in names:
        if name not in known:
            closest = get_close_matches(name.lower(), known, n=1, cutoff=0.6)
            listed = f"known are {', '.join(sorted(known))}"
            hint = f"did you mean {closest[0]}?" if closest else listed
            raise ValueError(f"has a parameter {name!r} that would not be heeded; {hint}")
        if names.count(name) > 1:
            raise ValueError(f"gives {name} {names.count(name)} times; give it once")
    return given


def check_value(name: str, value: str) -> None:
    """Make sure that a parameter says something.

    Raises:
        ValueError: it does not.
    """
    if not value:
        raise ValueError(f"gives no value for {name}; write one, or leave {name} out")
