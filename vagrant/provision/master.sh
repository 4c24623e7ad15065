#!/usr/bin/env bash
# A master, and what registers it in ZooKeeper: master.sh ADDRESS:PORT zk://ADDRESS:PORT/PATH [FLAG=VALUE...]
source "$(dirname "$0")/common.sh"
address=$1
zookeeper=$2

install_owmesos
write_flags /etc/owmesos/master.flags "${@:3}"
"$service" define owmesos-master "${daemon[@]}" master "$address" \
    --state /var/lib/owmesos/master --flags /etc/owmesos/master.flags
"$service" define owmesos-registrar "${daemon[@]}" register "$address" "$zookeeper"
"$service" kill owmesos-master
"$service" start owmesos-master
"$service" stop owmesos-registrar
"$service" start owmesos-registrar
