#!/usr/bin/env bash
# An agent; a host may have several, of different names and ports:
#   agent.sh NAME ADDRESS:PORT ADDRESS-OF-MASTER:PORT [FLAG=VALUE...]
source "$(dirname "$0")/common.sh"
name=$1
address=$2
master=$3

install_owmesos
write_flags "/etc/owmesos/$name.flags" "${@:4}"
"$service" define "owmesos-$name" "${daemon[@]}" agent "$address" \
    --master "$master" --state "/var/lib/owmesos/$name" --flags "/etc/owmesos/$name.flags"
"$service" kill "owmesos-$name"
"$service" start "owmesos-$name"
