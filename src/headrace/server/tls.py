"""The server's certificate: the operator's own, or a self-signed one that is kept in the data folder.

The self-signed one is no authority: who trusts it trusts this server's names and nothing else.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from headrace.errors import InvalidRequest
from headrace.settings import Settings

T = TypeVar("T")

_CERTIFICATE: Final = "tls.crt"
_KEY: Final = "tls.key"
_LASTS: Final = timedelta(days=820)  # Apple's systems refuse what lasts longer than 825 days
_RENEWED: Final = timedelta(days=30)  # before it ends
_ALWAYS: Final = ("localhost", "127.0.0.1", "::1")
_EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104 compared, not bound


class Certificate(msgspec.Struct, frozen=True):
    """Files that hold a certificate (and what leads from it to its authority) and its key, both PEM."""

    cert: Path
    key: Path
    parsed: x509.Certificate
    self_signed: bool

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate, as other programs show it."""
        return self.parsed.fingerprint(hashes.SHA256()).hex(":").upper()


def certificate(settings: Settings) -> Certificate | None:
    """The certificate of the settings; None is plain HTTP. Makes a self-signed one where it is missing or expired.

    Raises InvalidRequest that names the file which cannot be used.
    """
    cert, key = settings.tls_cert, settings.tls_key
    if settings.tls_self_signed:
        if cert or key:
            raise InvalidRequest("a self-signed certificate is made here: leave out either it or the files of another")
        return _self_signed(settings)
    if bool(cert) != bool(key):
        given, missing = ("certificate", "--tls-key") if cert else ("key", "--tls-cert")
        raise InvalidRequest(f"TLS needs a certificate and its key: a {given} is given, {missing} is missing")
    return _read(Path(cert).expanduser(), Path(key).expanduser()) if cert else None


def _self_signed(settings: Settings) -> Certificate:
    cert, key = settings.folder / _CERTIFICATE, settings.folder / _KEY
    names = _names(settings)
    try:
        held = _key(key)
        if not cert.exists() or not _serves(_certificate(cert), held, names):
            _draft(cert, _signed(held, names).public_bytes(serialization.Encoding.PEM), 0o644).replace(cert)
    except OSError as error:
        raise InvalidRequest(f"no certificate can be kept in {str(settings.folder)!r}: {error.strerror}") from None
    return msgspec.structs.replace(_read(cert, key), self_signed=True)


def _names(settings: Settings) -> list[x509.GeneralName]:
    own = [name.strip() for name in settings.tls_names.split(",")]
    wanted = [settings.host, *own] if settings.host not in _EVERYWHERE else own
    return [_name(name) for name in dict.fromkeys([*_ALWAYS, *filter(None, wanted)])]


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        pass
    try:
        return x509.DNSName(text)
    except ValueError:
        raise InvalidRequest(f"{text!r} cannot stand in a certificate: write a host's name or address") from None


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The key in the file, which is made when there is none."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        made = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        _place(path, made)
    key = _private_key(path)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InvalidRequest(f"{str(path)!r} does not hold a key that was made here: remove it")
    return key


def _place(path: Path, content: bytes) -> None:
    # Written aside and linked: another process sees the whole key or none, and the first one wins.
    draft = _draft(path, content, 0o600)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _draft(path: Path, content: bytes, mode: int) -> Path:
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(content)
    return draft


def _serves(cert: x509.Certificate, key: ec.EllipticCurvePrivateKey, names: list[x509.GeneralName]) -> bool:
    """True when an earlier certificate still fits: valid now, by this key, for these names."""
    try:
        covered = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    lasting = cert.not_valid_after_utc - datetime.now(UTC) > _RENEWED
    return lasting and cert.public_key() == key.public_key() and set(names) <= set(covered)


def _signed(key: ec.EllipticCurvePrivateKey, names: list[x509.GeneralName]) -> x509.Certificate:
    # A serial number of its own for each: browsers refuse two certificates of one issuer with the same number.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Headrace, self-signed")])
    identity = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # clocks differ
        .not_valid_after(now + _LASTS)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identity, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identity), critical=False)
        .sign(key, hashes.SHA256())
    )


def _read(cert: Path, key: Path) -> Certificate:
    """The two files, when a server can use them together."""
    parsed, held = _certificate(cert), _private_key(key)
    if not _usable(held):
        raise InvalidRequest(f"the key {str(key)!r} must be RSA, ECDSA over P-256 or P-384, or Ed25519")
    if held.public_key() != parsed.public_key():
        raise InvalidRequest(f"the key {str(key)!r} does not belong to the certificate {str(cert)!r}")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
    except ssl.SSLError as error:
        raise InvalidRequest(f"the certificate {str(cert)!r} cannot be served: {error}") from None
    return Certificate(cert, key, parsed, self_signed=False)


def _usable(key: PrivateKeyTypes) -> bool:
    """True for an algorithm that granian has: with another one it ends the process."""
    match key:
        case ec.EllipticCurvePrivateKey():
            return isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1)
        case _:
            return isinstance(key, rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey)


def _certificate(path: Path) -> x509.Certificate:
    return _parsed(path, "certificate", x509.load_pem_x509_certificate)


def _private_key(path: Path) -> PrivateKeyTypes:
    return _parsed(path, "key", lambda text: serialization.load_pem_private_key(text, None))


def _parsed(path: Path, what: str, parse: Callable[[bytes], T]) -> T:
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise InvalidRequest(f"the {what} {str(path)!r} cannot be read: {error.strerror}") from None
    except TypeError:
        raise InvalidRequest(f"the {what} {str(path)!r} is locked by a password: give one without") from None
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidRequest(f"{str(path)!r} holds no {what} in PEM form") from None
