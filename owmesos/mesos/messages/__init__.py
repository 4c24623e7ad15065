# ruff: noqa: F403  (what the modules define is public)
"""The messages of Mesos's v1 HTTP API (1.11) as typed structs: calls, events, and what both consist of. Nothing is
decided here.

Import them from here, except those of `messages.operator`, which only the operator client needs.
"""

from __future__ import annotations

from owmesos.mesos.messages.calls import *
from owmesos.mesos.messages.events import *
from owmesos.mesos.messages.frameworks import *
from owmesos.mesos.messages.lenient import unknown_fields as unknown_fields
from owmesos.mesos.messages.offers import *
from owmesos.mesos.messages.tasks import *
from owmesos.mesos.messages.values import *
