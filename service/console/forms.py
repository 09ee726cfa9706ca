"""Forms that are shown again: what is wrong with each field, and what somebody else changed."""

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from service.console.visits import Form
from service.domain.errors import Fault, Refusal
from service.web import problems

Texts = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Filled:
    """What stands in the fields of a form, by their names, and what is said of them."""

    texts: Texts = field(default_factory=dict)
    refusal: Refusal | None = None
    #: What is there now, of fields that somebody else changed and that this form has otherwise.
    others: Texts = field(default_factory=dict)
    #: Of what is there now; see :func:`marks`.
    marks: str = ""
    #: Fields in which something was typed that does not come back, since it may be secret.
    left_out: frozenset[str] = frozenset()

    @property
    def status(self) -> int:
        """What the page with it answers."""
        return 200 if self.refusal is None else problems.TABLE[self.refusal.kind].status

    @property
    def fault(self) -> str | None:
        """Why nothing was done."""
        return None if self.refusal is None else told(self.refusal)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Everything that is wrong."""
        return () if self.refusal is None else self.refusal.faults

    def text(self, name: str) -> str:
        """What stands in a field."""
        return self.texts.get(name, "")

    def wrong(self, name: str) -> list[str]:
        """What is wrong with a field, in words."""
        return [_said(each, name) for each in self.faults if field_of(each) == name]


def told(refusal: Refusal) -> str:
    """A refusal as people are told of it, whose faults they see below it."""
    return "Nothing was done, because of this:" if refusal.faults else refusal.detail


def field_of(fault: Fault) -> str:
    """The field that a fault is of; empty where it is of the whole form."""
    return fault.pointer.split("/")[1] if fault.pointer else ""


def texts_of(form: Form, names: Iterable[str]) -> dict[str, str]:
    """What was typed into these fields, with the line breaks of everybody but browsers."""
    return {name: form.one(name).replace("\r\n", "\n") for name in names}


def marks(texts: Texts) -> str:
    """What a form carries to tell, when it comes back, which of its fields were changed in it."""
    return json.dumps({name: _mark(text) for name, text in texts.items()})


def changed_in(marks: str, texts: Texts) -> set[str]:
    """The fields of a form that were changed in it."""
    try:
        known: Any = json.loads(marks)
    except ValueError:
        known = None
    before = known if isinstance(known, dict) else {}
    return {name for name, text in texts.items() if before.get(name) != _mark(text)}


def merged(texts: Texts, marks: str, present: Texts) -> tuple[dict[str, str], dict[str, str]]:
    """A form over what somebody else changed meanwhile: what was changed in it stays as typed.

    The second are the fields that both changed, each its own way, with what is there now.
    """
    own, theirs = changed_in(marks, texts), changed_in(marks, present)
    shown = {name: texts[name] if name in own else text for name, text in present.items()}
    return shown, {name: present[name] for name in theirs if shown[name] != present[name]}


def _mark(text: str) -> int:
    """A number that another text hardly has; the text itself would make the form twice as long."""
    return zlib.crc32(text.encode())


def _said(fault: Fault, name: str) -> str:
    """A fault as it is said beside its field; of one of several things in it, which one."""
    below = fault.pointer.removeprefix(f"/{name}").lstrip("/")
    if below.isdecimal():
        return f"No. {int(below) + 1}: {fault.detail}"
    below = below.replace("~1", "/").replace("~0", "~")
    return f"{below}: {fault.detail}" if below else fault.detail
