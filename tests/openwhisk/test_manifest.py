"""The runtimes manifest in OpenWhisk's own format."""

from __future__ import annotations

import json
from typing import Any

import pytest

from owmesos.core.pool.containers import ContainerShape
from owmesos.core.pool.prewarm import PrewarmSetting, Reactive
from owmesos.errors import InvalidInput
from owmesos.openwhisk.manifest import ImageName, Manifest, parse, parse_duration

REACTIVE = {"minCount": 1, "maxCount": 4, "ttl": "2 minutes", "threshold": 2, "increment": 1}
OPENWHISKS = {
    "description": "read by nobody",
    "defaultImagePrefix": "openwhisk",
    "runtimes": {
        "nodejs": [
            {
                "kind": "nodejs:20",
                "default": True,
                "image": {"prefix": "openwhisk", "name": "action-nodejs-v20", "tag": "nightly"},
                "deprecated": False,
                "attached": {"attachmentName": "codefile", "attachmentType": "text/plain"},
                "stemCells": [
                    {"initialCount": 2, "memory": "256 MB", "reactive": REACTIVE},
                    {"count": 1, "memory": "512 m"},
                ],
            },
            {
                "kind": "nodejs:10",
                "image": {"prefix": "openwhisk", "name": "action-nodejs-v10"},
                "deprecated": True,
                "stemCells": [{"count": 9, "memory": "128 MB"}],
            },
        ],
        "sequence": [],
        "python": [{"kind": "python:3", "image": {"name": "python", "registry": "reg:5000"}, "requireMain": False}],
        "swift": [{"kind": "swift:5.7", "image": {"name": "s"}, "sentinelledLogs": False, "attached": True}],
    },
    "blackboxes": [{"prefix": "openwhisk", "name": "dockerskeleton", "tag": "nightly"}, {"name": "bare"}],
}


def manifest(**changes: Any) -> Manifest:
    return parse(json.dumps({**OPENWHISKS, **changes}))


def one(**changes: Any) -> Manifest:
    return parse(json.dumps({"runtimes": {"python": [{"kind": "python:3", "image": {"name": "p"}, **changes}]}}))


def test_kinds_images_and_flags_are_read() -> None:
    found = manifest()
    assert found.kinds == ["nodejs:20", "nodejs:10", "python:3", "swift:5.7"]
    assert str(found.runtime("nodejs:20").image) == "openwhisk/action-nodejs-v20:nightly"
    assert str(found.runtime("python:3").image) == "reg:5000/python"
    assert found.runtime("nodejs:20").sentinelled_logs
    assert not found.runtime("swift:5.7").sentinelled_logs


def test_the_default_of_a_family_is_found_by_its_name() -> None:
    assert manifest().runtime("nodejs:default").kind == "nodejs:20"
    assert manifest().runtime("python:default").kind == "python:3"


def test_an_image_without_a_registry_comes_from_the_clusters() -> None:
    image = ImageName("action", prefix="openwhisk", tag="1")
    assert image.within("registry.example/") == "registry.example/openwhisk/action:1"
    assert ImageName("action", registry="own").within("registry.example") == "own/action"


def test_stem_cells_become_the_pools_settings() -> None:
    assert manifest().prewarm() == (
        PrewarmSetting(ContainerShape("nodejs:20", 256), 2, Reactive(1, 4, 120.0, 2, 1)),
        PrewarmSetting(ContainerShape("nodejs:20", 512), 1),
    )


def test_a_deprecated_kind_is_known_but_not_run() -> None:
    assert manifest().runtime("nodejs:10").deprecated
    with pytest.raises(InvalidInput, match="'nodejs:10' runtime is no longer supported"):
        manifest().runnable("nodejs:10")


def test_an_unknown_kind_is_told_with_those_that_are_known() -> None:
    with pytest.raises(InvalidInput, match=r"unknown kind 'cobol:60'; the manifest has nodejs:20, .*swift:5\.7"):
        manifest().runtime("cobol:60")
    with pytest.raises(InvalidInput, match="'sequence:default'"):
        manifest().runtime("sequence:default")


def test_blackboxes_are_known_by_their_names() -> None:
    found = manifest()
    assert found.is_blackbox_known("openwhisk/dockerskeleton:nightly")
    assert found.is_blackbox_known("bare:latest")
    assert found.is_blackbox_known("bare")
    assert not found.is_blackbox_known("bare:old")
    assert not found.is_blackbox_known("somebody/else")


def test_a_blackbox_without_a_tag_is_one_that_is_listed_as_the_latest() -> None:
    found = manifest(blackboxes=[{"registry": "reg:5000", "name": "bare", "tag": "latest"}])
    assert found.is_blackbox_known("reg:5000/bare")
    assert not found.is_blackbox_known("bare")


@pytest.mark.parametrize(
    ("image", "known"),
    [
        ("whisk/own:1", True),
        ("reg:5000/whisk/own:1", True),
        ("other/own:1", False),
        ("own", False),
        ("a/whisk/x", False),
    ],
)
def test_images_with_the_local_prefix_are_known(image: str, known: bool) -> None:
    found = manifest(blackboxes=[]).with_defaults(prefix=None, tag=None, local_prefix="whisk")
    assert found.is_blackbox_known(image) is known


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2 minutes", 120),
        ("1 day", 86400),
        ("500ms", 0.5),
        ("10 s", 10),
        ("3 Hours", 10800),
        ("2.5 minutes", 150),
        (".5 h", 1800),
        ("1 hr", 3600),
        ("1e3 millis", 1),
        ("250 micros", 0.00025),
    ],
)
def test_times_are_those_of_scala(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "soon", "-1 s", "1 fortnight", "Inf", "1..5 s", "e3 s", "1e999 s"])
def test_what_is_not_a_time_is_told(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize("kind", ["go-proxy:1.20", "ruby", "nodejs:20:next", "Python:3", "my kind"])
def test_any_name_may_be_a_kind(kind: str) -> None:
    found = parse(json.dumps({"runtimes": {"some": [{"kind": kind, "image": {"name": "p"}}]}}))
    assert found.runtime(kind.upper()).kind == kind
    assert found.kinds == [kind]


def test_a_kind_is_found_without_its_capitals_and_blanks() -> None:
    assert manifest().runtime(" NodeJS:20 ").kind == "nodejs:20"
    assert manifest().runtime("NODEJS:Default").kind == "nodejs:20"


def test_a_field_that_is_null_is_one_that_is_missing() -> None:
    nothing = dict.fromkeys(("default", "deprecated", "attached", "requireMain", "sentinelledLogs", "stemCells"))
    found = one(**nothing).runtime("python:3")
    assert found.sentinelled_logs
    assert not found.deprecated


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read: Expected `object`"),
        (b"\xff", "cannot be read"),
        ('{"runtimes": {"python": {}}}', "python|runtimes"),
        ('{"runtimes": {"python": [{"image": {"name": "p"}}]}}', "missing required field `kind`"),
    ],
)
def test_what_is_no_manifest_is_told_in_one_line(text: str | bytes, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as caught:
        parse(text)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": " "}, "is not a kind"),
        ({"kind": "python\n3"}, "is not a kind"),
        ({"kind": "x" * 5000}, "is not a kind"),
        ({"kind": "blackbox"}, "is not a kind"),
        ({"kind": "Sequence"}, "is not a kind"),
        ({"image": None}, "either an image or a command"),
        ({"command": "run"}, "either an image or a command"),
        ({"uris": ["https://files.example/a.tgz"]}, "which are for commands"),
        ({"image": {"name": ""}}, "needs a name"),
        ({"stemCells": [{"memory": "256 MB"}]}, "stemCells of python:3: initialCount"),
        ({"stemCells": [{"initialCount": -1, "memory": "256 MB"}]}, "initialCount"),
        ({"stemCells": [{"initialCount": 1, "memory": "256 XB"}]}, "stemCells of python:3: '256 XB' is not a size"),
        ({"stemCells": [{"initialCount": 1, "memory": "10 B"}]}, "1 MB or more"),
        ({"stemCells": [{"initialCount": 1, "memory": "1 G", "reactive": {**REACTIVE, "ttl": "soon"}}]}, "'soon'"),
        ({"stemCells": [{"initialCount": 1, "memory": "1 G", "reactive": {**REACTIVE, "minCount": 9}}]}, "minCount"),
    ],
)
def test_an_error_in_a_runtime_is_told_with_its_place(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as caught:
        one(**changes)
    assert len(str(caught.value).splitlines()) == 1


def test_a_family_of_several_needs_exactly_one_default() -> None:
    pair = [{"kind": f"python:{version}", "image": {"name": "p"}} for version in (2, 3)]
    with pytest.raises(InvalidInput, match="family python has several kinds and no default"):
        parse(json.dumps({"runtimes": {"python": pair}}))
    with pytest.raises(InvalidInput, match="several defaults"):
        parse(json.dumps({"runtimes": {"python": [{**each, "default": True} for each in pair]}}))


def test_a_kind_must_not_come_twice() -> None:
    twice = {"kind": "python:3", "image": {"name": "p"}}
    with pytest.raises(InvalidInput, match="kind python:3 is defined twice"):
        parse(json.dumps({"runtimes": {"python": [twice], "snake": [twice]}}))
