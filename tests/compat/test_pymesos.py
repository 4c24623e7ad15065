"""pymesos's names on our wire: the same callbacks and calls, and none of what pymesos does to a framework."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from owmesos.compat.pymesos import (
    DriverError,
    MesosSchedulerDriver,
    Scheduler,
    SchedulerDriver,
    Tls,
    decode_data,
    encode_data,
)
from owmesos.compat.pymesos.driver import SubscriptionEnded
from owmesos.errors import InvalidInput
from owmesos.mesos.wire.driver import CallRefused, NotSubscribed
from tests.fakes.master import FRAMEWORK_ID, FakeMaster, hang, plain, raw, record, silent, subscribed
from tests.waiting import eventually_async

OFFER = {
    "id": {"value": "O"},
    "framework_id": {"value": FRAMEWORK_ID},
    "agent_id": {"value": "S"},
    "hostname": "h",
    "resources": [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 1.0}}],
    "new_in_mesos_9": [1],
}
STATUS = {
    "task_id": {"value": "t"}, "agent_id": {"value": "S"}, "state": "TASK_RUNNING", "uuid": "dXVpZA==", "mood": "good",
}  # fmt: skip
NAMES = [name for name in vars(Scheduler) if not name.startswith("_")]


class Noting(Scheduler):
    """Notes every callback, and then does what a test wants of it."""

    def __init__(self) -> None:
        self.told: list[tuple[str, tuple[Any, ...]]] = []
        self.then: dict[str, Callable[..., None]] = {}

    def names(self) -> list[str]:
        return [name for name, _ in self.told if name != "processHeartBeat"]

    def of(self, name: str) -> list[tuple[Any, ...]]:
        return [arguments for each, arguments in self.told if each == name]


def _noting(name: str) -> Callable[..., None]:
    def callback(self: Noting, driver: MesosSchedulerDriver, *arguments: Any) -> None:
        self.told.append((name, arguments))
        if name in self.then:
            self.then[name](driver, *arguments)

    return callback


for _name in NAMES:
    setattr(Noting, _name, _noting(_name))

Make = Callable[..., tuple[MesosSchedulerDriver, Noting]]


@pytest.fixture
async def master() -> AsyncIterator[FakeMaster]:
    fake = await FakeMaster().start()
    yield fake
    await fake.stop()


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """A driver that is started; all are aborted in the end."""
    made: list[MesosSchedulerDriver] = []

    def start(master: str, **options: Any) -> tuple[MesosSchedulerDriver, Noting]:
        noting = Noting()
        framework = options.pop("framework", {"user": "u", "name": "n"})
        driver = MesosSchedulerDriver(noting, framework, master, **options)
        driver.start()
        made.append(driver)
        return driver, noting

    yield start
    for driver in made:
        await asyncio.to_thread(driver.abort)
        await asyncio.to_thread(_joined, driver)


def _joined(driver: MesosSchedulerDriver) -> BaseException | None:
    try:
        driver.join()
    except BaseException as error:  # noqa: BLE001  (a test looks at it)
        return error
    return None


def broken(*_: Any) -> None:
    raise ValueError("a fault of the framework's")


async def told(noting: Noting, name: str, count: int = 1) -> list[tuple[Any, ...]]:
    await eventually_async(lambda: len(noting.of(name)) >= count, what=f"{count} {name}")
    return noting.of(name)


class TestCallbacks:
    async def test_each_event_is_its_callback_with_what_came(self, master: FakeMaster, make: Make) -> None:
        _, noting = make(master.address)
        await told(noting, "registered")
        ids = {"agent_id": {"value": "S"}, "executor_id": {"value": "e"}}
        operation = {"operation_id": {"value": "op"}, "state": "OPERATION_FINISHED", "uuid": {"value": "dXVpZA=="}}
        await master.send(
            {"type": "HEARTBEAT"},
            {"type": "OFFERS", "offers": {"offers": [OFFER]}},
            {"type": "RESCIND", "rescind": {"offer_id": {"value": "O"}}},
            {"type": "INVERSE_OFFERS", "inverse_offers": {"inverse_offers": [_inverse("I")]}},
            {"type": "RESCIND_INVERSE_OFFER", "rescind_inverse_offer": {"inverse_offer_id": {"value": "I"}}},
            {"type": "UPDATE", "update": {"status": STATUS}},
            {"type": "UPDATE_OPERATION_STATUS", "update_operation_status": {"status": operation}},
            {"type": "MESSAGE", "message": {**ids, "data": encode_data(b"\x00hello")}},
            {"type": "FAILURE", "failure": {"agent_id": {"value": "S"}}},
            {"type": "FAILURE", "failure": {**ids, "status": 9}},
            {"type": "FAILURE", "failure": ids},
        )
        await told(noting, "executorLost", 2)
        host, port = master.address.split(":")
        assert [each for each in noting.told if each[0] != "processHeartBeat"] == [
            ("registered", ({"value": FRAMEWORK_ID}, {"hostname": host, "port": int(port)})),
            ("resourceOffers", ([OFFER],)),
            ("offerRescinded", ({"value": "O"},)),
            ("inverseOffers", ([_inverse("I")],)),
            ("inverseOfferRescinded", ({"value": "I"},)),
            ("statusUpdate", (STATUS,)),
            ("operationStatusUpdate", (operation,)),
            ("frameworkMessage", ({"value": "e"}, {"value": "S"}, encode_data(b"\x00hello"))),
            ("slaveLost", ({"value": "S"},)),
            ("executorLost", ({"value": "e"}, {"value": "S"}, 9)),
            ("executorLost", ({"value": "e"}, {"value": "S"}, None)),
        ]
        assert len(noting.of("processHeartBeat")) == 1

    async def test_with_addict_everything_is_addicts(self, master: FakeMaster, make: Make) -> None:
        _, noting = make(master.address, use_addict=True)
        await told(noting, "registered")
        await master.send({"type": "OFFERS", "offers": {"offers": [OFFER]}})
        ((offer,),) = (await told(noting, "resourceOffers"))[0]
        assert (offer.resources[0].scalar.value, offer.agent_id.value) == (1.0, "S")

    async def test_a_known_framework_is_reregistered_and_a_loss_is_told_once(
        self, master: FakeMaster, make: Make
    ) -> None:
        framework = {"user": "u", "name": "n", "id": {"value": FRAMEWORK_ID}}
        _, noting = make(master.address, framework=framework)
        await told(noting, "reregistered")
        master.on_subscribe = plain(503)
        master.end_stream()
        await told(noting, "disconnected")
        await eventually_async(lambda: len(master.subscribes) >= 3)
        master.on_subscribe = subscribed
        await told(noting, "reregistered", 2)
        assert noting.names() == ["reregistered", "disconnected", "reregistered"]

    async def test_one_that_raises_is_logged_and_ends_nothing(
        self, master: FakeMaster, make: Make, caplog: pytest.LogCaptureFixture
    ) -> None:
        driver, noting = make(master.address)
        noting.then["resourceOffers"] = broken
        await told(noting, "registered")
        await master.send({"type": "OFFERS", "offers": {"offers": [OFFER]}}, {"type": "HEARTBEAT"})
        await told(noting, "processHeartBeat")
        assert driver.connected
        assert master.calls == []
        assert "the callback resourceOffers raised; the framework goes on" in caplog.messages

    async def test_one_that_exits_ends_the_driver_but_no_task(self, master: FakeMaster, make: Make) -> None:
        driver, noting = make(master.address)
        noting.then["processHeartBeat"] = lambda *_: exit(3)
        await told(noting, "registered")
        await master.send({"type": "HEARTBEAT"})
        assert isinstance(await asyncio.to_thread(_joined, driver), SystemExit)
        assert master.calls == []

    async def test_one_that_sleeps_holds_up_neither_the_watchdog_nor_other_threads(
        self, master: FakeMaster, make: Make
    ) -> None:
        master.heartbeat = 0.1
        go_on = threading.Event()
        driver, noting = make(master.address)
        noting.then["registered"] = lambda *_: go_on.wait(20) and None
        await told(noting, "registered")
        await asyncio.to_thread(driver.reviveOffers)
        await eventually_async(lambda: len(master.subscribes) == 2, what="the silent master is given up")
        go_on.set()
        await told(noting, "reregistered")

    async def test_offers_that_are_void_by_then_are_not_shown(self, master: FakeMaster, make: Make) -> None:
        go_on = threading.Event()
        _, noting = make(master.address)
        noting.then["registered"] = lambda *_: go_on.wait(20) and None
        await told(noting, "registered")
        await master.send(
            {"type": "OFFERS", "offers": {"offers": [OFFER]}}, {"type": "UPDATE", "update": {"status": STATUS}}
        )
        master.end_stream()
        await eventually_async(lambda: len(master.subscribes) == 2)
        go_on.set()
        await told(noting, "reregistered")
        assert noting.names() == ["registered", "statusUpdate", "disconnected", "reregistered"]


class TestAcknowledgements:
    async def test_an_update_is_acknowledged_when_its_callback_returns(self, master: FakeMaster, make: Make) -> None:
        _, noting = make(master.address)
        await told(noting, "registered")
        await master.send({"type": "UPDATE", "update": {"status": STATUS}})
        await eventually_async(lambda: bool(master.calls))
        assert master.calls[0]["acknowledge"] == {key: STATUS[key] for key in ("agent_id", "task_id", "uuid")}

    async def test_not_when_it_raises_for_then_it_comes_again(self, master: FakeMaster, make: Make) -> None:
        _, noting = make(master.address)
        noting.then["statusUpdate"] = broken
        await told(noting, "registered")
        await master.send({"type": "UPDATE", "update": {"status": STATUS}}, {"type": "HEARTBEAT"})
        await told(noting, "processHeartBeat")
        assert master.calls == []

    async def test_explicit_ones_are_the_frameworks_own(self, master: FakeMaster, make: Make) -> None:
        driver, noting = make(master.address, implicit_acknowledgements=False)
        await told(noting, "registered")
        await master.send({"type": "UPDATE", "update": {"status": STATUS}})
        await told(noting, "statusUpdate")
        assert master.calls == []
        await asyncio.to_thread(driver.acknowledgeStatusUpdate, STATUS)
        await asyncio.to_thread(driver.acknowledgeStatusUpdate, {"task_id": {"value": "t"}})
        assert [call["type"] for call in master.calls] == ["ACKNOWLEDGE"]


class TestCalls:
    async def test_each_goes_out_as_the_framework_wrote_it(self, master: FakeMaster, make: Make) -> None:
        addict = pytest.importorskip("addict")
        driver, noting = make(master.address)
        await told(noting, "registered")
        o, t, s, e = ({"value": value} for value in "otse")
        task = addict.Dict(name="t", task_id=t, agent_id=s, resources=[], unheard_of={"a": 1})
        filters = {"refuse_seconds": 5}

        def say() -> None:
            driver.launchTasks(o, [task], filters)
            driver.launchTasks([o, o], [])
            driver.acceptOffers([o], [{"type": "NEW", "new": {}}])
            driver.declineOffer(o, filters)
            driver.acceptInverseOffers(o)
            driver.declineInverseOffer([o])
            driver.reviveOffers()
            driver.suppressOffers(["r"])
            driver.killTask(t)
            driver.killTask(t, agent_id=s)
            driver.reconcileTasks([{"task_id": t, "agent_id": s, "state": "TASK_RUNNING"}])
            driver.reconcileTasks([])
            driver.reconcileOperations([{"operation_id": o, "agent_id": s}])
            driver.sendFrameworkMessage(e, s, encode_data(b"\xff"))
            driver.requestResources([{"agent_id": s}])
            driver.acknowledgeOperationStatusUpdate({"uuid": {"value": "x"}, "operation_id": o, "message": "done"})

        await asyncio.to_thread(say)
        assert all(call.pop("framework_id") == {"value": FRAMEWORK_ID} for call in master.calls)
        launch = {"type": "LAUNCH", "launch": {"task_infos": [dict(task)]}}
        assert master.calls == [
            {"type": "ACCEPT", "accept": {"offer_ids": [o], "operations": [launch], "filters": filters}},
            {"type": "DECLINE", "decline": {"offer_ids": [o, o]}},
            {"type": "ACCEPT", "accept": {"offer_ids": [o], "operations": [{"type": "NEW", "new": {}}]}},
            {"type": "DECLINE", "decline": {"offer_ids": [o], "filters": filters}},
            {"type": "ACCEPT_INVERSE_OFFERS", "accept_inverse_offers": {"inverse_offer_ids": [o]}},
            {"type": "DECLINE_INVERSE_OFFERS", "decline_inverse_offers": {"inverse_offer_ids": [o]}},
            {"type": "REVIVE", "revive": {}},
            {"type": "SUPPRESS", "suppress": {"roles": ["r"]}},
            {"type": "KILL", "kill": {"task_id": t}},
            {"type": "KILL", "kill": {"task_id": t, "agent_id": s}},
            {"type": "RECONCILE", "reconcile": {"tasks": [{"task_id": t, "agent_id": s}]}},
            {"type": "RECONCILE", "reconcile": {}},
            {
                "type": "RECONCILE_OPERATIONS",
                "reconcile_operations": {"operations": [{"operation_id": o, "agent_id": s}]},
            },
            {"type": "MESSAGE", "message": {"agent_id": s, "executor_id": e, "data": "/w=="}},
            {"type": "REQUEST", "request": {"requests": [{"agent_id": s}]}},
            {"type": "ACKNOWLEDGE_OPERATION_STATUS", "acknowledge_operation_status": {"uuid": "x", "operation_id": o}},
        ]

    async def test_from_a_callback(self, master: FakeMaster, make: Make) -> None:
        _, noting = make(master.address)
        noting.then["registered"] = lambda driver, *_: driver.reviveOffers()
        await eventually_async(lambda: [call["type"] for call in master.calls] == ["REVIVE"])

    async def test_before_the_start_and_while_disconnected_an_error_says_so(
        self, master: FakeMaster, make: Make
    ) -> None:
        with pytest.raises(DriverError, match="not running"):
            MesosSchedulerDriver(Noting(), {"user": "u", "name": "n"}, master.address).reviveOffers()
        master.on_subscribe = silent
        driver, _ = make(master.address)
        with pytest.raises(DriverError, match="was not sent") as caught:
            await asyncio.to_thread(driver.killTask, {"value": "t"})
        assert isinstance(caught.value, RuntimeError)
        assert isinstance(caught.value.__cause__, NotSubscribed)
        assert master.calls == []

    async def test_a_refusal_is_an_error(self, master: FakeMaster, make: Make) -> None:
        master.on_call = plain(400, "no such thing")
        driver, noting = make(master.address)
        await told(noting, "registered")
        with pytest.raises(DriverError, match="no such thing") as caught:
            await asyncio.to_thread(driver.reviveOffers)
        assert isinstance(caught.value.__cause__, CallRefused)

    async def test_what_is_no_json_is_an_error_of_the_caller(self, master: FakeMaster, make: Make) -> None:
        driver, noting = make(master.address)
        await told(noting, "registered")
        with pytest.raises(TypeError):
            await asyncio.to_thread(driver.killTask, {"value": object()})
        await asyncio.to_thread(driver.reviveOffers)


class TestLife:
    async def test_stop_tears_down_and_forgets_the_id(self, master: FakeMaster, make: Make) -> None:
        framework = {"user": "u", "name": "n"}
        driver, noting = make(master.address, framework=framework)
        await told(noting, "registered")
        assert framework["id"] == {"value": FRAMEWORK_ID}
        assert driver.framework_id == FRAMEWORK_ID
        await asyncio.to_thread(driver.stop)
        await asyncio.to_thread(driver.join)
        assert [call["type"] for call in master.calls] == ["TEARDOWN"]
        assert driver.aborted
        assert "id" not in framework

    @pytest.mark.parametrize("failover_at", ["making", "stop", "abort"])
    async def test_failover_is_never_overruled(self, master: FakeMaster, make: Make, failover_at: str) -> None:
        driver, noting = make(master.address, failover=failover_at == "making")
        await told(noting, "registered")
        if failover_at == "abort":
            await asyncio.to_thread(driver.abort)
        else:
            await asyncio.to_thread(driver.stop, failover_at == "stop")
        await asyncio.to_thread(driver.join)
        await eventually_async(lambda: master.open_streams == 0)
        assert master.calls == []
        assert driver.framework_id == FRAMEWORK_ID

    async def test_stop_in_a_callback(self, master: FakeMaster, make: Make) -> None:
        driver, noting = make(master.address)
        noting.then["registered"] = lambda driver, *_: (driver.stop(), driver.join())[0]
        await asyncio.to_thread(driver.join)
        assert [call["type"] for call in master.calls] == ["TEARDOWN"]

    async def test_it_can_be_started_again(self, master: FakeMaster, make: Make) -> None:
        driver, noting = make(master.address)
        await told(noting, "registered")
        await asyncio.to_thread(driver.stop, True)
        driver.start()
        await told(noting, "reregistered")
        assert master.subscribes[1]["framework_id"] == {"value": FRAMEWORK_ID}

    async def test_subscribe_says_what_the_framework_says_and_no_more(self, master: FakeMaster, make: Make) -> None:
        framework = {"user": "u", "name": "n", "roles": ["r"], "capabilities": [{"type": "MULTI_ROLE"}]}
        _, noting = make(master.address, framework=framework)
        await told(noting, "registered")
        said = master.subscribes[0]["subscribe"]["framework_info"]
        assert said == {
            **{key: framework[key] for key in ("user", "name", "roles", "capabilities")},
            "failover_timeout": 100.0,
        }

    async def test_a_misspelt_field_is_named(self, make: Make, caplog: pytest.LogCaptureFixture) -> None:
        MesosSchedulerDriver(Noting(), {"user": "u", "name": "n", "chekpoint": True}, "m:5050")
        assert "framework.chekpoint is not a field of FrameworkInfo, and is not sent" in caplog.messages


class TestBadMasters:
    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (plain(401, "who are you?"), "SUBSCRIBE is refused (401): who are you?"),
            (plain(400, "'roles' is not valid"), "SUBSCRIBE is refused (400): 'roles' is not valid"),
            (raw(record({"type": "ERROR", "error": {"message": "bad role"}})), "bad role"),
        ],
        ids=["401", "400", "error"],
    )
    async def test_one_that_will_not_have_it_ends_run_with_the_reason(
        self, master: FakeMaster, make: Make, answer: Any, reason: str
    ) -> None:
        master.on_subscribe = answer
        driver, noting = make(master.address)
        error = await asyncio.to_thread(_joined, driver)
        assert isinstance(error, SubscriptionEnded)
        assert reason in str(error)
        assert reason in noting.of("error")[0][0]
        assert master.calls == []

    async def test_an_id_that_another_process_took_is_let_go(self, master: FakeMaster, make: Make) -> None:
        driver, noting = make(master.address)
        await told(noting, "registered")
        await master.send({"type": "ERROR", "error": {"message": "Framework failed over"}})
        assert str(await asyncio.to_thread(_joined, driver)) == "Framework failed over"
        assert len(master.subscribes) == 1

    @pytest.mark.parametrize(
        "answer", [plain(503), plain(500), raw(b"\x00garbage"), hang], ids=["503", "500", "garbage", "none"]
    )
    async def test_one_that_may_come_to_itself_is_asked_again_with_back_off_until_the_timeout(
        self, master: FakeMaster, make: Make, answer: Any
    ) -> None:
        master.on_subscribe = answer
        driver, noting = make(master.address, timeout=1.5)
        error = await asyncio.to_thread(_joined, driver)
        assert str(error) == "no master has taken the subscription for 1.5 s"
        assert noting.names() == ["error"]
        assert 1 <= len(master.subscribes) <= 3

    async def test_what_is_not_a_master_is_asked_again_until_the_connect_timeout(
        self, master: FakeMaster, make: Make
    ) -> None:
        master.on_subscribe = plain(404, "<html><title>My router</title></html>", "text/html")
        driver, noting = make(master.address, connect_timeout=1.2)
        error = await asyncio.to_thread(_joined, driver)
        assert isinstance(error, SubscriptionEnded)
        assert str(error).startswith(f"no Mesos master has answered for 1.2 s: http://{master.address} answers")
        assert "404: an HTML page (My router)" in str(error)
        assert noting.names() == ["error"]
        assert 2 <= len(master.subscribes) <= 3

    async def test_a_master_that_starts_is_waited_for(self, master: FakeMaster, make: Make) -> None:
        master.on_subscribe = plain(404)
        _, noting = make(master.address)
        await eventually_async(lambda: bool(master.subscribes))
        master.on_subscribe = subscribed
        await told(noting, "registered")
        assert noting.names() == ["registered"]

    @pytest.mark.parametrize("seconds", [-1, float("nan"), 1e9])
    def test_a_connect_timeout_that_is_none(self, seconds: float) -> None:
        with pytest.raises(InvalidInput, match="connect timeout"):
            MesosSchedulerDriver(Noting(), {"user": "u", "name": "n"}, "m:5050", connect_timeout=seconds)

    async def test_the_second_of_several_is_asked_where_the_first_is_away(self, master: FakeMaster, make: Make) -> None:
        driver, noting = make(f"127.0.0.1:1,{master.address}")
        await told(noting, "registered")
        assert driver.master == master.address

    @pytest.mark.parametrize("uri", ["", "zk://nothing", "ftp://m", "m:99999"])
    def test_one_that_is_none_is_refused_at_the_making(self, uri: str) -> None:
        with pytest.raises(InvalidInput):
            MesosSchedulerDriver(Noting(), {"user": "u", "name": "n"}, uri)

    @pytest.mark.parametrize("framework", [{}, {"user": "u"}, {"user": "u", "name": 5}])
    def test_a_framework_that_is_none_too(self, framework: dict[str, Any]) -> None:
        with pytest.raises(InvalidInput, match="is not a valid FrameworkInfo"):
            MesosSchedulerDriver(Noting(), framework, "m:5050")

    def test_tls_and_zoo_are_understood(self) -> None:
        MesosSchedulerDriver(Noting(), {"user": "u", "name": "n"}, "m:5050", tls=Tls())
        MesosSchedulerDriver(Noting(), {"user": "u", "name": "n"}, "zoo://a:2181,b:2181/mesos")


class Recorded(SchedulerDriver):
    """A program's own driver, which has pymesos's methods and knows nothing of ours."""

    def __init__(self) -> None:
        self.declined: list[Any] = []

    def start(self) -> None: ...

    def stop(self, failover: bool = False) -> None: ...

    def abort(self) -> None: ...

    def join(self) -> None: ...

    def declineOffer(self, offer_ids: Any, filters: Any = None) -> None:  # noqa: N802  (pymesos's name)
        self.declined.append(offer_ids)


def test_a_programs_own_driver_needs_only_pymesos_methods() -> None:
    driver = Recorded()
    driver.launchTasks({"value": "O"}, [])
    assert driver.declined == [{"value": "O"}]
    with pytest.raises(NotImplementedError):
        driver.reviveOffers()


def test_data_is_base64() -> None:
    assert decode_data(encode_data(b"\x00\xff" * 60)) == b"\x00\xff" * 60
    assert "\n" not in encode_data(bytes(300))


def _inverse(name: str) -> dict[str, Any]:
    start = {"start": {"nanoseconds": 1}}
    return {"id": {"value": name}, "framework_id": {"value": FRAMEWORK_ID}, "unavailability": start}
