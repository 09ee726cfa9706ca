"""The receiver as a process: what it logs is what it got."""

import asyncio
import base64
import hashlib
import json
import signal
import sys
from pathlib import Path

from service.domain.outcome import Responded
from service.domain.request import OutboundRequest
from service.sender import GuardedSender


async def test_a_line_is_in_the_file_before_the_answer(
    sender: GuardedSender, tmp_path: Path
) -> None:
    log = tmp_path / "requests.jsonl"
    arguments = ["--port", "0", "--log", str(log), "--fail-first", "1", "--status", "202"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.receiver", *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    said = (await process.stdout.readline()).decode()
    url = said.removeprefix("listening on ").strip()
    statuses = []
    for attempt in ("1", "2"):
        headers = (("webhook-id", "evt_1"), ("x-webhook-attempt", attempt))
        outcome = await sender.send(OutboundRequest(f"{url}/hook", headers, b"{}", 5.0))
        assert isinstance(outcome, Responded)
        statuses.append(outcome.status)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert statuses == [503, 202]
    assert [line["x-webhook-attempt"] for line in lines] == ["1", "2"]
    assert {line["webhook-id"] for line in lines} == {"evt_1"}
    assert lines[0]["path"] == "/hook"
    assert base64.b64decode(lines[0]["body"]) == b"{}"
    assert lines[0]["sha256"] == hashlib.sha256(b"{}").hexdigest()
