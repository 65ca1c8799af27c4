"""The server of the benchmark: the distribution's nginx on 127.0.0.1, by HTTP, HTTPS, and with slow connections."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MISSING = "nginx is missing (Debian, Ubuntu: sudo apt install nginx-light; macOS: brew install nginx)"
LIMIT_MIB = 100
"""MiB a second of each connection below `Addresses.limited`."""

_START_S = 10.0
_CONFIG = """
{user}
daemon off;
pid "{folder}/pid";
error_log "{folder}/error.log";
worker_processes {workers};
events {{ worker_connections 256; }}
http {{
    access_log off;
    default_type application/octet-stream;
    sendfile on;
    tcp_nopush on;
    client_body_temp_path "{folder}/client";
    proxy_temp_path "{folder}/proxy";
    fastcgi_temp_path "{folder}/fastcgi";
    uwsgi_temp_path "{folder}/uwsgi";
    scgi_temp_path "{folder}/scgi";
    server {{
        listen 127.0.0.1:{port};
        location / {{ root "{served}"; }}
        location /limited/ {{ alias "{served}/"; limit_rate {limit}m; }}
    }}
    server {{
        listen 127.0.0.1:{tls_port} ssl;
        ssl_certificate "{certificate}";
        ssl_certificate_key "{key}";
        location / {{ root "{served}"; }}
    }}
}}
"""


@dataclass(frozen=True)
class Addresses:
    """Where the server is: addresses that end with a slash, and the file with the certificate to trust."""

    http: str
    https: str
    limited: str
    certificate: Path


class NginxError(Exception):
    """nginx is missing or does not start."""


def program() -> str | None:
    """The path of nginx, which distributions put where a user's PATH does not lead."""
    return shutil.which("nginx", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))


def version() -> str:
    """Such as nginx/1.22.1."""
    said = subprocess.run([program() or "nginx", "-v"], stderr=subprocess.PIPE, text=True, check=False).stderr
    return said.strip().rpartition(" ")[2]


@contextmanager
def serving(served: Path, folder: Path) -> Iterator[Addresses]:
    """Serve the files in `served`; `folder` is for what nginx and TLS need.

    Raises:
        NginxError: it is missing, or does not start; the message says why.
    """
    nginx = program()
    if nginx is None:
        raise NginxError(MISSING)
    certificate, key = _certify(folder)
    port, tls_port = _free_ports(2)
    config = folder / "nginx.conf"
    config.write_text(
        _CONFIG.format(
            # Its workers would be "nobody", who cannot read a temporary folder.
            user=f"user {getpass.getuser()};" if os.geteuid() == 0 else "",
            folder=folder,
            served=served,
            workers=os.cpu_count() or 1,
            port=port,
            tls_port=tls_port,
            certificate=certificate,
            key=key,
            limit=LIMIT_MIB,
        ),
        encoding="utf-8",
    )
    with (folder / "said").open("w+", encoding="utf-8") as said:
        command = [nginx, "-p", str(folder), "-c", str(config)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            _wait_for(process, port, folder)
            base = f"127.0.0.1:{port}/"
            yield Addresses(f"http://{base}", f"https://127.0.0.1:{tls_port}/", f"http://{base}limited/", certificate)
        finally:
            process.terminate()
            process.wait(_START_S)


def _wait_for(process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    said = (folder / "said").read_text(encoding="utf-8", errors="replace")
    raise NginxError(f"nginx does not start: {' '.join(said.split())[-300:] or 'it says nothing'}")


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


def _certify(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, signed by itself, and its key."""
    import datetime
    import ipaddress

    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        raise NginxError("cryptography is missing, which makes its certificate (pip install -e '.[bench]')") from None

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "benchmark")])
    now = datetime.datetime.now(datetime.timezone.utc)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].touch(0o600)
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths
