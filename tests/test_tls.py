"""HTTPS and HTTP/2: the certificate that is made here and the operator's own, as the clients meet them."""

import asyncio
import json
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from servers import Server, conversation, serving
from typescript import built
from upstream import Upstream
from waiting import BOUND, until, within

from headrace import AsyncHeadrace, Headrace, HeadraceError
from headrace.errors import ConnectionFailed, InvalidRequest
from headrace.server.tls import Certificate, certificate
from headrace.settings import Settings, load

PLAIN = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
PYTHON = """
import sys, headrace
with headrace.Headrace(sys.argv[1], attempts=1) as client:
    print(client.predict(sys.argv[2], "Hi").text)
"""
FLOWISE = """
import sys, flowise
for chunk in flowise.Flowise(sys.argv[1]).create_prediction(flowise.PredictionData(sys.argv[2], "Hi", streaming=True)):
    print(chunk)
"""
NODE = """
const { HeadraceClient } = require(process.argv[1]);
const client = new HeadraceClient({ baseUrl: process.argv[2], attempts: 1 });
client.predict(process.argv[3], "Hi").then(
  (answer) => console.log(answer.text),
  (error) => { console.error(String(error)); process.exit(1); },
);
"""


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """Two workers, so that what the clients meet holds for each of them."""
    folder = tmp_path_factory.mktemp("secure") / "data"
    with serving(folder, "--tls-self-signed", "--workers", "2", ca=str(folder / "tls.crt")) as server:
        yield server


@pytest.fixture
def flow(secure: Server, upstream: Upstream) -> str:
    return secure.create_flow(conversation(upstream.url))


def run(*command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    trusts = ("SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
    clean = {name: value for name, value in os.environ.items() if name not in trusts}
    return subprocess.run(command, env={**clean, **environ}, capture_output=True, text=True, timeout=30)


def self_signed(folder: Path, **given: Any) -> Certificate:
    made = certificate(Settings(data_dir=str(folder), tls_self_signed=True, **given))
    assert made
    return made


# The self-signed certificate


def test_the_key_is_its_owners_and_the_printed_fingerprint_is_the_served_certificates(secure: Server) -> None:
    assert (secure.folder / "tls.key").stat().st_mode & 0o777 == 0o600
    served = ssl.get_server_certificate(("localhost", secure.port), ca_certs=secure.ca, timeout=10)
    within(until(lambda: "SHA-256" in secure.output.read_text()))  # once all workers are there
    printed = secure.output.read_text()
    assert f"answers at https://localhost:{secure.port} " in printed
    fingerprint = x509.load_pem_x509_certificate(served.encode()).fingerprint(hashes.SHA256())
    assert f"Certificate {secure.ca}, SHA-256 {fingerprint.hex(':').upper()}\n" in printed


def test_a_strict_verifier_takes_the_certificate_for_every_name(secure: Server) -> None:
    context = ssl.create_default_context(cafile=secure.ca)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    for name in ("localhost", "127.0.0.1"):
        with httpx2.Client(verify=context) as client:
            assert client.get(f"https://{name}:{secure.port}/api/v1/ping").text == "pong"


def test_the_certificate_stays_from_start_to_start(tmp_path: Path) -> None:
    first = self_signed(tmp_path)
    assert self_signed(tmp_path).fingerprint == first.fingerprint
    assert self_signed(tmp_path, host="0.0.0.0").fingerprint == first.fingerprint


def test_another_name_makes_another_certificate_for_the_same_key(tmp_path: Path) -> None:
    key = self_signed(tmp_path).parsed.public_key()
    made = self_signed(tmp_path, host="192.0.2.7", tls_names="box.example, 2001:db8::1")
    names = made.parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "box.example"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == [
        "127.0.0.1",
        "::1",
        "192.0.2.7",
        "2001:db8::1",
    ]
    assert made.parsed.public_key() == key
    assert self_signed(tmp_path).fingerprint == made.fingerprint  # it has the usual names too


@pytest.mark.parametrize(("days", "renewed"), [(-1, True), (29, True), (31, False)])
def test_a_certificate_is_renewed_before_it_ends(tmp_path: Path, days: int, renewed: bool) -> None:
    first = self_signed(tmp_path)
    key: Any = serialization.load_pem_private_key(first.key.read_bytes(), None)
    ends = datetime.now(UTC) + timedelta(days=days)
    builder = x509.CertificateBuilder().subject_name(first.parsed.subject).issuer_name(first.parsed.issuer)
    for extension in first.parsed.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    builder = builder.public_key(key.public_key()).serial_number(7)
    old = builder.not_valid_before(ends - timedelta(days=90)).not_valid_after(ends).sign(key, hashes.SHA256())
    first.cert.write_bytes(old.public_bytes(serialization.Encoding.PEM))
    now = self_signed(tmp_path)
    assert (now.parsed.serial_number != 7) is renewed
    assert now.parsed.not_valid_after_utc > datetime.now(UTC)


# The operator's own


def authority(folder: Path, *, password: bytes | None = None) -> tuple[Path, Path, Path]:
    """Authority, certificate for localhost with the authority after it, and its key in the older form."""
    keys = [rsa.generate_private_key(65537, 2048) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in ("Tests", "localhost")]
    now = datetime.now(UTC)
    pems: list[bytes] = []
    for key, name, ca in zip(keys, names, (True, False), strict=True):
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(names[0]).public_key(key.public_key())
        builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        made = builder.serial_number(x509.random_serial_number()).sign(keys[0], hashes.SHA256())
        pems.append(made.public_bytes(serialization.Encoding.PEM))
    paths = folder / "authority.pem", folder / "server.pem", folder / "server.key"
    locked = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    paths[0].write_bytes(pems[0])
    paths[1].write_bytes(pems[1] + pems[0])
    paths[2].write_bytes(
        keys[1].private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, locked)
    )
    return paths


def test_the_operators_own_certificate_is_served(tmp_path: Path) -> None:
    ca, cert, key = authority(tmp_path)
    environ = {"HEADRACE_TLS_CERT": str(cert), "HEADRACE_TLS_KEY": str(key)}
    with serving(tmp_path / "data", ca=str(ca), **environ) as server:
        assert server.send("GET", "/api/v1/ping").text == "pong"
        assert not (server.folder / "tls.crt").exists()


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    _, cert, key = authority(tmp_path)
    (tmp_path / "locked").mkdir()
    _, _, locked = authority(tmp_path / "locked", password=b"secret")
    (tmp_path / "other").mkdir()
    _, _, other = authority(tmp_path / "other")
    odd = tmp_path / "odd.key"
    odd.write_bytes(ec.generate_private_key(ec.SECP521R1()).private_bytes(*PLAIN))
    missing = tmp_path / "none.pem"
    cases: list[tuple[dict[str, str], str]] = [
        ({"tls_cert": str(missing), "tls_key": str(key)}, f"the certificate '{missing}' cannot be read: No such file"),
        ({"tls_cert": str(cert), "tls_key": str(missing)}, f"the key '{missing}' cannot be read: No such file"),
        ({"tls_cert": str(key), "tls_key": str(key)}, f"'{key}' holds no certificate in PEM form"),
        ({"tls_cert": str(cert), "tls_key": str(cert)}, f"'{cert}' holds no key in PEM form"),
        ({"tls_cert": str(cert), "tls_key": str(locked)}, f"the key '{locked}' is locked by a password"),
        ({"tls_cert": str(cert), "tls_key": str(odd)}, f"the key '{odd}' must be RSA, ECDSA over P-256 or P-384"),
        ({"tls_cert": str(cert), "tls_key": str(other)}, f"the key '{other}' does not belong to the certificate"),
        ({"tls_cert": str(cert)}, "a certificate is given, --tls-key is missing"),
        ({"tls_key": str(key)}, "a key is given, --tls-cert is missing"),
        ({"tls_cert": str(cert), "tls_key": str(key), "tls_self_signed": "true"}, "leave out either"),
        ({"tls_names": "bücher.example", "tls_self_signed": "true"}, "'bücher.example' cannot stand in a certificate"),
    ]
    for given, said in cases:
        with pytest.raises(InvalidRequest, match=re.escape(said)):
            certificate(load({}, data_dir=str(tmp_path / "data"), **given))


def test_a_folder_that_can_hold_no_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        InvalidRequest, match=re.escape(f"can be kept in '{tmp_path / 'file' / 'data'}': Not a directory")
    ):
        self_signed(tmp_path / "file" / "data")


def test_the_command_line_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "headrace", "serve", "--data-dir", str(tmp_path), "--tls-cert", "none.pem"]
    done = run(*command, "--tls-key", "none.key")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: the certificate 'none.pem' cannot be read: No such file or directory\n"


# Clients


@pytest.mark.parametrize(("flag", "spoken"), [("--http2", "2"), ("--http1.1", "1.1")])
def test_curl_streams_where_it_trusts_the_certificate(secure: Server, flow: str, flag: str, spoken: str) -> None:
    address = f"{secure.url}/api/v1/prediction/{flow}"
    body = json.dumps({"question": "Hi", "streaming": True})
    head = ["--silent", "--show-error", "--header", "Content-Type: application/json", "--data", body]
    command = ["curl", flag, *head, "--write-out", "HTTP %{http_version}", address]
    done = run(*command, CURL_CA_BUNDLE=secure.ca)
    assert done.stderr == ""
    assert done.stdout.endswith(f'data:{{"event":"end","data":"[DONE]"}}\n\nHTTP {spoken}')
    assert "self-signed certificate" in run(*command).stderr


@pytest.mark.parametrize(("program", "trusting"), [(PYTHON, "SSL_CERT_FILE"), (FLOWISE, "REQUESTS_CA_BUNDLE")])
def test_python_libraries_trust_what_their_environment_says(
    secure: Server, flow: str, program: str, trusting: str
) -> None:
    command = [sys.executable, "-c", program, secure.url, flow]
    done = run(*command, **{trusting: secure.ca})
    assert (done.returncode, done.stderr) == (0, "")
    assert "You" in done.stdout
    assert "certificate verify failed" in run(*command).stderr


def test_node_trusts_what_its_environment_says(secure: Server, flow: str) -> None:
    command = ["node", "-e", NODE, str(built()), secure.url, flow]
    done = run(*command, NODE_EXTRA_CA_CERTS=secure.ca)
    assert (done.stdout, done.stderr) == ("You said: Hi\n", "")
    refused = run(*command)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "ConnectionFailed" in refused.stderr


def test_a_client_trusts_what_its_context_says(secure: Server, flow: str) -> None:
    context = ssl.create_default_context(cafile=secure.ca)
    with Headrace(secure.url, ssl_context=context) as client:
        assert client.predict(flow, "Hi").text == "You said: Hi"

    async def ask() -> str | None:
        async with AsyncHeadrace(secure.url, ssl_context=context) as client:
            return (await client.predict(flow, "Hi")).text

    assert within(ask()) == "You said: Hi"
    with Headrace(secure.url, attempts=1) as client, pytest.raises(ConnectionFailed, match="certificate verify failed"):
        client.predict(flow, "Hi")


# HTTP/2


def one_connection(server: Server) -> httpx2.AsyncClient:
    context = ssl.create_default_context(cafile=server.ca)
    limits = httpx2.Limits(max_connections=1)
    return httpx2.AsyncClient(
        base_url=server.url, http1=False, http2=True, verify=context, limits=limits, timeout=BOUND
    )


async def streamed(client: httpx2.AsyncClient, flow: str, question: str, together: asyncio.Barrier) -> str:
    """What the answer says; once it has begun, it waits until all have that go together."""
    body = {"question": question, "streaming": True}
    async with client.stream("POST", f"/api/v1/prediction/{flow}", json=body) as response:
        assert (response.status_code, response.http_version) == (200, "HTTP/2")
        await together.wait()
        events = [json.loads(line[5:]) async for line in response.aiter_lines() if line.startswith("data:")]
    assert events[-1]["event"] == "end"
    return "".join(event["data"] for event in events if event["event"] == "token")


def test_many_streams_share_one_connection(secure: Server, flow: str) -> None:
    async def all_of_them() -> list[str]:
        together = asyncio.Barrier(100)
        async with one_connection(secure) as client:
            asked = (
                streamed(client, flow, f"/say {' '.join([f'm{n}x'] * 20)} | /pace 5", together) for n in range(100)
            )
            return list(await asyncio.gather(*asked))

    assert within(all_of_them(), 3 * BOUND) == [" ".join([f"m{n}x"] * 20) for n in range(100)]


def test_leaving_one_stream_of_a_connection_stops_its_run_and_no_other(secure: Server, flow: str) -> None:
    program = Path(__file__).parent / "node" / "leaving.mjs"
    done = run("node", str(program), secure.url, secure.ca, flow)
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert found["state"] == "cancelled"
    assert "w50" in found["other"]
    assert found["other"].endswith('data:{"event":"end","data":"[DONE]"}\n\n')


def test_a_secure_connection_that_speaks_no_tls_gets_no_answer(secure: Server) -> None:
    with pytest.raises(HeadraceError), Headrace(secure.url.replace("https", "http"), attempts=1) as client:
        client.runs("flow", "chat")
    assert secure.send("GET", "/api/v1/ping").text == "pong"
