"""Addresses that must not be reached, in all the ways in which they can be written."""

import asyncio
import ipaddress
from collections.abc import Sequence

import pytest
from waiting import within

from headrace.engine.ports import FetchRequest
from headrace.errors import FetchRefused, InvalidRequest
from headrace.providers.fetch import Fetcher
from headrace.providers.guard import Allowed, check_addresses, check_target, refused_class, target

REFUSED = """
http://127.0.0.1/ http://127.0.0.1:8080/ http://127.1/ http://127.0.1/ http://2130706433/ http://017700000001/
http://0x7f000001/ http://0x7f.0.0.1/ http://0x7f.1/ http://0177.0.0.1/ http://127.0.0.01/ http://127.000.000.001/
http://0/ http://0.0.0.0/ http://0.1.2.3/ http://0x/ http://127.0.0.1./ http://127.255.255.254/ http://4294967295/
http://10.0.0.1/ http://10.255.255.255/ http://172.16.0.1/ http://172.31.255.255/ http://192.168.1.1/
http://169.254.169.254/latest/meta-data/ http://169.254.170.2/ http://0xa9fea9fe/ http://2852039166/
http://100.64.0.1/ http://100.127.255.255/ http://198.18.0.1/ http://198.19.255.255/ http://192.0.0.192/
http://224.0.0.1/ http://239.255.255.250/ http://240.0.0.1/ http://255.255.255.255/ http://192.0.2.1/
http://198.51.100.1/ http://203.0.113.1/ http://192.88.99.1/
http://[::1]/ http://[::]/ http://[0:0:0:0:0:0:0:1]/ http://[::ffff:127.0.0.1]/ http://[::ffff:7f00:1]/
http://[::ffff:0:127.0.0.1]/ http://[::127.0.0.1]/ http://[::ffff:10.0.0.1]/ http://[::ffff:169.254.169.254]/
http://[64:ff9b::127.0.0.1]/ http://[64:ff9b::a9fe:a9fe]/ http://[64:ff9b:1::808:808]/ http://[2002:7f00:1::]/
http://[2002:a00:1::1]/ http://[2001:0:7f00:1::]/ http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/ http://[fc00::1]/
http://[fd00:ec2::254]/ http://[fe80::1]/ http://[fe80::1%25eth0]/ http://[fe80::1%eth0]/ http://[fec0::1]/
http://[ff02::1]/ http://[2001:db8::1]/ http://[100::1]/ http://[::1/ http://[127.0.0.1]/ http://[::1%2525lo]/
http://localhost/ http://LOCALHOST/ http://localhost./ http://localhost:3000/ http://a.localhost/ http://x.y.LocalHost./
http://localhost.localdomain/ http://ip6-localhost/ http://ip6-loopback/
http://１２７.０.０.１/ http://127。0。0。1/ http://127．0．0．1/ http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/ http://①②⑦.0.0.1/ http://loc%61lhost/
http://%31%32%37.0.0.1/ http://%6c%6f%63alhost/
http://user:secret@93.184.216.34/ http://user@93.184.216.34/ http://:secret@93.184.216.34/
http://93.184.216.34@127.0.0.1/ http://127.0.0.1#@93.184.216.34/ http://127.0.0.1?@93.184.216.34/
http://93.184.216.34\\@127.0.0.1/ http:\\\\127.0.0.1/ http:/127.0.0.1/ http:127.0.0.1 //127.0.0.1/ 127.0.0.1 /etc/passwd
file:///etc/passwd ftp://93.184.216.34/ gopher://93.184.216.34/ data:text/plain,x javascript:1 unix:///run/x.sock
dict://93.184.216.34:11211/ ws://93.184.216.34/ jar:http://93.184.216.34!/ http+unix://x/ http:// https:// http:///x
http://0x7f.0x0.0x0.0x1/ http://0x7F000001/ http://0177.1/ http://0300.0250.0001.0001/ http://3232235777/
http://[0:0:0:0:0:ffff:7f00:1]/ http://[::7f00:1]/ http://[2002:c0a8:101::]/ http://[64:ff9b::c0a8:101]/ http://[5f00::1]/
http://[::ffff:127.0.0.1%25lo]/ http://[::1]:80@93.184.216.34/ http://127.0.0.1:80:80/ http:////127.0.0.1/
http://127.0.0.1%2f@example.com/ http://example.com%2f@127.0.0.1/ http://localhost%00.example/ HTTP://LOCALHOST/
http://localho\u017ft/ http://loca\u2113host/ http://local\u00adhost/ http://local\u200bhost/ http://localhost\u3002/
http://127\uff610\uff610\uff611/ http://\u200b127.0.0.1/ http://1\uff127.0.0.1/ http://168.63.129.16/ http://100.100.100.200/
http://93.184.216.34:0/ http://93.184.216.34:22/ http://93.184.216.34:25/ http://93.184.216.34:6379/
http://93.184.216.34:65536/ http://93.184.216.34:-1/ http://93.184.216.34:http/ http://a..b/ http://a_b*/ http://-%00/
""".split()
ODD = [
    "http://127.0.0.1\n/",
    "http://1\t27.0.0.1/",
    "http://exa mple.test/",
    "http://a.test/\r\nX: y",
    "",
    " ",
    "http://a/" + "x" * 20000,
]


async def public(host: str, port: int) -> Sequence[str]:
    """Every name seems to be out there."""
    return ["93.184.216.34"]


async def check(url: str, allowed: Allowed) -> None:
    """What the fetcher does before it connects, with a resolver for which every name is public."""
    at = target(url)
    check_target(at, allowed)
    found = [at.address] if at.address else [ipaddress.ip_address(text) for text in await public(at.host, at.port)]
    check_addresses(at, found, allowed)


@pytest.mark.parametrize("url", [*REFUSED, *ODD])
def test_an_address_that_must_not_be_reached_is_refused(url: str) -> None:
    with pytest.raises(FetchRefused):
        within(Fetcher(resolve=public).fetch(FetchRequest("GET", url)))


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "https://example.com:8443/a?b=c#d",
        "https://EXAMPLE.com./",
        "http://93.184.216.34/",
        "http://bücher.example/",
        "http://xn--bcher-kva.example/",
        "https://[2606:2800:220:1:248:1893:25c8:1946]/",
        "http://[64:ff9b::5db8:d822]/",
        "http://1.example.com/",
        "http://0x7f.example.com/",
        "http://a_b.example.com/",
        "http://localhost.example.com/",
        " https://example.com/ ",
    ],
)
def test_an_ordinary_address_passes(url: str) -> None:
    within(check(url, Allowed()))
    assert target(url).host == target(str(target(url).url)).host


@pytest.mark.parametrize(
    ("entries", "url"),
    [
        ("localhost", "http://localhost:3000/"),
        ("localhost:3000", "http://localhost:3000/"),
        ("127.0.0.1", "http://127.0.0.1:9/"),
        ("10.0.0.0/8", "http://10.1.2.3/"),
        ("::1", "http://[::1]:8080/"),
        ("[::1]:8080", "http://[::1]:8080/"),
        ("10.0.0.5:6379", "http://10.0.0.5:6379/"),
        ("x.test, fc00::/7", "http://[fd00::1]/"),
        ("Search.Internal.", "http://search.internal/"),
    ],
)
def test_what_is_listed_may_be_reached(entries: str, url: str) -> None:
    within(check(url, Allowed(entries)))


@pytest.mark.parametrize(
    ("entries", "url"),
    [
        ("localhost:3000", "http://localhost:3001/"),
        ("localhost", "http://127.0.0.1/"),
        ("10.0.0.0/16", "http://10.1.0.1/"),
        ("10.0.0.5:80", "http://10.0.0.5:81/"),
        ("example.com", "http://sub.localhost/"),
        ("127.0.0.1", "http://[::1]/"),
    ],
)
def test_what_is_listed_opens_nothing_else(entries: str, url: str) -> None:
    with pytest.raises(FetchRefused):
        within(check(url, Allowed(entries)))


@pytest.mark.parametrize("entry", ["http://x", "*", "a b", "10.0.0.0/33", "x/8", "[", "-:-"])
def test_an_entry_that_is_none_is_named(entry: str) -> None:
    with pytest.raises(InvalidRequest, match="HEADRACE_ALLOWED_HOSTS"):
        Allowed(entry)


@pytest.mark.parametrize("answer", ["127.0.0.1", "10.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "fe80::1"])
def test_a_name_is_refused_when_one_of_its_addresses_is(answer: str) -> None:
    async def mixed(host: str, port: int) -> Sequence[str]:
        return ["93.184.216.34", answer]

    with pytest.raises(FetchRefused) as caught:
        within(Fetcher(resolve=mixed).fetch(FetchRequest("GET", "http://rebound.test/")))
    assert "'rebound.test'" in str(caught.value)
    assert "HEADRACE_ALLOWED_HOSTS" in str(caught.value)
    assert answer not in str(caught.value)


def test_the_refusal_of_a_url_keeps_its_secrets() -> None:
    for url in ("ftp://user:hunter2@x.test/", "http://user:hunter2@x.test/", "ftp://x.test/?key=hunter2"):
        with pytest.raises(FetchRefused) as caught:
            target(url)
        assert "hunter2" not in str(caught.value)


def test_every_address_of_this_machine_has_a_class() -> None:
    assert refused_class(ipaddress.ip_address("127.0.0.1")) == "loopback"
    assert refused_class(ipaddress.ip_address("2002:a00:1::1")) == "private"
    assert refused_class(ipaddress.ip_address("8.8.8.8")) is None
    assert asyncio.run(public("x", 1))
