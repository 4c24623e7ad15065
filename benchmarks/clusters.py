"""OFFERS events of clusters of any size, byte for byte as Mesos 1.11 writes them (about 1.1 kB an offer)."""

from __future__ import annotations

import json
import random
from typing import Any

ROLE = "bench"


def offer(number: int, chance: random.Random, first_offer: int = 0) -> dict[str, Any]:
    """One agent's offer: cpus, mem, disk, ports in two ranges, two attributes."""

    def resource(name: str, **value: Any) -> dict[str, Any]:
        return {"name": name, **value, "allocation_info": {"role": ROLE}}

    gap = chance.randrange(31001, 31999)
    hostname = f"agent-{number:05d}.example.org"
    return {
        "id": {"value": f"3c1d9a44-6c0b-4d65-8f6a-1d9f7f0a5b11-O{first_offer + number}"},
        "framework_id": {"value": "3c1d9a44-6c0b-4d65-8f6a-1d9f7f0a5b11-0000"},
        "agent_id": {"value": f"3c1d9a44-6c0b-4d65-8f6a-1d9f7f0a5b11-S{number}"},
        "hostname": hostname,
        "url": {
            "scheme": "http",
            "address": {
                "hostname": hostname,
                "ip": f"10.{number // 65536}.{number // 256 % 256}.{number % 256}",
                "port": 5051,
            },
            "path": "/slave(1)",
        },
        "domain": {"fault_domain": {"region": {"name": "eu"}, "zone": {"name": f"z{number % 3}"}}},
        "resources": [
            resource("cpus", type="SCALAR", scalar={"value": round(chance.uniform(0.1, 64), 2)}),
            resource("mem", type="SCALAR", scalar={"value": float(chance.randrange(64, 65536))}),
            resource("disk", type="SCALAR", scalar={"value": 102400.0}),
            resource(
                "ports",
                type="RANGES",
                ranges={"range": [{"begin": 31000, "end": gap - 1}, {"begin": gap + 1, "end": 32000}]},
            ),
        ],
        "attributes": [
            {"name": "rack", "type": "TEXT", "text": {"value": f"r{number % 40}"}},
            {"name": "zone", "type": "TEXT", "text": {"value": f"z{number % 3}"}},
        ],
        "allocation_info": {"role": ROLE},
    }


def offers_event(agents: int, seed: int = 1, first_offer: int = 0) -> bytes:
    """The record of one OFFERS event with an offer of each agent."""
    chance = random.Random(seed)
    offers = [offer(number, chance, first_offer) for number in range(agents)]
    return json.dumps({"type": "OFFERS", "offers": {"offers": offers}}, separators=(",", ":")).encode()
