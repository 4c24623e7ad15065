"""What importing pymesos does to a process, and what one reads where it is not there. Each in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.mesos.pymesos.conftest import PYMESOS_MISSING


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_sigint_and_the_log_are_left_as_they_were() -> None:
    pytest.importorskip("pymesos", reason=PYMESOS_MISSING)
    assert (
        run(
            "import logging, signal\n"
            "import owmesos.mesos.pymesos.driver\n"
            "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
            "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
            "assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN\n"
            "print(logging.getLogger('pymesos').handlers, logging.getLogger('pymesos').level)"
        )
        == "[] 50"
    )


def test_it_can_be_imported_off_the_main_thread() -> None:
    pytest.importorskip("pymesos", reason=PYMESOS_MISSING)
    assert (
        run(
            "import threading\n"
            "def work():\n"
            "    import owmesos.mesos.pymesos.driver\n"
            "    print('done')\n"
            "thread = threading.Thread(target=work)\n"
            "thread.start(); thread.join()"
        )
        == "done"
    )


def test_a_program_that_has_imported_it_keeps_what_it_has() -> None:
    pytest.importorskip("pymesos", reason=PYMESOS_MISSING)
    assert (
        run(
            "import logging, signal, pymesos\n"
            "before = signal.getsignal(signal.SIGINT)\n"
            "import owmesos.mesos.pymesos.driver\n"
            "assert signal.getsignal(signal.SIGINT) is before\n"
            "print(len(logging.getLogger('pymesos').handlers))"
        )
        == "1"
    )


@pytest.mark.parametrize("missing", ["pymesos", "http_parser", "addict"])
def test_where_it_is_missing_the_error_says_how_to_install_it(missing: str) -> None:
    said = run(
        f"import sys\nsys.modules[{missing!r}] = None\n"
        "from owmesos.errors import OwmesosError\n"
        "try:\n    import owmesos.mesos.pymesos.driver\n"
        "except OwmesosError as error:\n    print(error)"
    )
    advice = (
        "pip install 'owmesos[pymesos]'" if sys.version_info < (3, 11) else "pip install ./compat/http-parser pymesos"
    )
    assert said.startswith("the driver pymesos is not installed (")
    assert advice in said
    assert "\n" not in said
