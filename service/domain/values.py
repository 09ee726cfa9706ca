"""What is passed about thousands of times a second, and never changed.

A struct is made in a third of the time that a frozen dataclass takes, and garbage collections do
not look at it: so it may refer to nothing that refers back to it.
"""

import msgspec

__all__ = ["Value", "replace"]

replace = msgspec.structs.replace


class Value(msgspec.Struct, frozen=True, gc=False):
    """The base of such values."""
