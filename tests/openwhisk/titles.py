"""The titles of OpenWhisk's tests of one container, and of the fork's tests of its container factory on Mesos.

Each title in TESTED is the name of a test below this folder; where a rule of Mesos takes the place of the original's,
the test's docstring says so. NOT_TESTED says what became of the others.
"""

from __future__ import annotations

CONTAINER_PROXY = (
    "partition activation arguments into environment variables and main arguments",
    "unlock arguments",
    "create a container given a Start message",
    "run a container which has been started before, write an active ack, write to the store, pause and remove",
    "run an action and continue with a next run without pausing the container",
    "run an action after pausing the container",
    "successfully run on an uninitialized container",
    "not collect logs if the log limit is set to 0",
    "resend a failed Run when it is first after Ready state",
    "start tcp ping to containers when action healthcheck enabled",
    "respond with CombinedCompletionAndResultMessage for blocking invocation with no logs",
    "respond with ResultMessage and CompletionMessage for blocking invocation with logs",
    "respond with only CompletionMessage for non blocking invocation with logs",
    "respond with only CompletionMessage for non blocking invocation with no logs",
    "stay in Running state if others are still running",
    "not destroy on failure during Removing state when concurrent activations are in flight",
    "not destroy on failure during Running state when concurrent activations are in flight",
    "terminate buffered concurrent activations when prewarm init fails with an error",
    "terminate buffered concurrent activations when prewarm init fails unexpectedly",
    "terminate buffered concurrent activations when cold init fails with an error",
    "terminate buffered concurrent activations when cold init fails unexpectedly",
    "terminate buffered concurrent activations when cold launch fails",
    "reuse a container on failed run IFF it was an applicationError",
    "abort if creation fails",
    "destroy on failed init",
    "destroy on failed run IFF it was a containerError",
    "destroy if log reading failed",
    "destroy if log reading failed terminally",
    "resend the job to the parent if resuming a container fails",
    "resend the job to the parent if run fails connection after Paused to Running",
    "resend the job to the parent if run fails connection after Ready to Running",
    "remove and replace a prewarm container if it fails healthcheck after startup",
    "remove the container if suspend fails",
    "delay a deletion message until the transaction is completed",
    "send back a Run message which got sent before the container decided to remove itself",
    "omit api key from activations",
    "reset the lastUse and increment the activation count on nextRun",
)
MESOS_CONTAINER_PROXY = ("resend on ClusterResourceError",)
MESOS_CONTAINER_FACTORY = (
    "send Subscribe on init",
    "send SubmitTask with constraints on create",
    "send DeleteTask on destroy",
    "return static message for logs",
    "ClusterResourceError on mesos resource failure",
    "retry on DockerRunFailure or DockerPullFailure",
)
TESTED = (*CONTAINER_PROXY, *MESOS_CONTAINER_PROXY, *MESOS_CONTAINER_FACTORY)

_AGENT = "on Mesos the agent connects to the port of a container, as its task's health check says, not the invoker"
NOT_TESTED = {f"TCPPingClient {number}": _AGENT for number in range(1, 4)}
