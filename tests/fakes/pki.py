"""Certificates for tests: an authority, and those that it vouches for."""

from __future__ import annotations

import ssl
from datetime import datetime
from pathlib import Path

import trustme


class Pki:
    """An authority, the files of it, and those of a client that it vouches for."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.ca, self.cert, self.key = folder / "ca.pem", folder / "cert.pem", folder / "key.pem"
        self.authority.cert_pem.write_to_path(self.ca)
        self.issue_client()

    def issue_client(self, not_after: datetime | None = None) -> None:
        """A new one into the client's files."""
        client = self.authority.issue_cert("client@example.org", not_after=not_after)
        client.private_key_pem.write_to_path(self.key)
        client.cert_chain_pems[0].write_to_path(self.cert)

    def server(self, *names: str, asks_client: bool = False, not_after: datetime | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.authority.issue_cert(*names, not_after=not_after).configure_cert(context)
        if asks_client:
            self.authority.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context
