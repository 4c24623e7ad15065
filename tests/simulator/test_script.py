"""Scripts, and the pytest plugin."""

from __future__ import annotations

import pytest

from owmesos.mesos.messages import Heartbeat
from owmesos.simulator import Do, Expect, Script, ScriptFailed, Send, Silence, SimulatedCluster
from tests.local.plain_scheduler import PlainScheduler


def test_what_is_sent_and_expected_comes(cluster: SimulatedCluster) -> None:
    script = Script(cluster)
    with PlainScheduler(cluster.master) as scheduler:
        script.play(Expect("SUBSCRIBE", lambda call: call.framework_info.name == "plain"))
        scheduler.launch("t1", {"value": "exec sleep 600"})
        script.play(
            Expect("ACCEPT", lambda call: call.operations[0].launch.task_infos[0].task_id.value == "t1"),
            Do(lambda world: world.rescind()),
            Send(Heartbeat()),
            Silence("DECLINE", seconds=0.1),
        )
        assert scheduler.states("TASK_RUNNING") == ["TASK_STARTING", "TASK_RUNNING"]
        acknowledged = [script.expect("ACKNOWLEDGE").task_id.value for _ in range(2)]
        assert acknowledged == ["t1", "t1"]
        scheduler.call({"type": "TEARDOWN"})


def test_what_does_not_come_fails(cluster: SimulatedCluster) -> None:
    script = Script(cluster)
    with PlainScheduler(cluster.master) as scheduler:
        with pytest.raises(
            ScriptFailed, match=r"step 2: ACCEPT did not come within 0.05 s; the last calls were SUBSCRIBE"
        ):
            script.play(Expect("SUBSCRIBE"), Expect("ACCEPT", within=0.05))
        scheduler.call({"type": "REVIVE"})
        with pytest.raises(ScriptFailed, match="step 1: unexpected REVIVE"):
            script.play(Silence("REVIVE", seconds=5.0))
        scheduler.call({"type": "SUPPRESS", "suppress": {"roles": ["a"]}})
        with pytest.raises(ScriptFailed, match="unexpected content of SUPPRESS"):
            script.play(Expect("SUPPRESS", lambda call: call.roles == ["b"]))
        scheduler.call({"type": "TEARDOWN"})


def test_the_example_passes(pytester: pytest.Pytester, request: pytest.FixtureRequest) -> None:
    """With the plugin alone, as a user has it, and without what owmesos's own tests need."""
    example = request.config.rootpath / "examples" / "test_plain_http.py"
    ran = pytester.runpytest_subprocess("-p", "owmesos.testing.pytest_plugin", "--strict-markers", str(example))
    ran.assert_outcomes(passed=3)
    ran.stdout.fnmatch_lines(["rootdir: */examples", "configfile: pytest.ini"])


def test_the_plugin_imports_nothing_that_is_not_asked_for(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_nothing_came_with_it():
            assert "owmesos.simulator.cluster" not in sys.modules
            assert "aiohttp" not in sys.modules
        """
    )
    pytester.runpytest_subprocess("-p", "owmesos.testing.pytest_plugin").assert_outcomes(passed=1)
