"""What OpenWhisk's own container for nodejs does, and ours has to do likewise."""

from __future__ import annotations

import base64
import gzip
import http.client
import io
import json
import os
import signal
import stat
import struct
import tarfile
import threading
import zipfile
from collections.abc import Mapping
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest

from tests.runtimes.conftest import Start
from tests.runtimes.container import COMMANDS, SENTINEL, ActionContainer, zipped
from tests.waiting import eventually

NODE = "nodejs:20"
pytestmark = pytest.mark.skipif(NODE not in COMMANDS, reason="node is not installed")
MIB = 1024 * 1024


@pytest.fixture
def container(start: Start) -> ActionContainer:
    return start(NODE)


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def zip_of(*entries: tuple[str | zipfile.ZipInfo, str | bytes], deflated: bool = True) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED) as archive:
        for entry, text in entries:
            archive.writestr(entry, text)
    return data.getvalue()


def entry(name: str, mode: int) -> zipfile.ZipInfo:
    """As a Unix made it."""
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    return info


def tar_of(files: Mapping[str, bytes], *more: tarfile.TarInfo, form: int = tarfile.PAX_FORMAT) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz", format=form) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o755
            archive.addfile(info, io.BytesIO(content))
        for info in more:
            archive.addfile(info)
    return data.getvalue()


def with_long_fields(archive: bytes) -> bytes:
    """A zip of one entry without extra fields, with all that zip64 can hold only there (APPNOTE.TXT, 4.3.14, 4.5.3)."""
    begin, end = archive.index(b"PK\x01\x02"), archive.index(b"PK\x05\x06")
    entry = bytearray(archive[begin:end])
    compressed, size = struct.unpack_from("<II", entry, 20)
    (offset,) = struct.unpack_from("<I", entry, 42)
    extra = b"UT\x00\x00" + struct.pack("<HHQQQ", 1, 24, size, compressed, offset)
    struct.pack_into("<II", entry, 20, 0xFFFFFFFF, 0xFFFFFFFF)
    struct.pack_into("<H", entry, 30, len(extra))
    struct.pack_into("<I", entry, 42, 0xFFFFFFFF)
    entry += extra
    long_end = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, 1, 1, len(entry), begin)
    locator = struct.pack("<IIQI", 0x07064B50, 0, begin + len(entry), 1)
    short_end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return archive[:begin] + bytes(entry) + long_end + locator + short_end


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


TOOL = b"#!/bin/sh\necho from the tool\n"
RUN_TOOLS = (
    "const run = require('child_process').execFileSync\n"
    "exports.main = () => ({ tool: run('./tool').toString(), alias: run('./alias').toString() })"
)
TOOLS_RAN = {"tool": "from the tool\n", "alias": "from the tool\n"}


PACKAGE = {"package.json": '{"main": "src/foo.js"}', "src/foo.js": "exports.bar = () => ({ from: 'src/foo.bar' })"}


class TestEntryPoints:
    @pytest.mark.parametrize(
        ("files", "main", "expected"),
        [
            ({"foo.js": "exports.bar = () => ({ from: 'foo.bar' })"}, "foo.bar", "foo.bar"),
            (PACKAGE, "src/foo.bar", "src/foo.bar"),
            (PACKAGE, "bar", "src/foo.bar"),
            ({"other.js": "exports.niam = { xyz: () => ({ from: 'nested' }) }"}, "other.niam.xyz", "nested"),
            (
                {"index.js": "exports.main = () => ({})", "other.js": "exports.niam = () => ({ from: 'other' })"},
                "other.niam",
                "other",
            ),
            (
                {"index.js": "exports.a = { b: () => ({ from: 'the package' }) }"},
                "a.b",
                "the package",
            ),
            (
                {"index.js": "exports.a = { b() { return { from: this.c } }, c: 'its object' }"},
                "a.b",
                "its object",
            ),
        ],
    )
    def test_a_function_of_a_module_of_the_archive(
        self, files: dict[str, str], main: str, expected: str, container: ActionContainer
    ) -> None:
        assert container.init(zipped(files), main=main, binary=True)[0] == 200
        assert container.run() == (200, {"from": expected})

    @pytest.mark.parametrize(
        ("files", "main", "said"),
        [
            ({"foo.js": "exports.bar = 1"}, "foo.bar", "Action entrypoint 'foo.bar' is not a function."),
            ({"foo.js": ""}, "fool.bar", "Cannot find module"),
            ({"foo.js": "require('no-such-thing')"}, "foo.bar", "Cannot find module 'no-such-thing'"),
            ({"index.js": "throw new Error('not today')"}, "main", "not today"),
            ({"foo.js": ""}, ".bar", "Name of main function is not valid"),
            ({"foo.js": ""}, "main", "Zipped actions must contain either package.json or index.js at the root."),
        ],
    )
    def test_one_that_is_not_there_is_told(
        self, files: dict[str, str], main: str, said: str, container: ActionContainer
    ) -> None:
        status, answer = container.init(zipped(files), main=main, binary=True)
        assert status == 502
        assert answer["error"].startswith("Initialization has failed due to: ")
        assert said in answer["error"]
        assert said in container.stderr()

    @pytest.mark.parametrize(
        ("code", "main"),
        [
            ("const a = { b: { c: () => ({}) } }", "a.b.c"),
            ("exports.a = { b: () => ({}) }", "a.b"),
            ("module.exports = { main: () => ({}) }", "main"),
            ("global.main = () => ({})", "main"),
            ("const main = () => ({}) // without a line's end", "main"),
            ("#!/usr/bin/env node\nconst main = () => ({})", "main"),
            ("'use strict'; const main = () => ({})", "main"),
            ("const tool = require('fs'); const main = () => ({})", "main"),
        ],
    )
    def test_a_function_of_a_single_file(self, code: str, main: str, container: ActionContainer) -> None:
        assert container.init(code, main=main) == (200, {"OK": True})
        assert container.run() == (200, {})

    def test_a_single_file_may_declare_any_name(self, container: ActionContainer) -> None:
        names = ["require", "module", "exports", "__filename", "__dirname"]
        names += ["code", "found", "path", "fs", "Module", "process", "console", "e"]
        constants = "".join(f"const {name} = '{name}';\n" for name in names)
        assert container.init(f"{constants} function main() {{ return [{', '.join(names)}] }}")[0] == 200
        assert container.run() == (200, names)

    def test_packages_of_the_operator_are_found_by_node_path(self, start: Start, tmp_path: Path) -> None:
        package = tmp_path / "packages" / "openwhisk"
        package.mkdir(parents=True)
        (package / "index.js").write_text("module.exports = 'the package'")
        for binary in (False, True):
            container = start(NODE, env={"NODE_PATH": str(package.parent)})
            code = "exports.main = () => ({ is: require('openwhisk') })"
            container.init(zipped({"index.js": code}) if binary else code, binary=binary)
            assert container.run() == (200, {"is": "the package"})

    def test_lines_of_a_stack_are_those_of_the_file(self, container: ActionContainer) -> None:
        container.init("function main() {\n  nothing.here\n}")
        assert container.run()[0] == 502
        assert "action.js:2:3" in container.stderr()


class TestArchives:
    def test_modes_and_links_of_a_zip(self, container: ActionContainer) -> None:
        archive = zip_of(
            (entry("alias", stat.S_IFLNK | 0o777), "tool"),
            (entry("tool", stat.S_IFREG | 0o755), TOOL),
            ("index.js", RUN_TOOLS),
        )
        assert container.init(encoded(archive), binary=True)[0] == 200
        assert container.run() == (200, TOOLS_RAN)

    def test_links_to_folders_of_a_zip(self, container: ActionContainer) -> None:
        """As pnpm makes them."""
        archive = zip_of(
            ("index.js", "exports.main = () => ({ dep: require('dep') })"),
            (entry("node_modules/dep", stat.S_IFLNK | 0o777), ".store/dep"),
            ("node_modules/.store/dep/index.js", "module.exports = 7"),
        )
        assert container.init(encoded(archive), binary=True)[0] == 200
        assert container.run() == (200, {"dep": 7})

    def test_nothing_is_written_through_a_link(self, container: ActionContainer) -> None:
        outside = container.folder / "outside"
        outside.mkdir()
        archive = zip_of(
            (entry("there", stat.S_IFLNK | 0o777), str(outside)), ("there/file", "x"), ("index.js", "exports.main = 1")
        )
        assert container.init(encoded(archive), binary=True)[0] == 502
        assert list(outside.iterdir()) == []

    @pytest.mark.parametrize("name", ["../file", "a/../../file"])
    def test_nothing_is_written_outside(self, name: str, container: ActionContainer) -> None:
        for archive in (zip_of((name, "x")), tar_of({name: b"x"})):
            status, answer = container.init(encoded(archive), binary=True)
            if status == 502:
                assert "the archive has a file outside of itself" in answer["error"]
        assert not list(container.folder.glob("**/file"))

    def test_zip64(self, container: ActionContainer) -> None:
        """As `zip -fz` and programs that stream write it: sizes in the extra field, an end of the longer form."""
        archive = with_long_fields(zip_of(("index.js", "exports.main = () => ({ z: 1 })")))
        assert container.init(encoded(archive), binary=True)[0] == 200
        assert container.run() == (200, {"z": 1})

    @pytest.mark.parametrize("before", [b"#!/bin/sh\n", b"\0" * 70_000])
    def test_a_zip_after_other_bytes(self, before: bytes, container: ActionContainer) -> None:
        archive = before + zip_of(("index.js", "exports.main = () => ({ z: 1 })"))
        assert container.init(encoded(archive), binary=True)[0] == 200
        assert container.run() == (200, {"z": 1})

    def test_names_as_windows_writes_them(self, container: ActionContainer) -> None:
        info = zipfile.ZipInfo("lib/it.js")
        info.create_system = 0
        archive = zip_of(
            (info, "module.exports = 7"), ("index.js", "exports.main = () => ({ it: require('./lib/it') })")
        )
        archive = archive.replace(b"lib/it.js", b"lib\\it.js")
        assert container.init(encoded(archive), binary=True)[0] == 200
        assert container.run() == (200, {"it": 7})

    @pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    def test_tar_gz(self, form: int, container: ActionContainer) -> None:
        deep = "/".join(["node_modules", *["folder" * 4] * 4, "x.js"])
        assert len(deep) > 100
        files = {"index.js": RUN_TOOLS.encode() + f"\nrequire('./{deep}')".encode(), "tool": TOOL, deep: b"", "ü": b""}
        archive = tar_of(files, link("alias", "tool"), link("hard", "tool", tarfile.LNKTYPE), form=form)
        assert container.init(encoded(archive), binary=True)[0] == 200
        assert container.run() == (200, TOOLS_RAN)
        root = next(container.folder.glob("action-*"))
        assert sorted(each.name for each in root.iterdir()) == [
            "alias",
            "hard",
            "index.js",
            "node_modules",
            "tool",
            "ü",
        ]
        assert (root / "hard").read_bytes() == TOOL

    def test_files_of_many_sizes(self, container: ActionContainer) -> None:
        contents = {
            f"f{size}": os.urandom(size // 2) + bytes(size - size // 2) for size in (0, 1, 511, 512, 513, 3 * MIB)
        }
        code = (
            "const fs = require('fs')\n"
            "const hash = (file) => require('crypto').createHash('md5').update(file).digest('hex')\n"
            "exports.main = ({ names }) => Object.fromEntries(names.map((n) => [n, hash(fs.readFileSync(n))]))"
        )
        expected = {name: md5(content).hexdigest() for name, content in contents.items()}
        several = [("index.js", code.encode()), *contents.items()]
        for archive in (zip_of(*several), zip_of(*several, deflated=False), tar_of(dict(several))):
            with ActionContainer(NODE, container.folder) as each:
                assert each.init(encoded(archive), binary=True)[0] == 200
                assert each.run({"names": list(contents)}) == (200, expected)

    def test_what_is_damaged_is_told(self, start: Start) -> None:
        whole = zip_of(("index.js", "exports.main = () => ({})" + " " * 1000 + os.urandom(500).hex()))
        tar = tar_of({"index.js": b"x" * 5000})
        for archive in (
            b"",
            b"PK\x03\x04",
            whole[:-30] + whole[-22:],
            whole[:60] + bytes(60) + whole[120:],
            whole[30:],
            tar[:-40],
            gzip.compress(b"no tar" * 500),
            gzip.compress(gzip.decompress(tar)[:1000]),
            b"\x1f\x8b" + os.urandom(100),
        ):
            container = start(NODE)
            value = {"name": "x", "main": "main", "code": encoded(archive) or "=", "binary": True}
            status, answer = container.post("/init", {"value": value})
            assert status == 502, archive[:20]
            assert "archive" in answer["error"] or "Zipped" in answer["error"], answer
            assert "nodejs_" not in answer["error"]

    @pytest.mark.parametrize("size", [16 * MIB, 35 * MIB])
    def test_a_large_archive_fits_a_container_of_256_mb(self, size: int, container: ActionContainer) -> None:
        content = os.urandom(MIB) * (size // MIB)
        archive = zip_of(("index.js", "exports.main = () => ({ n: 1 })"), ("data", content), deflated=False)
        assert container.post("/init", body_of(archive), timeout=60)[0] == 200
        assert container.run() == (200, {"n": 1})
        root = next(container.folder.glob("action-*"))
        assert (root / "data").read_bytes() == content
        assert sum(peaks(container)) < 256 * MIB

    def test_code_in_base64_with_blanks_or_escapes(self, start: Start) -> None:
        archive = zip_of(("index.js", "exports.main = () => ({ n: 1 })"), ("data", os.urandom(3 * MIB)))
        text = encoded(archive)
        spaced = " ".join(text[at : at + 76] for at in range(0, len(text), 76))
        escaped = json.dumps({"value": {"main": "main", "code": text, "binary": True}}).replace("/", "\\/")
        confusing = {"value": {"env": {"code": "x" * 2 * MIB}, "main": "main", "code": text, "binary": True}}
        for body in (body_of(archive, text=spaced), escaped.encode(), json.dumps(confusing).encode()):
            container = start(NODE)
            status, answer = container.post("/init", body)
            assert (status, answer) == (200, {"OK": True})
            assert container.run() == (200, {"n": 1})


def body_of(archive: bytes, *, text: str | None = None) -> bytes:
    value = {"env": {}, "name": "x", "main": "main", "code": text or encoded(archive), "binary": True}
    return json.dumps({"value": value}).encode()


def peaks(container: ActionContainer) -> list[int]:
    """The most memory, in bytes, that each process had; the program itself is counted for each."""
    found = []
    for pid in container.members():
        status = Path(f"/proc/{pid}/status").read_text()
        found.append(int(status.split("VmHWM:")[1].split()[0]) * 1024)
    return found


class TestErrors:
    CIRCLE = """
class HttpError extends Error {
  constructor(message) {
    super(message);
    this.name = 'HttpError';
    this.request = { socket: {} };
    this.request.socket._httpMessage = this.request;
  }
}
async function main() { throw new HttpError('Request failed with status code 404'); }
"""

    def rejected(self, container: ActionContainer, expression: str) -> Any:
        """What comes of a rejection with that value."""
        container.init("async function main(a) { throw eval(`(${a.it})`) }")  # refused from the second time on
        status, answer = container.run({"it": expression})
        assert (status, list(answer)) == (200, ["error"])
        return answer["error"]

    def test_one_with_a_circle(self, container: ActionContainer) -> None:
        assert container.init(self.CIRCLE)[0] == 200
        for _ in range(2):  # the container stays
            status, answer = container.run()
            error = answer["error"]
            assert status == 200
            assert (error["name"], error["message"]) == ("HttpError", "Request failed with status code 404")
            assert error["request"] == {"socket": {"_httpMessage": "[Circular]"}}
            assert "action.js" in error["stack"]

    def test_errors_within_errors(self, container: ActionContainer) -> None:
        error = self.rejected(
            container,
            "Object.assign(new Error('outer', { cause: new TypeError('inner') }),"
            " { list: [new Error('nested')], code: 'E1' })",
        )
        assert (error["message"], error["code"]) == ("outer", "E1")
        assert (error["cause"]["name"], error["cause"]["message"]) == ("TypeError", "inner")
        assert (error["list"][0]["name"], error["list"][0]["message"]) == ("Error", "nested")

    def test_several_at_once(self, container: ActionContainer) -> None:
        error = self.rejected(container, "new AggregateError([new Error('one'), new Error('two')], 'all of them')")
        assert [each["message"] for each in error["errors"]] == ["one", "two"]

    def test_whatever_is_thrown(self, container: ActionContainer) -> None:
        thrown = {
            "'text'": "text",
            "7": 7,
            "0": {},
            "undefined": {},
            "null": {},
            "{ done: true }": {"done": True},
            "[1, [2n]]": [1, ["2"]],
            "10n": "10",
            "Symbol('s')": "Symbol(s)",
            "function named() {}": "[Function: named]",
            "{ f() {}, b: Buffer.from('x') }": {"b": "[object Buffer]"},
            "{ s: process.stdin, d: new Date(0) }": {"s": "[object Stream]", "d": "1970-01-01T00:00:00.000Z"},
            "{ get x() { throw 1 }, y: 2 }": {"x": "[Unreadable]", "y": 2},
            "{ toJSON() { return { as: 'it says' } } }": {"as": "it says"},
            "{ toJSON() { throw 1 }, y: 2 }": {"y": 2},
            "{ toJSON() { return this }, y: 2 }": {"y": 2},
            "new Proxy({}, { ownKeys() { throw new Error('no') } })": "[Unreadable]",
            "JSON.parse('{\"__proto__\": 1}')": {"__proto__": 1},
        }
        assert {each: self.rejected(container, each) for each in thrown} == thrown

    def test_what_would_have_no_end(self, container: ActionContainer) -> None:
        for expression in (
            "[...Array(40)].reduce((each) => ({ left: each, right: each }), {})",  # 2 to the 40th, when written out
            "[...Array(100000)].reduce((next) => ({ next }), {})",
            "{ toJSON() { return { more: { toJSON: this.toJSON } } } }",
        ):
            assert "[Truncated]" in json.dumps(self.rejected(container, expression))

    def test_what_is_thrown_at_once_is_the_developers_error(self, container: ActionContainer) -> None:
        unwritten = "an error that cannot be written as text"
        thrown = {
            "new Error('at once')": "Error: at once",
            "'nooooo'": "nooooo",
            "undefined": "undefined",
            "Symbol('s')": "Symbol(s)",
            "Object.create(null)": unwritten,
            "{ toString() { throw undefined } }": unwritten,
        }
        container.init("function main(a) { throw eval(`(${a.it})`) }")
        for expression, said in thrown.items():
            assert container.run({"it": expression}) == (502, {"error": f"An error has occurred: {said}"})
        assert "Error: at once" in container.stderr()
        assert container.stderr().splitlines()[-1] == SENTINEL


class TestResults:
    RETURN = "const main = (a) => eval(`(${a.it})`)"

    def test_what_is_neither_an_object_nor_an_array(self, container: ActionContainer) -> None:
        container.init(self.RETURN)
        symbol, text = "Symbol('x')", "new String('s')"
        for it in ("null", "7", "true", "'s'", "() => 1", symbol, "1n", "new Date()", "{ toJSON() {} }", text):
            assert container.run({"it": it}) == (502, {"error": "The action did not return a dictionary or array."}), it
        assert container.run({"it": "[1, { two: 2 }]"}) == (200, [1, {"two": 2}])

    def test_what_json_cannot_say(self, container: ActionContainer) -> None:
        container.init(self.RETURN)
        for it in (
            "{ x: 1n }",
            "(() => { const o = {}; o.o = o; return o })()",
            "{ toJSON() { throw new Error('never') } }",
            "{ toJSON() { throw undefined } }",
            "{ x: { get y() { throw null } } }",
        ):
            status, answer = container.run({"it": it})
            assert status == 502
            assert answer["error"].startswith("The action's result cannot be written as JSON: ")
        assert container.run({"it": "{ good: 1 }"}) == (200, {"good": 1})

    def test_lone_surrogates_go_through(self, container: ActionContainer) -> None:
        container.init("const main = (a) => ({ a, own: '\\udfff', length: a.text.length })")
        body = b'{"value": {"text": "a\\ud800", "\\udc00": ["\\ud83d\\ude00"]}}'
        expected = {"a": {"text": "a\ud800", "\udc00": ["\U0001f600"]}, "own": "\udfff", "length": 2}
        assert container.post("/run", body) == (200, expected)

    def test_lone_surrogates_in_the_log_and_the_environment(self, container: ActionContainer) -> None:
        body = {
            "value": {
                "main": "main",
                "code": "const main = (a) => { console.log(a.t); return a }",
                "env": {"X": "\ud800"},
            }
        }
        assert container.post("/init", body)[0] == 200
        assert container.run({"t": "\ud800"}, action_name="\udfff") == (200, {"t": "\ud800"})
        assert container.stdout() == f"\ufffd\n{SENTINEL}\n"


class TestEndsOfTheCode:
    def test_an_exception_between_runs_ends_the_container(self, container: ActionContainer) -> None:
        """So that the next run gets another one, and is not charged for it."""
        container.init("function main() { setTimeout(() => { throw new Error('late') }, 100); return { n: 1 } }")
        assert container.run() == (200, {"n": 1})
        assert container.process.wait(10) == 1
        assert "Error: late" in container.stderr()
        assert container.stdout() == SENTINEL + "\n"

    @pytest.mark.parametrize(
        ("ending", "status"),
        [
            ("process.exit(3)", 3),
            ("process.exit(0)", 1),
            ("Promise.reject(new Error('nobody waits'))", 1),
            ("process.kill(process.pid, 'SIGKILL')", 137),
        ],
    )
    def test_any_other_end_between_runs_does_too(self, ending: str, status: int, container: ActionContainer) -> None:
        container.init(f"function main() {{ setTimeout(() => {{ {ending} }}, 100); return {{}} }}")
        assert container.run()[0] == 200
        assert container.process.wait(10) == status

    def test_a_run_that_it_has_not_seen_is_not_taken(self, container: ActionContainer) -> None:
        """It comes while the code, busy with something else, is about to end."""
        code = (
            "const fs = require('fs')\nfunction main({ file }) {\n  setTimeout(() => {\n"
            "    fs.writeFileSync(file + '-busy', '')\n    while (!fs.existsSync(file));\n"
            "    throw new Error('late')\n  }, 0)\n"
            "  return {} }"
        )
        file = container.folder / "go"
        container.init(code)
        assert container.run({"file": str(file)})[0] == 200
        eventually((container.folder / "go-busy").exists)
        before = written_by(container)
        answers: list[Any] = []

        def ask() -> None:
            answers.append(container.run({"file": str(file)}))

        asking = threading.Thread(target=ask)
        asking.start()
        eventually(lambda: written_by(container) > before, what="the run is on its way to code that does not look")
        file.touch()
        asking.join(20)
        assert answers == [(503, {"error": "The container ended before it took this run."})]
        assert container.process.wait(10) == 1
        assert container.stdout().count(SENTINEL) == 1

    def test_an_exception_of_a_run_under_way_is_that_runs(self, container: ActionContainer) -> None:
        container.init(
            "const main = () => { setTimeout(() => { throw new Error('mine') }, 10); return new Promise(() => {}) }"
        )
        assert container.run() == (502, {"error": "The action exited unexpectedly: see its logs."})
        assert container.run()[0] == 403

    def test_an_answer_just_before_the_end_counts(self, container: ActionContainer) -> None:
        container.init("const main = () => { setImmediate(() => process.exit(5)); return { n: 'x'.repeat(100000) } }")
        status, answer = container.run()
        assert status == 502 or len(answer["n"]) == 100_000

    def test_code_that_closes_what_it_is_asked_by(self, container: ActionContainer) -> None:
        code = "require('fs').closeSync(3); setInterval(() => {}, 1e6); return new Promise(() => {})"
        container.init(f"function main() {{ {code} }}")
        assert container.run()[0] == 502

    def test_children_that_live_on_do_not_hold_up_the_answer(self, container: ActionContainer) -> None:
        code = (
            "const { spawn } = require('child_process')\nfunction main() {\n"
            "  spawn('sleep', ['60'], { stdio: ['ignore', 'inherit', 'inherit', 3], detached: false }).unref()\n"
            "  process.exit(2)\n}"
        )
        container.init(code)
        status, answer = container.post("/run", {"value": {}}, timeout=10)
        assert status == 502
        assert "exited" in answer["error"]
        for pid in container.members():
            if "sleep" in Path(f"/proc/{pid}/comm").read_text():
                os.kill(pid, signal.SIGKILL)

    def test_user_code_has_no_channel_of_nodes_own(self, container: ActionContainer) -> None:
        container.init("const main = () => ({ send: typeof process.send, fd: process.env.NODE_CHANNEL_FD || null })")
        assert container.run() == (200, {"send": "undefined", "fd": None})


def written_by(container: ActionContainer) -> int:
    """Bytes that the proxy has written in all, to whomever."""
    return int(Path(f"/proc/{container.process.pid}/io").read_text().split("wchar: ")[1].split()[0])


class TestRefusals:
    def test_they_have_their_line_in_the_log(self, container: ActionContainer) -> None:
        container.run()
        container.init("const main = () => ({})")
        container.init("const main = () => ({})")
        said = ["System not initialized.", "Cannot initialize the action more than once."]
        assert container.stderr().splitlines() == [f"Internal system error: {each}" for each in said]

    def test_bodies_that_break_off_leave_nothing(self, container: ActionContainer) -> None:
        for path in ("/init", "/run", "/init"):
            connection = http.client.HTTPConnection("127.0.0.1", container.port, timeout=10)
            connection.putrequest("POST", path)
            connection.putheader("Content-Length", "120000000")
            connection.endheaders()
            connection.send(bytes(300_000))
            connection.close()
        assert container.init("const main = () => ({})")[0] == 200
        assert container.run() == (200, {})

    def test_a_body_in_chunks(self, container: ActionContainer) -> None:
        body = json.dumps({"value": {"main": "main", "code": "const main = (a) => a //" + "x" * 1_000_000}}).encode()
        connection = http.client.HTTPConnection("127.0.0.1", container.port, timeout=10)
        parts = (body[at : at + 100_000] for at in range(0, len(body), 100_000))
        connection.request("POST", "/init", parts, encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
        assert connection.getresponse().status == 200
        connection.close()
        assert container.run({"n": 1}) == (200, {"n": 1})
