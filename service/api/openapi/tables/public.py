"""What anybody may ask."""

from typing import Final

from service.api import key_sets
from service.api.openapi import examples
from service.api.openapi.describing import Answered, Content, Described, Table, Tag, json
from service.domain.errors import RefusalKind
from service.domain.key_set import KeySet
from service.web import queries

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
_KEY: Final = {"type": "string", "pattern": f"^{key_sets.CURSOR}$"}
_UNCHANGED: Final = Answered("Unchanged since the version in `If-None-Match`.", (), {"ETag": True})

TABLE: Final[Table] = {
    ("GET", "/.well-known/jwks.json"): Described(
        id="getPublicKeys",
        tag=Tag.SERVICE,
        summary="Get the public keys that sign",
        text="A JSON Web Key Set. `v1a` entries of `webhook-signature` verify with one of a "
        "subscription's keys; while a rotation overlaps it has two. Name the subscription, or keep "
        "to its `publicKey`: without a name these are the keys of all subscriptions of all "
        "tenants, 500 at a time, and any of them may have signed for a URL of its own choice.",
        query={"subscriptionId": queries.text, "cursor": _KEY},
        headers=("If-None-Match",),
        words={
            "subscriptionId": "Only the keys of this subscription; none where there is none.",
            "cursor": "What the `Link` to the next keys holds.",
        },
        answers={
            200: json(
                "The keys, in no order that means anything.",
                KeySet,
                examples.KEY_SET,
                ETag=True,
                Link=False,
            ),
            304: Answered(
                "Unchanged since the version in `If-None-Match`.",
                (),
                {"ETag": True, "Link": False},
            ),
        },
        problems={RefusalKind.UNAVAILABLE: "The store could not be asked."},
    ),
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
    ("GET", "/docs/{id}"): Described(
        id="readGuide",
        tag=Tag.SERVICE,
        summary="Read a guide, for people",
        text="`index` lists them. The examples and test vectors that they link to are beside them.",
        headers=("If-None-Match",),
        answers={
            200: Answered(
                "A page that needs no other site, or the file.",
                (
                    Content(_TEXT, None, "text/html"),
                    Content(_TEXT, None, "text/plain"),
                    Content({"type": "object"}, {"tolerance": 300, "vectors": []}),
                ),
                {"ETag": True},
            ),
            304: _UNCHANGED,
        },
        problems={
            RefusalKind.NOT_FOUND: "There is no such page. Who takes `text/html` is told so by one."
        },
    ),
}
