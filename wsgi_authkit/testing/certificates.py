"""A certificate for https on the own machine."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID


def self_signed_certificate(
    certfile: str | Path, hosts: Sequence[str] = ("localhost", "127.0.0.1")
) -> Path:
    """Write a new key and its certificate to one PEM file; return its path.

    .. code-block:: python

        certfile = self_signed_certificate(tmp_path / "server.pem")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certfile)
        with serve(app, ssl_context=context) as served:
            requests.get(served.url, verify=str(certfile), timeout=5)

    It is good for a day.

    :param hosts: Names and IP addresses that it is for.
    """
    private_key = ec.generate_private_key(ec.SECP256R1())
    pem = private_key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    ) + _certificate(private_key, hosts).public_bytes(Encoding.PEM)
    path = Path(certfile)
    path.touch(mode=0o600)
    path.write_bytes(pem)
    return path


def _certificate(
    private_key: ec.EllipticCurvePrivateKey, hosts: Sequence[str]
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName(map(_general_name, hosts)), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(private_key, hashes.SHA256())
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
