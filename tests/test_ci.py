"""With CI=true a test that did not run is a failure; elsewhere it is a skip with its reason."""

from __future__ import annotations

import pytest

PLUGIN = """
    from tests.fixtures.ci import pytest_make_collect_report, pytest_runtest_makereport
"""
TESTS = """
    import pytest

    @pytest.mark.skip(reason="no compiler")
    def test_marked(): ...

    def test_calls():
        pytest.skip("no server")

    @pytest.mark.xfail(reason="known", strict=True)
    def test_known():
        raise AssertionError

    def test_runs(): ...
"""
WHOLE_MODULE = """
    import pytest

    pytest.skip("not this platform", allow_module_level=True)
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config) -> pytest.Pytester:
    """A suite of its own whose conftest has the plugin of this one."""
    monkeypatch.setenv("PYTHONPATH", str(pytestconfig.rootpath))
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    pytester.makeconftest(PLUGIN)
    pytester.makepyfile(test_some=TESTS)
    return pytester


def test_in_ci_a_skip_fails_and_says_why(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    result = suite.runpytest_subprocess()
    result.assert_outcomes(passed=1, failed=1, errors=1, xfailed=1)
    result.stdout.fnmatch_lines_random(["*a skip is a failure when CI=true: *no compiler", "*no server"])


def test_in_ci_a_skipped_module_fails(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    suite.makepyfile(test_module=WHOLE_MODULE)
    result = suite.runpytest_subprocess("test_module.py")
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*not this platform*"])


def test_elsewhere_a_skip_is_a_skip(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    suite.makepyfile(test_module=WHOLE_MODULE)
    result = suite.runpytest_subprocess()
    result.assert_outcomes(passed=1, skipped=3, xfailed=1)
    assert result.ret == 0
