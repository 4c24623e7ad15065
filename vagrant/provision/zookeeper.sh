#!/usr/bin/env bash
# A ZooKeeper from Debian's packages, run by itself: zookeeper.sh ADDRESS
source "$(dirname "$0")/common.sh"
address=$1

need /usr/bin/java default-jre-headless
need /usr/share/java/zookeeper.jar libzookeeper-java
need /usr/share/java/slf4j-nop.jar libslf4j-java
need /usr/share/java/metrics-core.jar libdropwizard-metrics-java
need /usr/share/java/snappy-java.jar libsnappy-java

install -d /etc/owmesos
cat >/etc/owmesos/zoo.cfg <<CONFIGURATION
tickTime=1000
dataDir=/var/lib/owmesos/zookeeper
clientPort=2181
clientPortAddress=$address
admin.enableServer=false
4lw.commands.whitelist=ruok
CONFIGURATION

classpath=$(printf '/usr/share/java/%s.jar:' zookeeper zookeeper-jute slf4j-api slf4j-nop metrics-core snappy-java)
"$service" define owmesos-zookeeper /usr/bin/java -Xmx256m -XX:+UseSerialGC -cp "$classpath" \
    org.apache.zookeeper.server.quorum.QuorumPeerMain /etc/owmesos/zoo.cfg
"$service" stop owmesos-zookeeper
"$service" start owmesos-zookeeper
