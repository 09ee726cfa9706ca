"""Bulk replays: counted first, then asked about, then watched to the end."""

import time
from typing import Any, Final

from service.cli import exact, progress
from service.cli.asking import confirm
from service.cli.client import Api, named
from service.cli.exits import CommandError, Exit
from service.cli.following import ENDS
from service.cli.render import Out, say
from service.domain import times

Json = Any
_LOOK_EVERY: Final = 0.2
_LONGEST_COUNT: Final = 300.0
#: What keeps a delivery from being replayed.
_UNABLE: Final = "subscriptions that are disabled or deleted"


def run(api: Api, out: Out, path: str, body: dict[str, Json], *, dry_run: bool, yes: bool) -> int:
    """Replay what ``body`` selects; with ``dry_run`` only say how many deliveries that are.

    Returns:
        How many were selected.

    Raises:
        CommandError: some of them were not sent.
    """
    fixed = {"until": _now(), **body}  # what is counted is what is replayed
    count = _count(api, path, fixed)
    many = "1 delivery" if count == 1 else f"{count} deliveries"
    if dry_run:
        said = f"{many} would be sent again, but none to {_UNABLE}. Nothing was sent."
        out.done(said, {"matched": count, "dryRun": True})
        return count
    if not count:
        out.done("Nothing to replay.", {"matched": 0, "dryRun": False})
        return count
    confirm(f"Send {many} again?", yes=yes)
    started = api.post(path, fixed)
    name = started["operationId"]
    say(f"Replay {name}. Ctrl-C leaves it running; `ringback operation cancel {name}` stops it.")
    ended = progress.watch(api, out, name, count)
    _tell(ended.get("result", {}))
    return count


def _tell(result: Json) -> None:
    """Say what came of it; a script learns by the exit code that something was left out."""
    skipped = result.get("skipped", 0)
    said = f"Replayed {result.get('replayed', 0)}, skipped {skipped}"
    if not int(skipped):
        say(f"{said}.")
        return
    raise CommandError(
        f"{said}, for {_UNABLE}.",
        "Enable what is disabled with `ringback subscription resume ID` and replay again; "
        "`ringback dead-letter discard` deletes what nobody wants any more.",
        Exit.PARTIAL,
    )


def _count(api: Api, path: str, body: dict[str, Json]) -> int:
    """How many deliveries a replay would send again."""
    counted = api.post(path, {**body, "dryRun": True})
    end = time.monotonic() + _LONGEST_COUNT
    operation = counted
    while operation["status"] not in ENDS:
        if counted.get("matched") is not None:
            return int(counted["matched"])
        if time.monotonic() > end:
            raise CommandError(
                "Counting takes too long.",
                f"`ringback operation watch {counted['operationId']}` shows how far it is.",
                Exit.UNAVAILABLE,
            )
        time.sleep(_LOOK_EVERY)
        operation = api.get(named("/v1/operations/{}", counted["operationId"]))
    if "matched" not in operation.get("result", {}):
        raise CommandError("Counting did not end well.", f"It said: {exact.dumps(operation)}")
    return int(operation["result"]["matched"])


def _now() -> str:
    return times.render(round(time.time() * 1000) + 1)
