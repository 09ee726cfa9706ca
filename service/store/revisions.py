"""Which revisions of the schema there are, and which this version works with."""

from pathlib import Path
from typing import Final

from service.ports import StoreUnavailableError

_VERSIONS: Final = Path(__file__).parent / "migrations" / "versions"


def head() -> str:
    """The revision of the schema this version works with."""
    return max(_known())


def check_known(name: str, present: str | None) -> None:
    """Make sure that the revision of a database is one that this version can go on from.

    Raises:
        StoreUnavailableError: it is another version's.
    """
    if present is not None and present not in _known():
        raise StoreUnavailableError(
            f"{name} has the schema of another version of Ringback ({present}); this one knows it "
            f"up to {head()}. Run the version that made it, or a newer one."
        )


def _known() -> set[str]:
    return {file.stem.partition("_")[0] for file in _VERSIONS.glob("[0-9]*.py")}
