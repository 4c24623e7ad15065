#!/usr/bin/env bash
# Services of this host: systemd's where it runs, else plain processes with a pid file.
#   service.sh define NAME COMMAND...   writes the service; with systemd it starts with the machine, too
#   service.sh remove NAME              forgets it; it must not run
#   service.sh start NAME               starts it unless it runs
#   service.sh stop NAME                SIGTERM, and waits
#   service.sh kill NAME                SIGKILL, and waits; what it has started lives on
#   service.sh list                     a line for each service: NAME, pid or `down`
# Names begin with owmesos-. The log is /var/log/owmesos/NAME.log.
set -euo pipefail
units=/etc/systemd/system
scripts=/etc/owmesos
logs=/var/log/owmesos

has_systemd() { [[ -d /run/systemd/system ]]; }

pid_of() {
    local pid
    if has_systemd; then
        pid=$(systemctl show --property MainPID --value "$1")
        [[ $pid != 0 ]] && echo "$pid"
    else
        pid=$(cat "/run/$1.pid" 2>/dev/null) && [[ -d /proc/$pid ]] && echo "$pid"
    fi
}

define() {
    local name=$1
    shift
    mkdir -p "$logs" "$scripts"
    if ! has_systemd; then
        printf '#!/bin/sh\nexec%s\n' "$(printf ' %q' "$@")" >"$scripts/$name.start"
        chmod 755 "$scripts/$name.start"
        return
    fi
    # What an agent has started must outlive it, and whoever kills a daemon wants it dead: no Restart.
    cat >"$units/$name.service" <<UNIT
[Unit]
Description=$name
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
ExecStart=$(printf '"%s" ' "$@")
KillMode=process
StandardOutput=append:$logs/$name.log
StandardError=inherit

[Install]
WantedBy=multi-user.target
UNIT
    systemctl daemon-reload
    systemctl --quiet enable "$name"
}

remove() {
    if has_systemd; then
        systemctl --quiet disable "$1"
        rm -f "$units/$1.service"
        systemctl daemon-reload
    fi
    rm -f "$scripts/$1.start"
}

start() {
    pid_of "$1" >/dev/null && return
    if has_systemd; then
        systemctl start "$1"
    else
        setsid "$scripts/$1.start" </dev/null >>"$logs/$1.log" 2>&1 &
        echo $! >"/run/$1.pid"
    fi
}

# end SIGNAL NAME
end() {
    local pid waited=0
    pid=$(pid_of "$2") || return 0
    kill "-$1" "$pid" 2>/dev/null || true
    while [[ $(pid_of "$2") == "$pid" ]]; do
        ((++waited < 200)) || { echo "$2 (pid $pid) does not end" >&2 && exit 1; }
        sleep 0.05
    done
}

list() {
    local file name
    for file in "$units"/owmesos-*.service "$scripts"/owmesos-*.start; do
        [[ -e $file ]] || continue
        name=$(basename "${file%.*}")
        echo "$name $(pid_of "$name" || echo down)"
    done
}

case $1 in
define) define "${@:2}" ;;
remove) remove "$2" ;;
start) start "$2" ;;
stop) end TERM "$2" ;;
kill) end KILL "$2" ;;
list) list ;;
*) sed -n '2,/^set/s/^# //p' "$0" >&2 && exit 2 ;;
esac
