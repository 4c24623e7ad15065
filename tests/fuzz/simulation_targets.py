"""What `owmesos simulate` reads: traces in three formats, and clusters."""

from __future__ import annotations

from pathlib import Path

from owmesos.sizing.cluster_file import read_cluster
from owmesos.sizing.trace import TracePart
from owmesos.sizing.trace_files import read_trace
from tests.fuzz.target import file_of, target

_OWN = "at,namespace,action,kind,memory,duration\n10.5,shop,login,python:3,256,0.25\n3,,resize,,512,2\n"
_OF_2021 = "app,func,end_timestamp,duration\na1,f1,100.5,0.5\na2,f1,101,0\n"
_COUNTS = "HashOwner,HashApp,HashFunction,Trigger,1,2,3\no,a,f,http,2,0,1\no,a,g,timer,0,1,0\n"
_DURATIONS = (
    "HashOwner,HashApp,HashFunction,Average,Count,Minimum,Maximum,percentile_Average_0,percentile_Average_1,"
    "percentile_Average_25,percentile_Average_50,percentile_Average_75,percentile_Average_99,percentile_Average_100\n"
    "o,a,f,-41692,9,0,9000,1000,1000,2000,3000,4000,5000,6000\n"
)
_CLUSTER = """
agents:
  - {count: 3, cpus: 8, mem: 8192}
  - {name: big, cpus: 32, mem: 65536}
changes:
  - {at: 1, leave: agent1}
  - {at: 2, die: [agent2, big]}
  - {at: 3, join: {count: 2, cpus: 4, mem: 4096}}
  - {at: 4, join: agent1}
  - {at: 5, neighbour_takes: 4096}
  - {at: 6, neighbour_gives: 1000}
"""
_LONGEST_CLUSTER = 512  # bytes, half as many again as the seed: its parser is Python


def _read(file: Path) -> None:
    """Whole, and a part; what comes of it is in order and within its time."""
    for part in (TracePart(), TracePart(skip=1.0, seconds=100.0, share=0.9)):
        trace = read_trace(file, part)
        times = [each.at for each in trace.invocations]
        assert times == sorted(times)
        assert all(0 <= at <= trace.seconds for at in times)
        assert all(0 <= each.duration <= trace.functions[each.function].action.timeout for each in trace.invocations)


@target("simulate-trace", _OWN)
def own_trace(data: bytes) -> None:
    _read(file_of(data, "trace.csv"))


@target("simulate-azure-2021", _OF_2021)
def azure_2021(data: bytes) -> None:
    _read(file_of(data, "trace.csv"))


@target("simulate-azure-2019-counts", _COUNTS)
def azure_counts(data: bytes) -> None:
    file_of(_DURATIONS.encode(), "function_durations_percentiles.csv")
    _read(file_of(data, "invocations_per_function_md.csv"))


@target("simulate-azure-2019-durations", _DURATIONS)
def azure_durations(data: bytes) -> None:
    counts = file_of(_COUNTS.encode(), "invocations_per_function_md.csv")
    file_of(data, "function_durations_percentiles.csv")
    _read(counts)


@target("simulate-cluster", _CLUSTER)
def cluster(data: bytes) -> None:
    around = read_cluster(file_of(data[:_LONGEST_CLUSTER], "cluster.yaml"))
    names = {each.name for each in around.machines}
    assert {each.name for each in around.changes} <= names
    assert set(around.absent) <= names
    assert around.least_mb <= around.start_mb
