#!/usr/bin/env bash
# Ends the master and the agents of this host, and their tasks: clear.sh [--forget | --fresh]
# With --forget the host has no such services any more, with --fresh nothing that they have kept either.
source "$(dirname "$0")/common.sh"
how=${1:-}

"$service" list | while read -r name _; do
    [[ $name == owmesos-master || $name == owmesos-agent* ]] || continue
    "$service" kill "$name"
    [[ -z $how ]] || "$service" remove "$name"
    [[ $how != --fresh ]] || rm -rf "/var/lib/owmesos/${name#owmesos-}"
done
# Python takes its time, so it is asked only where a task is left.
if grep -qsz '^MESOS_DIRECTORY=/var/lib/owmesos/' /proc/[0-9]*/environ; then
    "${daemon[@]}" end-tasks /var/lib/owmesos
fi
