"""The numbers that a process tells, as tests of rules, boards and prose need them."""

import asyncio
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.support.api import opened_api

#: The labels of each series, by its name.
Told = dict[str, set[str]]


async def told(path: Path) -> Told:
    """What a process tells that does everything."""
    async with opened_api(path) as api:
        rounds = [
            asyncio.create_task(each.run()) for each in (api.opened.sweep, api.opened.feeding)
        ]
        await api.post("/v1/events", {"operationId": "op", "type": "note"})
        text = (await api.client.get("/metrics")).text
        for each in rounds:
            each.cancel()
        await asyncio.gather(*rounds, return_exceptions=True)
    found: Told = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found
