"""Whether the process lives, and whether it should get requests; no key is needed."""

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from service.api.services import Services
from service.domain.errors import Refusal, RefusalKind
from service.web import answers
from service.web.problems import Problems, instance_of


class Alive:
    """Answers for as long as the event loop turns."""

    async def __call__(self, _: Scope, __: Receive, send: Send) -> None:
        """Say so."""
        await answers.send(answers.of({"status": "ok"}), send)


class Ready:
    """Answers 503 with the reason while this process should get no requests."""

    def __init__(self, services: Services, told: Problems) -> None:
        self._ready = services.ready
        self._problems = told

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        """Say whether it should, and why not."""
        fault = await self._ready()
        answer = answers.of({"status": "ok"})
        if fault is not None:
            refusal = Refusal(RefusalKind.UNAVAILABLE, fault, retry_after=1)
            answer = self._problems.answer(refusal, instance_of(scope))
        await answers.send(answer, send)


def routes(services: Services, told: Problems) -> list[Route]:
    """Where to ask."""
    return [
        Route("/livez", Alive(), methods=["GET"]),
        Route("/readyz", Ready(services, told), methods=["GET"]),
    ]
