"""TLS as every connection has it, whoever's certificates it goes by."""

import functools
import ssl
from pathlib import Path
from typing import Final

#: Forward secrecy by elliptic curves only. With DHE the receiver chooses the group, and a modulus
#: of 10,000 bits costs a second of processor time. The rest is Python's own choice; what TLS 1.2
#: servers of the last ten years offer is in it.
_CIPHERS: Final = "ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM"


def restrained(context: ssl.SSLContext) -> ssl.SSLContext:
    """The context, which lets receivers decide less about what TLS costs."""
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    return context


def is_system_small() -> bool:
    """Whether trusting the system's authorities takes neither time nor memory: see below."""
    paths = ssl.get_default_verify_paths()
    return _suffices(paths.cafile, paths.capath)


def trust_system(context: ssl.SSLContext) -> None:
    """Verify by the system's authorities, at least cost: a folder is read when it is needed."""
    paths = ssl.get_default_verify_paths()
    if _suffices(paths.cafile, paths.capath):
        context.load_verify_locations(capath=paths.capath)
    elif paths.cafile or paths.capath:
        # unlike load_default_certs this parses outside the interpreter's lock
        context.load_verify_locations(paths.cafile, paths.capath)


@functools.lru_cache(maxsize=8)
def _suffices(file: str | None, folder: str | None) -> bool:
    """Whether the folder is one that OpenSSL finds certificates in, and all of the file's."""
    if folder is None:
        return False
    hashed = Path(folder).glob("[0-9a-f]" * 8 + ".[0-9]")
    found = {each for path in hashed for each in _certificates(path)}
    return bool(found) and (file is None or found.issuperset(_certificates(Path(file))))


def _certificates(path: Path) -> list[str]:
    try:
        text = path.read_text("latin-1")
    except OSError:
        return []
    return ["".join(each.partition(_END)[0].split()) for each in text.split(_BEGIN)[1:]]


_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_END: Final = "-----END CERTIFICATE-----"
