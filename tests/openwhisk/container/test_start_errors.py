"""Whose error it is that a container did not start, in OpenWhisk's words."""

from __future__ import annotations

import pytest

from owmesos.openwhisk.activation import DEVELOPER_ERROR, WHISK_ERROR
from owmesos.openwhisk.container.protocol import start_error

PULL = (
    "Failed to launch container: Failed to run 'docker -H unix:///var/run/docker.sock pull joe/nosuch:1':"
    " exited with status 1; stderr='Error response from daemon: pull access denied for joe/nosuch'"
)


@pytest.mark.parametrize("at_fault", [False, True])
@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (PULL, "Failed to pull container image 'joe/nosuch:1'."),
        ("Container exited with status 127", "executable file not found in image joe/nosuch:1"),
    ],
)
def test_a_users_image_that_cannot_start_is_the_developers_error(said: str, answer: str, at_fault: bool) -> None:
    response = start_error("joe/nosuch:1", "its container did not start", said, at_fault=at_fault)
    assert (response.status_code, response.result) == (DEVELOPER_ERROR, {"error": answer})
    assert not response.system_error


def test_what_fails_everywhere_is_the_images_fault_whatever_is_said() -> None:
    response = start_error("joe/own:1", "did not start", "Container exited with status 125", at_fault=True)
    assert response.status_code == DEVELOPER_ERROR
    assert response.result == {"error": "Failed to run container with image 'joe/own:1'."}


def test_what_may_be_the_clusters_fault_is_ours() -> None:
    response = start_error("joe/own:1", "did not start 3 times", "Container exited with status 125", at_fault=False)
    assert (response.status_code, response.result) == (WHISK_ERROR, {"error": "did not start 3 times"})


def test_an_image_of_the_manifest_is_ours() -> None:
    assert start_error(None, "did not start", PULL, at_fault=True).status_code == WHISK_ERROR


def test_users_are_not_told_how_agents_call_docker() -> None:
    response = start_error(None, f"its container did not start 3 times, last error: {PULL}", PULL, at_fault=True)
    assert response.result["error"] == (
        "its container did not start 3 times, last error: Failed to launch container: Failed to run"
        " 'docker pull joe/nosuch:1': exited with status 1;"
        " stderr='Error response from daemon: pull access denied for joe/nosuch'"
    )


def test_a_run_that_found_no_room_is_ours() -> None:
    assert start_error("joe/own:1", "no container within 170 s", None, at_fault=False).status_code == WHISK_ERROR
