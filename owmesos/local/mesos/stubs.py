"""The C source of stub libraries for what libmesos was linked with and what today's systems no longer have.

The libmesos of 2020 wants OpenSSL 1.0, an old curl, Subversion, APR, SASL, and the CPython 2 that loads it as an
extension. None of their functions is called on the way of a master or an agent without TLS, fetcher or SASL, but the
dynamic linker wants every symbol. So each stub says its name and aborts, except for the few that libmesos calls as
it starts.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

PYTHON = "libpython-stub.so"
# In the order of their versions: a later version inherits from the one before it.
_OPENSSL = ("OPENSSL_1.0.0", "OPENSSL_1.0.1", "OPENSSL_1.0.2")
_VERSIONS = {"libssl.so.1.0.0": _OPENSSL, "libcrypto.so.1.0.0": _OPENSSL}
_RETURNS_ZERO = frozenset(
    {
        "apr_initialize",
        "apr_terminate",
        "curl_global_init",
        "sasl_auxprop_add_plugin",
        "sasl_client_init",
        "sasl_server_init",
    }
)
_HEAD = """\
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static long stub(const char *name) {
  write(2, "stub called: ", 13); write(2, name, strlen(name)); write(2, "\\n", 1);
  abort();
}
"""


@dataclass(frozen=True)
class Symbol:
    """An undefined symbol of libmesos; `version` is "" where it has none."""

    name: str
    version: str

    @property
    def library(self) -> str | None:
        """The soname of the library that has to define it; None where the system's own does."""
        if self.version.startswith("CURL_"):
            return "libcurl.so.4"
        if self.version.startswith("OPENSSL_"):
            is_ssl = self.name.startswith("SSL") or self.name.endswith("_method")
            return "libssl.so.1.0.0" if is_ssl else "libcrypto.so.1.0.0"
        prefixes = {
            r"svn_t": "libsvn_delta-1.so.1",
            r"svn_": "libsvn_subr-1.so.1",
            r"apr_": "libapr-1.so.0",
            r"sasl_": "libsasl2.so.2",
            r"_?Py": PYTHON,
        }
        return next((library for prefix, library in prefixes.items() if re.match(prefix, self.name)), None)

    @property
    def definition(self) -> str:
        if self.name.startswith("PyExc_") or self.name == "_Py_NoneStruct":
            return f"long {self.name}[64];"
        answer = "0" if self.name in _RETURNS_ZERO else f'stub("{self.name}")'
        return f"long {self.name}() {{ return {answer}; }}"


@dataclass(frozen=True)
class StubLibrary:
    """A shared library to compile: C `source`, and the linker's `version_script`."""

    soname: str
    source: str
    version_script: str


def stub_libraries(nm_output: str) -> list[StubLibrary]:
    """The libraries that `nm -D --undefined-only` of libmesos, whose output is given, asks for."""
    wanted: dict[str, list[Symbol]] = defaultdict(list)
    for line in nm_output.splitlines():
        name, _, version = line.split()[-1].partition("@")
        symbol = Symbol(name, version.lstrip("@"))
        if symbol.library is not None:
            wanted[symbol.library].append(symbol)
    return [_library(soname, symbols) for soname, symbols in sorted(wanted.items())]


def _library(soname: str, symbols: list[Symbol]) -> StubLibrary:
    source = _HEAD + "\n".join(symbol.definition for symbol in symbols) + "\n"
    return StubLibrary(soname, source, _version_script(soname, symbols))


def _version_script(soname: str, symbols: Iterable[Symbol]) -> str:
    by_version: dict[str, list[str]] = {version: [] for version in _VERSIONS.get(soname, ())}
    for symbol in symbols:
        by_version.setdefault(symbol.version, []).append(symbol.name)
    if set(by_version) == {""}:
        return "{ global: *; };\n"
    script, before = "", ""
    for version, names in sorted(by_version.items()):
        exported = f" global: {'; '.join(names)};" if names else ""
        hidden = "" if before else " local: *;"
        script += f"{version} {{{exported}{hidden} }}{before};\n"
        before = f" {version}"
    return script
