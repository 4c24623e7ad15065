"""A real Kafka broker, or three: each is controller and broker in one process (KRaft), from Maven's artifacts.

Maven fetches it, the first time, into the user's cache folder; the machine's java runs the jars.
"""

from __future__ import annotations

import base64
import subprocess
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import trustme
from cryptography.hazmat.primitives import serialization
from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from tests.servers.maven import jars
from tests.servers.process import Server, ServerMissing, free_port

VERSION = "4.1.1"
USER, PASSWORD = "invoker", "secret"
FOLDER = f"kafka-{VERSION}"
ARTIFACTS = (f"org.apache.kafka:kafka_2.13:{VERSION}", "org.slf4j:slf4j-simple:1.7.36")
PROPERTIES = """\
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port},SASL_SSL://127.0.0.1:{secure_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},SASL_SSL://127.0.0.1:{secure_port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL
ssl.keystore.type=PEM
ssl.keystore.location={folder}/server.pem
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_ssl.plain.sasl.jaas.config=\
  org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}="{password}";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
allow.everyone.if.no.acl.found=true
log.dirs={folder}/data
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
group.coordinator.append.linger.ms=0
offsets.topic.num.partitions=1
offsets.topic.replication.factor={brokers}
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor={brokers}
transaction.state.log.min.isr={in_sync}
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor={brokers}
share.coordinator.state.topic.min.isr={in_sync}
min.insync.replicas={in_sync}
"""
JVM = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")


class Kafka(Server):
    """A broker that can be stopped and started again, keeping its topics.

    On its second port it wants TLS and a login; who comes so may do what no ACL forbids.
    """

    name = "Kafka"

    def __init__(self, folder: Path, port: int | None = None, *, node: int = 1) -> None:
        """`node` is its number among the brokers of a cluster."""
        super().__init__(folder, port or free_port())
        self._classpath = f"{jars(FOLDER, *ARTIFACTS)}/*"
        self.secure_port = free_port()
        self.password = PASSWORD
        """Of USER, from the next start on."""
        self.node = node
        self.voter = f"{node}@127.0.0.1:{free_port()}"
        self.voters = [self.voter]
        self.cluster_id = new_cluster_id()

    @property
    def authority(self) -> Path:
        """The certificate to trust on the secure port."""
        return self.folder / "ca.pem"

    def certify(self) -> None:
        """A new certificate by a new authority, from the next start on."""
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.authority))
        certificate = authority.issue_cert("127.0.0.1")
        key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
        (self.folder / "server.pem").write_bytes(key + chain)

    def command(self) -> list[str]:
        properties = self.folder / "server.properties"
        properties.write_text(
            PROPERTIES.format(
                port=self.port,
                secure_port=self.secure_port,
                controller_port=self.voter.rpartition(":")[2],
                node=self.node,
                voters=",".join(self.voters),
                brokers=len(self.voters),
                in_sync=(len(self.voters) + 1) // 2,
                folder=self.folder,
                user=USER,
                password=self.password,
            )
        )
        if not (self.folder / "data" / "meta.properties").exists():
            self.certify()
            self._format(properties)
        return ["java", *JVM, "-cp", self._classpath, "kafka.Kafka", str(properties)]

    def _format(self, properties: Path) -> None:
        tool = ("kafka.tools.StorageTool", "format", "-t", self.cluster_id, "-c", str(properties))
        done = subprocess.run(
            ["java", *JVM, "-cp", self._classpath, *tool], capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode:
            raise ServerMissing(f"Kafka's storage cannot be made: {done.stderr.strip()[-300:]}")

    def answers(self) -> bool:
        """A broker that only listens does not know its topics yet."""
        super().answers()
        try:
            admin = KafkaAdminClient(bootstrap_servers=[self.address], bootstrap_timeout_ms=2000)
        except KafkaError:
            return False
        try:
            admin.list_topics()
            return True
        except KafkaError:
            return False
        finally:
            admin.close()


class KafkaCluster:
    """Three brokers. What two of them have is not lost when the third is killed, and they go on without it."""

    def __init__(self, folder: Path) -> None:
        self.brokers = [Kafka(folder / f"broker-{node}", node=node) for node in (1, 2, 3)]
        for broker in self.brokers:
            broker.voters = [each.voter for each in self.brokers]
            broker.cluster_id = self.brokers[0].cluster_id

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(broker.address for broker in self.brokers)

    def start(self) -> None:
        """Those that do not run. Returns when all answer."""
        for broker in self.brokers:
            if broker.pid is None:
                broker.launch()
        for broker in self.brokers:
            broker.wait()

    def stop(self) -> None:
        for broker in self.brokers:
            broker.stop(force=True)

    def leader_of(self, topic: str) -> Kafka:
        """Which broker has the first part of `topic`."""
        (found,) = self._asked(lambda admin: admin.describe_topics([topic]))
        first = next(part for part in found["partitions"] if part["partition_index"] == 0)
        return next(broker for broker in self.brokers if broker.node == first["leader_id"])

    def is_whole(self) -> bool:
        """Whether each broker has caught up with all that it is to have."""
        topics = self._asked(lambda admin: admin.describe_topics())
        parts = [part for topic in topics for part in topic["partitions"]]
        return all(len(part["isr_nodes"]) == len(part["replica_nodes"]) for part in parts)

    def _asked(self, question: Callable[[Any], Any]) -> Any:
        running = [broker.address for broker in self.brokers if broker.pid is not None]
        with closing(KafkaAdminClient(bootstrap_servers=running)) as admin:
            return question(admin)


def new_cluster_id() -> str:
    """Its first letter is never a dash, which Kafka's tool would take for an option."""
    return base64.urlsafe_b64encode(b"A" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
