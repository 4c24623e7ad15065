"""What `owmesos run` reads again on SIGHUP: certificates, keys, passwords and tokens, from the files that it was
started with, and the log level from that of --config. `docs/operating.md` has a table of them.

Each is checked first: one that cannot be used is reported, and the former one stays. Open connections go on as they
are. A terminal that closes sends SIGHUP too; then the process is to stop, as by SIGTERM.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, cast

import click

from owmesos.cli.settings import read_again
from owmesos.errors import OwmesosError

if TYPE_CHECKING:
    from owmesos.cli.process_log import ProcessLog
    from owmesos.cli.run import RunOptions
    from owmesos.invoker.kafka import KafkaInvoker
    from owmesos.service.admin import AdminServer, Extension
    from owmesos.service.admin_tokens import Tokens
    from owmesos.service.served import ServedProcess

_log = logging.getLogger("owmesos.run")


class Renewal:
    """Of one process. Tokens that the process has made itself stay as they are."""

    def __init__(
        self,
        options: RunOptions,
        server: AdminServer,
        tokens: Tokens,
        announcements: ExitStack,
        log: ProcessLog,
        extension: Extension | None,
        more: Mapping[str, Callable[[], bool]],
    ) -> None:
        """Within a command. `announcements` holds those of the tokens to the user's other commands.

        `more` maps the name of what is renewed to a function that reads it again and returns whether there was anything
        to read; they are called on a standby too, and raise InvalidInput.
        """
        self._context = click.get_current_context()
        self._log = log
        self._access = options.access
        self._options = options.admin
        self._kafka = options.kafka
        self._invoker = cast("KafkaInvoker", extension) if options.kafka.wanted else None
        self._more = more
        self._server = server
        self._tokens = tokens
        self._announcements = announcements
        self._had_terminal = _has_terminal()

    def hung_up(self, process: ServedProcess | None) -> bool:
        """On SIGHUP. Whether it is to stop, as its terminal was closed. Without a `process` the files for the cluster
        manager are not read: the process that is made later reads them."""
        if self._had_terminal and not _has_terminal():
            return True
        if self._options.admin_tls_cert is not None:
            self._read("the admin API's certificate", self._admin_certificate)
        if self._options.admin_token_file is not None or self._options.admin_read_token_file is not None:
            self._read("the admin API's tokens", self._admin_tokens)
        if process is not None:
            self._read("the certificates for the master", process.renew_access)
            if self._access.secret_file is not None:
                self._read("the secret for the master", lambda: self._secret(process))
        for what, read in self._more.items():
            self._read(what, read)
        if self._invoker is not None:
            self._read_of_invoker(self._invoker)
        self._read("the log level", self._log_level)
        return False

    def _read_of_invoker(self, invoker: KafkaInvoker) -> None:
        from owmesos.openwhisk.whisk_config import WhiskConfig

        options, config = self._kafka, WhiskConfig(os.environ)

        def kafka() -> bool:
            invoker.renew_kafka(options.kafka_access(config))
            return options.kafka_settings is not None

        def couch() -> bool:
            found = options.couch(config, os.environ)
            invoker.renew_couch(found)
            return options.couchdb_password_file is not None or found.url.startswith("https:")

        def http() -> bool:
            found = options.http(config)
            if found is not None:
                invoker.renew_http(found)
            return options.invoker_credentials_file is not None

        def ciphers() -> bool:
            invoker.renew_ciphers(options.ciphers(config))
            return options.parameter_keys_file is not None

        self._read("Kafka's TLS and login", kafka)
        self._read("CouchDB's password and authority", couch)
        self._read("the credentials of the invoker's HTTP interface", http)
        self._read("the keys of parameters", ciphers)

    @staticmethod
    def _read(what: str, read: Callable[[], bool]) -> None:
        try:
            there_were = read()
        except OwmesosError as error:
            _log.error(
                "SIGHUP: not renewed: %s: %s; what was read before is kept: correct it, then send SIGHUP again",
                what,
                error,
            )
        else:
            if there_were:
                _log.info("SIGHUP: renewed: %s", what)

    def _secret(self, process: ServedProcess) -> bool:
        """Raises InvalidInput."""
        secret = self._access.secret()
        return secret is not None and process.renew_secret(secret)

    def _log_level(self) -> bool:
        """Whether it is another one now. Raises InvalidInput."""
        level = read_again(self._context, "log_level")
        if level is None or level == self._log.level:
            return False
        self._log.set(level)
        return True

    def _admin_certificate(self) -> bool:
        """Raises InvalidInput."""
        self._server.renew_certificate(self._options.tls())
        self._options.warn_of_expiry()
        return True

    def _admin_tokens(self) -> bool:
        """Raises InvalidInput."""
        from owmesos.service.admin_tokens import Tokens, read_token

        admin, read = self._options.admin_token_file, self._options.admin_read_token_file
        found = Tokens(
            read_token(admin) if admin is not None else self._tokens.admin,
            read_token(read) if read is not None else self._tokens.read,
        )
        found.check(admin, read)
        if found != self._tokens:
            self._announcements.enter_context(self._options.announced(self._server, found))
        self._tokens = found
        self._server.renew_tokens(found)
        return True


def _has_terminal() -> bool:
    """Whether there is a terminal that controls this process."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
