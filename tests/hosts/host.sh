#!/usr/bin/env bash
# Becomes a host: in namespaces of its own (network, hostname, processes, mounts) it gets a hostname, and files that
# are those of the machine with its own on top. `namespaces.py` starts it.
#   host.sh NAME FOLDER REPOSITORY CACHE PYTHON [PACKAGES]
# FOLDER keeps what the host keeps; PACKAGES is a folder with unpacked Debian packages that it finds installed.
set -euo pipefail
# shellcheck disable=SC2034  # they are named indirectly
name=$1 folder=$2 repository=$3 cache=$4 interpreter=$5 packages=${6:-}

mkdir -p "$folder/lib" "$folder/log"
hostname "$name"
ip link set lo up
# What lies under a folder that is covered below must be at hand all the same.
mount -t tmpfs tmpfs /mnt
for each in folder repository cache packages; do
    [[ -n ${!each} ]] || continue
    mkdir "/mnt/$each"
    mount --bind "${!each}" "/mnt/$each"
done
for each in etc opt srv usr var; do
    below=/$each
    [[ -n $packages && -d /mnt/packages/$each ]] && below=/mnt/packages/$each:/$each
    mkdir -p "/mnt/own/$each" "/mnt/work/$each"
    mount -t overlay overlay -o "lowerdir=$below,upperdir=/mnt/own/$each,workdir=/mnt/work/$each" "/$each"
done
mount -t tmpfs tmpfs /run # with the machine's own, systemd would seem to be there

# bind WHAT AT [OPTION]: /mnt/WHAT
bind() {
    mkdir -p "/mnt/$1" "$2"
    mount --bind "/mnt/$1" "$2"
    [[ -z ${3:-} ]] || mount -o "remount,bind,$3" "$2"
}
bind repository /srv/owmesos ro
bind cache /var/cache/owmesos
bind folder/lib /var/lib/owmesos
bind folder/log /var/log/owmesos
mkdir -p /opt/owmesos/bin
printf '#!/bin/sh\nPYTHONPATH=/srv/owmesos exec %q "$@"\n' "$interpreter" >/opt/owmesos/bin/python
chmod 755 /opt/owmesos/bin/python
printf '%s\n' "127.0.0.1 localhost" >/etc/hosts
echo "$name" >/etc/hostname

touch "/mnt/folder/up"
trap '' CHLD # nobody waits for what ends here
exec sleep infinity
