"""What needs no key: liveness, readiness, metrics, what a problem's type means."""

from service.api.routing import Action
from service.api.services import Services
from service.domain.errors import Refusal, RefusalKind, not_found
from service.web import answers
from service.web.answers import Answer
from service.web.calls import Call
from service.web.problems import Problems


class Public:
    """Handlers that anybody may ask."""

    def __init__(self, services: Services, told: Problems) -> None:
        self._ready = services.ready
        self._metrics = services.metrics
        self._problems = told

    def actions(self) -> list[Action]:
        """What anybody may ask."""
        return [
            Action("GET", "/livez", None, self.live),
            Action("GET", "/readyz", None, self.ready),
            Action("GET", "/metrics", None, self.metrics),
            Action("GET", "/problems/{id}", None, self.problem),
        ]

    async def live(self, _: Call) -> Answer | Refusal:
        """The event loop turns, or nobody would answer."""
        return answers.of({"status": "ok"})

    async def ready(self, _: Call) -> Answer | Refusal:
        """Whether this process should get requests, and why not."""
        fault = await self._ready()
        if fault is not None:
            return Refusal(RefusalKind.UNAVAILABLE, fault, retry_after=1)
        return answers.of({"status": "ok"})

    async def metrics(self, _: Call) -> Answer | Refusal:
        """The numbers of this process, for Prometheus."""
        text, media_type = await self._metrics()
        return Answer(200, text, media_type=media_type)

    async def problem(self, call: Call) -> Answer | Refusal:
        """What the type of a problem document means."""
        meaning = self._problems.meaning(call.name())
        return not_found("problem type", call.name()) if meaning is None else answers.of(meaning)
