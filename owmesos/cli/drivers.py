"""The client for the master that `owmesos run --driver` names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from owmesos.errors import InvalidInput

if TYPE_CHECKING:
    from owmesos.cli.connection import MasterAccess
    from owmesos.mesos.messages import Subscribe
    from owmesos.mesos.wire.driver import Driver


def driver_named(
    name: str, master: str, access: MasterAccess, secret: str | None
) -> tuple[Callable[[Subscribe], Driver] | None, Mapping[str, Callable[[], bool]]]:
    """None for our own HTTP driver; and what of it is read again on SIGHUP. Raises PymesosMissing, and InvalidInput for
    what pymesos cannot do."""
    if name != "pymesos":
        return None, {}
    from owmesos.mesos.pymesos.driver import NO_TLS, pymesos_driver
    from owmesos.mesos.wire.access import Access
    from owmesos.mesos.wire.address import Credentials

    if access.tls() is not None:
        raise InvalidInput(NO_TLS)
    of_driver = Access(Credentials.given(access.principal, secret))

    def renew() -> bool:
        fresh = access.secret()
        return fresh is not None and of_driver.renew_secret(fresh)

    return pymesos_driver(master, of_driver), {"pymesos's secret for the master": renew}
