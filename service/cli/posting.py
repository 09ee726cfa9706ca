"""Events of a file: posted batch by batch, and what is refused is told by its place in the file."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final, NamedTuple, cast

from service.cli import exact, inputs, shown
from service.cli.client import Api
from service.cli.exits import CommandError, Exit
from service.cli.render import Out

Json = Any

_PATH: Final = "/v1/events"
_MEDIA_TYPE: Final = "application/x-ndjson"
#: Events and bytes in one request.
_EVENTS: Final = 1_000
_BYTES: Final = 16 * 1024 * 1024
_BETWEEN: Final = re.compile(r"[\s,]*")
#: Numbers are of no interest to it, however long they are.
_DECODER: Final = json.JSONDecoder(parse_int=str, parse_float=str)
_MEND: Final = "Mend those and send them again."
_MEND_WITH_KEY: Final = (
    "Mend those and send them alone, with another --idempotency-key: this one is of the file as "
    "it was, and gets the same answer for it again."
)


class Part(NamedTuple):
    """An event of the file as it stands there; its number is counted from 1, as editors do."""

    number: int
    text: str


class File(NamedTuple):
    """The events of a file, and what is counted in it: ``line`` or, of an array, ``element``."""

    counted: str
    parts: Sequence[Part]


def post(api: Api, out: Out, source: str, key: str | None) -> None:
    """Post the events of a file; what is refused does not keep the others back.

    Raises:
        CommandError: some were refused, or it could not go on.
    """
    file = _read(inputs.content(source))
    posting = _Posting(api, file, key)
    empty = "Nothing was posted." if file.parts else "The file holds no events."
    out.listed(posting.verdicts(), shown.posted(file.counted), empty)
    if posting.stopped is not None:
        raise _cut(posting.stopped, file, posting.told, key)
    if posting.refused:
        none = posting.refused == posting.told
        others = "nothing was committed" if none else "the others are committed"
        told = f"{posting.refused} of {posting.told} events were refused; {others}."
        raise CommandError(told, _MEND if key is None else _MEND_WITH_KEY, Exit.PARTIAL)


class _Posting:
    """How far it is: verdicts so far, refusals among them, and what stopped it."""

    def __init__(self, api: Api, file: File, key: str | None) -> None:
        self.told = 0
        self.refused = 0
        self.stopped: CommandError | None = None
        self._api = api
        self._file = file
        self._key = key

    def verdicts(self) -> Iterator[Json]:
        """The verdict of each event, as far as it comes."""
        for turn, batch in enumerate(_batches(self._file.parts)):
            # a key is of one request: each has its own, and the same one when all is sent again
            key = self._key if self._key is None or not turn else f"{self._key}-{turn + 1}"
            try:
                answers = self._answers(batch, key)
            except CommandError as error:
                self.stopped = error
                return
            for part, verdict in zip(batch, answers, strict=True):
                self.told += 1
                if "problem" not in verdict:
                    yield verdict
                    continue
                self.refused += 1
                # its index is of the request, of which the file knows nothing
                place = {self._file.counted: exact.Number(part.number)}
                yield {**place, "problem": verdict["problem"]}

    def _answers(self, batch: Sequence[Part], key: str | None) -> list[Json]:
        """One to each event; what is not UTF-8 is not sent, as nothing that is with it is read."""
        problems = [_utf8_problem(part.text) for part in batch]
        sent = [part.text for part, bad in zip(batch, problems, strict=True) if bad is None]
        body = "\n".join(sent)
        answer = iter(self._api.post_text(_PATH, body, _MEDIA_TYPE, key)["data"] if sent else ())
        return [next(answer) if bad is None else {"problem": bad} for bad in problems]


def _read(text: str) -> File:
    """Lines of JSON that are not empty, the elements of an array, or one object over many lines.

    All are as they are written.
    """
    if text.lstrip().startswith("["):
        return File("element", [Part(*each) for each in enumerate(_elements(text), start=1)])
    lines = enumerate(text.split("\n"), start=1)
    parts = [Part(*each) for each in lines if each[1].strip()]
    if len(parts) > 1 and _is_one_object(text):
        parts = [Part(parts[0].number, _in_a_line(text))]
    return File("line", parts)


def _is_one_object(text: str) -> bool:
    with suppress(ValueError):
        return isinstance(exact.loads(text), dict)
    return False


def _in_a_line(text: str) -> str:
    """JSON without line ends: it can have them between tokens only."""
    return text.replace("\n", " ")


def _elements(text: str) -> list[str]:
    """The elements of an array as they are written, each on a line."""
    elements: list[str] = []
    try:
        text.encode()
        at = text.index("[") + 1
        for _ in exact.loads(text):  # it is JSON: only where each begins and ends is to be found
            begin = cast("re.Match[str]", _BETWEEN.match(text, at)).end()
            _, at = _DECODER.raw_decode(text, begin)
            elements.append(_in_a_line(text[begin:at]))
    except ValueError as error:
        why = "is not UTF-8" if isinstance(error, UnicodeEncodeError) else f"is none: {error}"
        raise CommandError(
            f"The file begins as a JSON array and {why}. Nothing was posted.",
            "Mend it, or give lines of JSON, an event each.",
            Exit.MISUSE,
        ) from None
    return elements


def _utf8_problem(text: str) -> Json:
    """What is wrong with a line that is not UTF-8, in the service's form; ``None`` of others."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        place = f"byte {len(text[: error.start].encode())}"
        return {
            "title": "The line cannot be read",
            "status": exact.Number(HTTPStatus.BAD_REQUEST.value),
            "detail": f"The line is not UTF-8 ({place}). JSON is always UTF-8; save the file so.",
        }
    return None


def _batches(parts: Sequence[Part]) -> Iterator[list[Part]]:
    """As many as a request takes; one that is too large by itself is refused by the service."""
    batch: list[Part] = []
    size = 0
    for part in parts:
        more = len(part.text.encode("utf-8", "surrogateescape")) + 1
        if batch and (len(batch) == _EVENTS or size + more > _BYTES):
            yield batch
            batch, size = [], 0
        batch.append(part)
        size += more
    if batch:
        yield batch


def _cut(error: CommandError, file: File, told: int, key: str | None) -> CommandError:
    """Why it stopped, and where; the ``told`` before it have their verdicts."""
    again = "once more" if key is not None else f"from that {file.counted} on"
    if key is not None and (told or error.code is Exit.UNAVAILABLE):
        # what was taken, or may have been, is answered as it was then; keys of other batches would
        # not fit; only a key that was refused is no use any more
        again += ", with the same key"
    left = file.parts[told:]
    return CommandError(
        f"{error} Stopped at {file.counted} {left[0].number}; {len(left)} are left.",
        f"{error.advice} Then send the file {again}.",
        error.code,
    )
