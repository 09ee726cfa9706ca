"""Follow an operation to its end: every event once and in order, whatever happens on the way.

    python follow.py http://127.0.0.1:8080 KEY OPERATION     prints an event a line

Or ``from follow import follow``. Needs httpx. Webhooks carry the same events with the same
sequences: who gets those as well merges them in the same way.
"""

import json
import random
import sys
import time
from collections.abc import Iterator
from itertools import chain
from typing import Any

import httpx

ENDS = {"COMPLETED", "COMPLETED_WITH_ERRORS", "FAILED", "CANCELLED"}
NO_CONTENT, TOO_MANY_REQUESTS = 204, 429
SILENCE = 40.0  # seconds; the service says something every 15, if only a comment
PAUSE, LONGEST_PAUSE = 0.2, 30.0  # seconds before coming again: the first time, and at most


def follow(client: httpx.Client, operation: str, after: int = 0) -> Iterator[Any]:
    """Events behind the sequence ``after``: who keeps the last one goes on there another day."""
    path, failures = f"/v1/operations/{operation}", 0
    while True:
        try:
            # 1. Subscribe from now on. What comes meanwhile waits in the connection: the buffer.
            now = get(client, path, redirect="false")["sequence"]
            query = {"after": now}
            with client.stream("GET", f"{path}/stream", params=query, timeout=SILENCE) as stream:
                stream.raise_for_status()
                # 2. Fetch the past, then take what came and comes.
                for event in chain(past(client, path, after, now), messages(stream)):
                    # 3. Merge by sequence: it counts 1, 2, 3, ...; what is not above is known.
                    if event["sequence"] > after:
                        after, failures = event["sequence"], 0
                        yield event
                    # 4. Stop at the terminal event: none comes after it.
                    if event["status"] in ENDS:
                        return
                if stream.status_code == NO_CONTENT:
                    return  # it had ended before, and everything was seen
        except httpx.HTTPError as error:
            if is_final(error):
                raise
        # 5. Come again, later each time: not all at the same moment after a restart.
        pause = min(PAUSE * 2**failures, LONGEST_PAUSE)
        time.sleep(pause * random.uniform(0.5, 1))  # noqa: S311  any spread will do
        failures += 1


def is_final(error: httpx.HTTPError) -> bool:
    """Whether to ask again would not help: no such operation, or no valid key."""
    if not isinstance(error, httpx.HTTPStatusError):
        return False  # cut off
    return error.response.is_client_error and error.response.status_code != TOO_MANY_REQUESTS


def past(client: httpx.Client, path: str, after: int, until: int) -> Iterator[Any]:
    """The log between two sequences, page by page."""
    while after < until and (page := get(client, f"{path}/events", after=after, limit=200)["data"]):
        yield from page
        after = page[-1]["sequence"]


def get(client: httpx.Client, path: str, **query: object) -> Any:  # noqa: ANN401  any JSON
    """The JSON at a path."""
    return client.get(httpx.URL(path, params=query)).raise_for_status().json()


def messages(stream: httpx.Response) -> Iterator[Any]:
    """The events of a stream; one that was cut off in the middle is none."""
    rest, data = b"", []
    for chunk in stream.iter_bytes():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data: "):
                data.append(line.removeprefix(b"data: "))
            elif not line and data:
                yield json.loads(b"\n".join(data))
                data = []


if __name__ == "__main__":
    url, key, name = sys.argv[1:]
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {key}"}) as session:
        for each in follow(session, name):
            sys.stdout.write(json.dumps(each) + "\n")
            sys.stdout.flush()
