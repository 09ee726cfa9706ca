"""URLs that lead inside by some reading of them, made from encodings and addresses.

Every one names a port, on which a canary can wait: what calls any of them is caught.
"""

# ruff: noqa: RUF001 - look-alike characters are what this is about

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

#: What a naive client reaches on the very machine.
LOOPBACK_V4 = ("127.0.0.1", "0.0.0.0", "127.0.0.53", "127.255.255.254")  # noqa: S104  called, not listened on
#: Private networks, metadata services, and what else nobody outside should be able to call.
INSIDE_V4 = (
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "192.0.0.192",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
)
_SPELT_OUT = ("10.0.0.1", "169.254.169.254")
INSIDE_V6 = (
    "::",
    "::1",
    "64:ff9b:1::1",
    "100::1",
    "2001:db8::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
)
#: Ports below 1024 at which something other than a web server tends to listen.
PORTS = (1, 7, 21, 22, 23, 25, 53, 110, 135, 139, 143, 389, 445, 587, 636, 873, 993, 1023)

_FULL_WIDTH = {48 + digit: 0xFF10 + digit for digit in range(10)}
_CIRCLED = {48: 0x24EA} | {48 + digit: 0x245F + digit for digit in range(1, 10)}
_ARABIC = {48 + digit: 0x0660 + digit for digit in range(10)}


def spellings(ip: IPv4Address) -> list[str]:
    """Every way to write an IPv4 address that some C library or browser takes."""
    whole, (a, b, c, d) = int(ip), ip.packed
    plain = str(ip)
    return [
        f"{whole}",
        f"{whole:#x}",
        f"{whole:#X}",
        f"0x00{whole:x}",
        f"0{whole:o}",
        f"{a}.{whole & 0xFFFFFF}",
        f"{a}.{b}.{whole & 0xFFFF}",
        f"{a:#x}.{b:#x}.{c:#x}.{d:#x}",
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"0000{a:o}.{b}.{c}.{d}",
        f"{a:#x}.{b}.0{c:o}.{d}",
        plain,
        f"{plain}.",
        f"{a}.{b}.{c}.{d:#x}",
        f"{a:03}.{b:03}.{c:03}.{d:03}",
        plain.replace(".", "。"),
        plain.replace(".", "．"),
        plain.replace(".", "%2e"),
        "".join(f"%{ord(each):02x}" for each in plain),
        plain.translate(_FULL_WIDTH),
        plain.translate(_CIRCLED),
        plain.translate(_ARABIC),
    ]


def carriers(ip: IPv4Address) -> list[IPv6Address]:
    """Every way to carry an IPv4 address in an IPv6 one."""
    v4 = int(ip)
    return [
        IPv6Address(v4),
        IPv6Address((0xFFFF << 32) | v4),
        IPv6Address((0xFFFF << 48) | v4),
        IPv6Address((0x0064_FF9B << 96) | v4),
        IPv6Address((0x0064_FF9B_0001 << 80) | v4),
        IPv6Address((0x2002 << 112) | (v4 << 80)),
        IPv6Address((0x2001_0000 << 96) | (v4 << 64)),
        IPv6Address((0x2001_0000 << 96) | (v4 ^ 0xFFFF_FFFF)),
        IPv6Address((0x2A00_1450 << 96) | (0x5EFE << 32) | v4),
        IPv6Address((0x2A00_1450 << 96) | (0x0200_5EFE << 32) | v4),
    ]


def hostile_urls(port: int, own: tuple[str, ...] = ()) -> list[str]:
    """More than 300 different URLs to ``port``, ``own`` addresses of the machine's among them."""
    urls = [f"http://{host}:{port}/" for host in _hosts(own)]
    urls += [f"https://{host}:{port}/" for host in _plain(own)]
    urls += [each.replace("PORT", str(port)) for each in _DIFFERENTIALS]
    urls += [f"http://{host}:{low}/" for low in PORTS for host in ("example.com", "127.0.0.1")]
    return list(dict.fromkeys(urls))


def _plain(own: tuple[str, ...]) -> Iterator[str]:
    for address in (*LOOPBACK_V4, *INSIDE_V4, *INSIDE_V6, *own):
        yield f"[{address}]" if ":" in address else address


def _hosts(own: tuple[str, ...]) -> Iterator[str]:
    yield from _plain(own)
    for address in (*LOOPBACK_V4, *_SPELT_OUT, *(each for each in own if ":" not in each)):
        yield from spellings(IPv4Address(address))
    for address in (*LOOPBACK_V4[:2], *_SPELT_OUT):
        for carrier in carriers(IPv4Address(address)):
            yield f"[{carrier}]"
            yield f"[{carrier.exploded.upper()}]"
    for prefix in ("::ffff:", "::", "64:ff9b::", "0:0:0:0:0:FFFF:"):
        yield f"[{prefix}127.0.0.1]"


#: What one parser reads one way and another parser another way, and names of this machine.
_DIFFERENTIALS = (
    # user names
    "http://example.com@127.0.0.1:PORT/",
    "http://example.com:80@127.0.0.1:PORT/",
    "http://user:pass@127.0.0.1:PORT/",
    "http://127.0.0.1:PORT@example.com/",
    "http://@127.0.0.1:PORT/",
    "http://a@b@127.0.0.1:PORT/",
    "http://example.com%40127.0.0.1:PORT/",
    "http://example.com:443;@127.0.0.1:PORT/",
    "http://1.1.1.1&@127.0.0.1:PORT/",
    "http://1.1.1.1 &@127.0.0.1:PORT# @8.8.8.8/",
    # backslashes, slashes, fragments, queries
    "http://example.com\\@127.0.0.1:PORT/",
    "http://127.0.0.1:PORT\\@example.com/",
    "http:\\\\127.0.0.1:PORT\\",
    "http:/\\127.0.0.1:PORT/",
    "http://127.0.0.1:PORT\\.example.com/",
    "http://example.com#@127.0.0.1:PORT/",
    "http://127.0.0.1:PORT#@example.com/",
    "http://127.0.0.1:PORT?@example.com/",
    "http://127.0.0.1:PORT/?@example.com/",
    "http://127.0.0.1:PORT;@example.com/",
    "http:127.0.0.1:PORT/",
    "http:/127.0.0.1:PORT/",
    "http:///127.0.0.1:PORT/",
    "http:////127.0.0.1:PORT/",
    "//127.0.0.1:PORT/",
    "127.0.0.1:PORT/",
    "localhost:PORT/",
    # white space and control characters
    " http://127.0.0.1:PORT/",
    "\thttp://127.0.0.1:PORT/",
    "\nhttp://127.0.0.1:PORT/",
    "\x00http://127.0.0.1:PORT/",
    "ht\ttp://127.0.0.1:PORT/",
    "http:/\t/127.0.0.1:PORT/",
    "http://127.0.\t0.1:PORT/",
    "http://127.0.0.1\n:PORT/",
    "http://127.0.0.1\r\n:PORT/",
    "http://127.0.0.1 :PORT/",
    "http:// 127.0.0.1:PORT/",
    "http://127.0.0.1:PORT/ HTTP/1.1\r\nHost: example.com\r\n\r\n",
    "http://127.0.0.1:PORT\r\n.example.com/",
    "http://127.0.0.1:PORT\x00.example.com/",
    "http://127.0.0.1\x00.example.com:PORT/",
    "http://local\u00adhost:PORT/",
    "http://local\u200bhost:PORT/",
    "http://\u2060localhost:PORT/",
    "http://\ufefflocalhost:PORT/",
    "http://127.0.0.1:PORT/\u2028",
    # percent signs in the host
    "http://127.0.0.1%00.example.com:PORT/",
    "http://127.0.0.1%2f.example.com:PORT/",
    "http://127.0.0.1%23.example.com:PORT/",
    "http://127.0.0.1%0d%0a:PORT/",
    "http://%6c%6f%63%61%6c%68%6f%73%74:PORT/",
    "http://localhos%74:PORT/",
    "http://%5b::1%5d:PORT/",
    "http://127.0.0.1%20:PORT/",
    "http://127.0.0.1%3aPORT/",
    # brackets, zones, broken addresses
    "http://[::1%25lo]:PORT/",
    "http://[::1%lo]:PORT/",
    "http://[fe80::1%25eth0]:PORT/",
    "http://[fe80::1%251]:PORT/",
    "http://[127.0.0.1]:PORT/",
    "http://[0x7f.1]:PORT/",
    "http://[localhost]:PORT/",
    "http://[v1.127]:PORT/",
    "http://[::1]PORT/",
    "http://[::1]:PORT:80/",
    "http://[::1].example.com:PORT/",
    "http://[::1]@example.com:PORT/",
    "http://::1:PORT/",
    "http://[::1:PORT/",
    "http://::1]:PORT/",
    "http://[[::1]]:PORT/",
    "http://[0:0:0:0:0:0:0:0:1]:PORT/",
    "http://[::127.1]:PORT/",
    "http://[::ffff:0x7f000001]:PORT/",
    "http://[::ffff:127.0.0.01]:PORT/",
    # IPv4 that is not quite
    "http://127.1:PORT/",
    "http://127.0.1:PORT/",
    "http://0:PORT/",
    "http://00:PORT/",
    "http://0x0:PORT/",
    "http://0x:PORT/",
    "http://127.0.0.1..:PORT/",
    "http://127..1:PORT/",
    "http://.127.0.0.1:PORT/",
    "http://127.0.0.1.0:PORT/",
    "http://127.0.0.256:PORT/",
    "http://383.0.0.1:PORT/",
    "http://4294967297:PORT/",
    "http://6425673729:PORT/",
    "http://0x17f000001:PORT/",
    "http://-2130706433:PORT/",
    "http://+2130706433:PORT/",
    "http://127,0,0,1:PORT/",
    "http://1２7.0.0.1:PORT/",
    "http://127.0.0.1\ufe0f:PORT/",
    "http://1\ufe0f27.0.0.1:PORT/",
    "http://¹²⁷.⁰.⁰.¹:PORT/",
    "http://𝟏𝟐𝟕.𝟎.𝟎.𝟏:PORT/",
    "http://127｡0｡0｡1:PORT/",
    # names of this machine
    "http://localhost:PORT/",
    "http://LOCALHOST:PORT/",
    "http://localhost.:PORT/",
    "https://localhost:PORT/",
    "http://a.localhost:PORT/",
    "http://a.b.LocalHost.:PORT/",
    "http://127.0.0.1.localhost:PORT/",
    "http://example.com.localhost:PORT/",
    "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:PORT/",
    "http://ｌｏｃａｌｈｏｓｔ:PORT/",
    "http://ｌocalhost:PORT/",
    "http://𝓁ocalhost:PORT/",
    "http://local\ufe0fhost:PORT/",
    "http://loca\u034flhost:PORT/",
    "http://localhoſt:PORT/",
    "http://\u212ahost.localhost:PORT/",
    "http://localhost。:PORT/",
    # ports
    "http://127.0.0.1:0PORT/",
    "http://127.0.0.1:+PORT/",
    "http://127.0.0.1: PORT/",
    "http://127.0.0.1:PORT:80/",
    "http://127.0.0.1:80:PORT/",
    "http://example.com:80:@127.0.0.1:PORT/",
    "http://example.com:0/?PORT",
    "http://example.com:65536/?PORT",
    "http://example.com:-1/?PORT",
    "http://example.com:８０/?PORT",
    # schemes
    "HTTP://127.0.0.1:PORT/",
    "hTTp://LocalHost:PORT/",
    "gopher://127.0.0.1:PORT/_POST%20/",
    "ftp://127.0.0.1:PORT/",
    "dict://127.0.0.1:PORT/x",
    "ldap://127.0.0.1:PORT/",
    "tftp://127.0.0.1:PORT/",
    "ws://127.0.0.1:PORT/",
    "wss://127.0.0.1:PORT/",
    "file://127.0.0.1:PORT/etc/passwd",
    "jar:http://127.0.0.1:PORT!/",
    "url:http://127.0.0.1:PORT/",
    "view-source:http://127.0.0.1:PORT/",
    "http+unix://127.0.0.1:PORT/",
    "unix://127.0.0.1:PORT/",
    "netdoc://127.0.0.1:PORT/",
    "javascript://127.0.0.1:PORT/%0aalert(1)",
    "data://127.0.0.1:PORT/,x",
)

#: What a name server may say of a name whose owner means harm.
HOSTILE_ANSWERS: dict[str, list[str]] = {
    "loopback": ["127.0.0.1"],
    "loopback-v6": ["::1"],
    "other-loopback": ["127.0.0.53"],
    "this-host": ["0.0.0.0"],  # noqa: S104  as above
    "this-host-v6": ["::"],
    "mapped": ["::ffff:127.0.0.1"],
    "mapped-private": ["::ffff:10.0.0.1"],
    "compatible": ["::127.0.0.1"],
    "translated": ["::ffff:0:127.0.0.1"],
    "nat64": ["64:ff9b::7f00:1"],
    "local-nat64": ["64:ff9b:1::7f00:1"],
    "six-to-four": ["2002:7f00:1::1"],
    "teredo": ["2001:0:808:808::80ff:fffe"],
    "isatap": ["2a00:1450::5efe:7f00:1"],
    "private": ["10.0.0.1"],
    "private-172": ["172.31.255.1"],
    "private-192": ["192.168.0.1"],
    "carrier": ["100.64.0.1"],
    "metadata": ["169.254.169.254"],
    "metadata-v6": ["fd00:ec2::254"],
    "metadata-alibaba": ["100.100.100.200"],
    "wire-server": ["168.63.129.16"],
    "link-local": ["fe80::1"],
    "zoned": ["fe80::1%lo"],
    "zoned-loopback": ["::1%lo"],
    "public-first": ["93.184.216.34", "127.0.0.1"],
    "public-last": ["127.0.0.1", "93.184.216.34"],
    "public-and-v6": ["93.184.216.34", "::1"],
    "many": [*(f"93.184.216.{n}" for n in range(1, 60)), "127.0.0.1"],
    "no-address": ["localhost"],
    "number": ["2130706433"],
}

#: 50 that anybody may register.
ORDINARY_URLS = (
    "https://example.com",
    "https://example.com/",
    "https://example.com/webhooks",
    "https://example.com:443/webhooks",
    "https://example.com:8443/webhooks",
    "https://example.com:3000/webhooks",
    "https://example.com:65535/",
    "http://example.com/",
    "http://example.com:80/",
    "http://example.com:8080/in",
    "HTTPS://EXAMPLE.COM/CaseMatters",
    "https://example.com./final-dot",
    "https://hooks.example.com/services/T000/B000/XXXXXXXXXXXXXXXXXXXXXXXX",
    "https://api.eu-west-1.example.co.uk/v2/events",
    "https://a.very.deep.sub.domain.of.some.example.org/",
    "https://my_tenant.example.com/in",
    "https://tenant--1.example.com/in",
    "https://xn--bcher-kva.example/in",
    "https://bücher.example/in",
    "https://BÜCHER.example/in",
    "https://straße.example/in",
    "https://例え.jp/in",
    "https://пример.рф/in",
    "https://παράδειγμα.ελ/in",
    "https://مثال.إختبار/in",
    "https://उदाहरण.परीक्षा/in",
    "https://한국.example/in",
    "https://1password.com/in",
    "https://3com.example/in",
    "https://127.0.0.1.example.com/in",
    "https://10.0.0.1.nip.example/in",
    "https://localhost.example.com/in",
    "https://notlocalhost/in",
    "https://0x7f.example.com/in",
    "https://8.8.8.8/in",
    "https://1.1.1.1:8443/in",
    "https://172.32.0.1/in",
    "https://[2606:4700:4700::1111]/in",
    "https://[2a00:1450:4001:81b::200e]:8443/in",
    "https://[2001:4860:4860:0:0:0:0:8888]/in",
    "https://example.com/?token=abc%20def&next=http%3A%2F%2F127.0.0.1%2F",
    "https://example.com/?next=http://127.0.0.1/&mail=a@b.example",
    "https://example.com?only=query",
    "https://example.com/a/../b/./c//d",
    "https://example.com/%7Euser/~user/a;b=c,d",
    "https://example.com/a@b:c!$&'()*+,;=",
    "https://example.com/%E2%9C%93/%F0%9F%90%98",
    "https://example.com/{id}|x^y`z",
    "https://example.com/" + "long/" * 350,
    "https://example.com/?q=" + "x" * 1900,
)
