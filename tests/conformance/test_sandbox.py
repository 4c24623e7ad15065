"""What a task has written, as its agent serves it."""

from __future__ import annotations

from owmesos.mesos.messages import ID, Offer, TaskInfo
from tests.conformance.framework import Framework
from tests.conformance.sandbox import read, stdout_path


async def _ended(framework: Framework, offer: Offer, command: str) -> TaskInfo:
    task = await framework.run(offer, command=command)
    await framework.update(task, "TASK_FINISHED")
    return task


async def test_the_output_can_be_read_after_the_task_has_ended(framework: Framework) -> None:
    offer = await framework.only()
    task = await _ended(framework, offer, "echo first; echo second; echo wrong >&2")
    status, document = await read(offer, stdout_path(framework.id, task), offset=0)
    assert status == 200
    assert [line for line in document["data"].splitlines() if line in ("first", "second")] == ["first", "second"]
    stderr = stdout_path(framework.id, task).replace("stdout", "stderr")
    assert "wrong" in (await read(offer, stderr, offset=0))[1]["data"].splitlines()


async def test_a_part_of_the_output_can_be_read_and_its_size_be_asked_for(framework: Framework) -> None:
    offer = await framework.only()
    path = stdout_path(framework.id, await _ended(framework, offer, "echo 0123456789"))
    whole = (await read(offer, path, offset=0))[1]["data"]
    place = whole.index("0123456789")  # the executor may write there, too
    assert await read(offer, path, offset=place + 2, length=4) == (200, {"data": "2345", "offset": place + 2})
    size = (await read(offer, path, offset=-1))[1]["offset"]
    assert size >= len(whole)
    assert (await read(offer, path, offset=size + 1000))[1]["data"] == ""


async def test_there_is_no_output_of_a_task_that_never_was(framework: Framework) -> None:
    offer = await framework.only()
    nonesuch = framework.task(offer)
    assert (await read(offer, stdout_path(framework.id, nonesuch), offset=0))[0] == 404
    assert (await read(offer, stdout_path(ID("nonesuch"), nonesuch), offset=0))[0] == 404
