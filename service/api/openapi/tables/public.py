"""What anybody may ask."""

from typing import Final

from service.api.openapi.describing import Answered, Content, Described, Table, Tag, json
from service.domain.errors import RefusalKind

_OK: Final = {
    "type": "object",
    "required": ["status"],
    "properties": {"status": {"const": "ok"}},
}
_IS_OK: Final = {"status": "ok"}
_MEANING: Final = {
    "type": "object",
    "required": ["type", "status", "title", "advice"],
    "properties": {
        "type": {"type": "string", "format": "uri", "description": "The kind itself."},
        "status": {"type": "integer", "description": "The HTTP status that comes with it."},
        "title": {"type": "string", "description": "What kind of problem it is."},
        "advice": {"type": "string", "description": "What to do about it."},
    },
}
_TEXT: Final = {"type": "string"}
_UNCHANGED: Final = Answered("Unchanged since the version in `If-None-Match`.", (), {"ETag": True})

TABLE: Final[Table] = {
    ("GET", "/livez"): Described(
        id="isAlive",
        tag=Tag.SERVICE,
        summary="Ask whether the process lives",
        answers={200: json("It does.", _OK, _IS_OK)},
    ),
    ("GET", "/readyz"): Described(
        id="isReady",
        tag=Tag.SERVICE,
        summary="Ask whether the process is ready",
        answers={200: json("It should.", _OK, _IS_OK)},
        problems={RefusalKind.UNAVAILABLE: "It should not; the detail says why."},
    ),
    ("GET", "/metrics"): Described(
        id="getMetrics",
        tag=Tag.SERVICE,
        summary="Get numbers for Prometheus",
        answers={
            200: Answered(
                "The numbers of this process, in Prometheus' text format.",
                (Content(_TEXT, "ringback_deliveries_open 17\n", "text/plain"),),
            )
        },
        problems={RefusalKind.UNAVAILABLE: "The store could not be asked."},
    ),
    ("GET", "/problems/{id}"): Described(
        id="getProblemType",
        tag=Tag.SERVICE,
        summary="Explain a problem type",
        text="The `type` of every problem document is the address of this page.",
        answers={
            200: json(
                "Its meaning.",
                _MEANING,
                {
                    "type": "https://ringback.example/problems/conflict",
                    "status": 409,
                    "title": "The present state does not allow this",
                    "advice": "Read what is there now, then decide.",
                },
            )
        },
        problems={RefusalKind.NOT_FOUND: "There is no problem of this type."},
    ),
    ("GET", "/openapi.json"): Described(
        id="getDescription",
        tag=Tag.SERVICE,
        summary="Get this description, for programs",
        headers=("If-None-Match",),
        answers={
            200: Answered(
                "An OpenAPI 3.1 document.", (Content({"type": "object"}),), {"ETag": True}
            ),
            304: _UNCHANGED,
        },
    ),
    ("GET", "/docs"): Described(
        id="readDescription",
        tag=Tag.SERVICE,
        summary="Read this description, for people",
        headers=("If-None-Match",),
        answers={
            200: Answered(
                "A page that needs no other site.",
                (Content(_TEXT, None, "text/html"),),
                {"ETag": True},
            ),
            304: _UNCHANGED,
        },
    ),
    ("GET", "/docs/style.css"): Described(
        id="getDescriptionStyle",
        tag=Tag.SERVICE,
        summary="Get the style of that page",
        headers=("If-None-Match",),
        answers={
            200: Answered("Its style sheet.", (Content(_TEXT, None, "text/css"),), {"ETag": True}),
            304: _UNCHANGED,
        },
    ),
}
