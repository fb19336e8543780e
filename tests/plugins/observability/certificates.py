"""Certificates that are made for one run of the tests."""

from __future__ import annotations

import ssl
import subprocess

import pytest


class Certificate:
    """A certificate that vouches for itself, and the key of the server that shows it."""

    def __init__(self, folder, name):
        self.file, self.key = str(folder / f"{name}.pem"), str(folder / f"{name}-key.pem")
        kind = "IP" if name.replace(".", "").isdigit() else "DNS"
        command = (
            f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name} "
            f"-addext subjectAltName={kind}:{name} -keyout {self.key} -out {self.file}"
        )
        try:
            subprocess.run(command.split(), check=True, capture_output=True, timeout=30)
        except FileNotFoundError:
            pytest.skip("needs the openssl command")
        self.server = self.server_with(ssl.SSLSocket)

    def server_with(self, kind):
        """Make a context for a server, whose sockets are of this class."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file, self.key)
        context.sslsocket_class = kind
        return context
