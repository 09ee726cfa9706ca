"""Keys, tenants and the audit log: who may do what here, and who did."""

from typing import Final

from service.api.api_keys import ApiKeyBody, ApiKeyOut, RotateKeyBody
from service.api.audit_log import AuditEntryOut
from service.api.openapi import examples
from service.api.openapi.describing import Answered, Content, Described, Table, Tag, json, page
from service.api.openapi.parameters import of_list
from service.api.portal_links import PortalLinkBody, PortalLinkOut
from service.api.subscriptions import PATCH_TYPES
from service.api.tenants import TenantBody, TenantOut, TenantPatch
from service.domain.errors import RefusalKind
from service.web.listings import API_KEYS, AUDIT_LOG, TENANTS

_KEYS: Final = "/v1/api-keys"
_KEY: Final = f"{_KEYS}/{{id}}"
_TENANTS: Final = "/v1/tenants"
_TENANT: Final = f"{_TENANTS}/{{id}}"

_BOOTSTRAP: Final = "It is the bootstrap key, which `RINGBACK_ADMIN_KEY` or `admin.key` rules."

_OF_KEYS: Final[Table] = {
    ("POST", _KEYS): Described(
        id="createApiKey",
        tag=Tag.OPERATORS,
        summary="Make an API key",
        text="The key is shown this once; only a hash of it is kept.",
        body=(Content(ApiKeyBody, examples.NEW_API_KEY),),
        idempotent=True,
        answers={201: json("It is made.", ApiKeyOut, examples.WITH_KEY, Location=True)},
    ),
    ("GET", _KEYS): Described(
        id="listApiKeys",
        tag=Tag.OPERATORS,
        summary="List API keys",
        text="Newest first, of all tenants, revoked and expired ones too; of one tenant where "
        "`tenantId` or `Ringback-Tenant` names it.",
        query=of_list(API_KEYS),
        answers={200: page("A page of them.", ApiKeyOut, examples.API_KEY)},
    ),
    ("GET", _KEY): Described(
        id="getApiKey",
        tag=Tag.OPERATORS,
        summary="Get an API key",
        text="All but the key itself.",
        answers={200: json("What is known of it.", ApiKeyOut, examples.API_KEY)},
    ),
    ("POST", f"{_KEY}/rotate"): Described(
        id="rotateApiKey",
        tag=Tag.OPERATORS,
        summary="Rotate an API key",
        text="The same key with another text. The old text is dead at once, or after an overlap; "
        "while that of a rotation before lasts, another one is refused, unless it is to end both.",
        body=(Content(RotateKeyBody, {"overlapSeconds": 3600}),),
        body_optional=True,
        idempotent=True,
        answers={200: json("The new text, once.", ApiKeyOut, examples.WITH_KEY)},
        problems={
            RefusalKind.CONFLICT: "It is revoked or expired. Or: the text from before its last "
            f"rotation is still good, and `overlapSeconds` is not 0. Or: {_BOOTSTRAP}"
        },
    ),
    ("DELETE", _KEY): Described(
        id="revokeApiKey",
        tag=Tag.OPERATORS,
        summary="Revoke an API key",
        text="At once, and for good; its tickets are dead, and streams opened with it end within "
        "seconds.",
        answers={204: Answered("It is revoked.")},
        problems={RefusalKind.CONFLICT: _BOOTSTRAP},
    ),
}

_OF_TENANTS: Final[Table] = {
    ("POST", _TENANTS): Described(
        id="createTenant",
        tag=Tag.OPERATORS,
        summary="Make a tenant",
        text="Tenants see nothing of each other. A tenant needs keys of its own, or an "
        "administrator who acts for it by `Ringback-Tenant`.",
        body=(Content(TenantBody, examples.NEW_TENANT),),
        idempotent=True,
        answers={201: json("It is made.", TenantOut, examples.TENANT, Location=True)},
        problems={RefusalKind.CONFLICT: "There is one with this id, or there was."},
    ),
    ("GET", _TENANTS): Described(
        id="listTenants",
        tag=Tag.OPERATORS,
        summary="List tenants",
        text="Newest first.",
        query=of_list(TENANTS),
        answers={200: page("A page of them.", TenantOut, examples.TENANT)},
    ),
    ("GET", _TENANT): Described(
        id="getTenant",
        tag=Tag.OPERATORS,
        summary="Get a tenant",
        answers={200: json("The tenant.", TenantOut, examples.TENANT)},
    ),
    ("PATCH", _TENANT): Described(
        id="changeTenant",
        tag=Tag.OPERATORS,
        summary="Change a tenant",
        text="What is not named stays as it is.",
        body=tuple(
            Content(TenantPatch, {"name": "Acme", "verification": "challenge"}, kind)
            for kind in PATCH_TYPES
        ),
        body_optional=True,
        answers={200: json("As it is now.", TenantOut, examples.TENANT)},
    ),
    ("DELETE", _TENANT): Described(
        id="deleteTenant",
        tag=Tag.OPERATORS,
        summary="Delete a tenant with all it has",
        text="Its keys are dead at once and nothing more is sent for it. Its operations, events, "
        "subscriptions, deliveries and dead letters are purged in the background, and nothing "
        "brings them back. Its id is not given again; the audit log keeps what was done.",
        answers={204: Answered("It is deleted.")},
        problems={RefusalKind.CONFLICT: "It is `default`, which always exists."},
    ),
}

TABLE: Final[Table] = {
    **_OF_KEYS,
    **_OF_TENANTS,
    ("POST", "/v1/portal-links"): Described(
        id="createPortalLink",
        tag=Tag.OPERATORS,
        summary="Get a link into the consumer portal",
        text="For one of the producer's own users, who is sent there or gets it in an iframe. It "
        "shows the tenant that the key acts for (`Ringback-Tenant`), or one subscription of it. "
        "Whoever opens it first has the session, so hand it on over TLS and at once. It dies with "
        "the key, the tenant and the subscription.",
        body=(Content(PortalLinkBody, examples.NEW_PORTAL_LINK),),
        body_optional=True,
        idempotent=True,
        answers={201: json("The link, once.", PortalLinkOut, examples.PORTAL_LINK)},
        problems={RefusalKind.NOT_FOUND: "There is no such subscription, or tenant."},
    ),
    ("DELETE", "/v1/portal-links/{id}"): Described(
        id="revokePortalLink",
        tag=Tag.OPERATORS,
        summary="Revoke a link into the consumer portal",
        text="For one that got into the wrong hands: it opens nothing any more, and the session "
        "that it opened is over with the next request. It has to be of the tenant that the key "
        "acts for (`Ringback-Tenant`).",
        answers={204: Answered("It is revoked.")},
    ),
    ("GET", "/v1/audit-log"): Described(
        id="listAuditLog",
        tag=Tag.OPERATORS,
        summary="List the audit log",
        text="Newest first, of all tenants; of one where `Ringback-Tenant` names it. Every change "
        "that somebody made by this API is in it, and who saw a secret.",
        query=of_list(AUDIT_LOG),
        answers={200: page("A page of entries.", AuditEntryOut, examples.AUDIT_ENTRY)},
    ),
}
