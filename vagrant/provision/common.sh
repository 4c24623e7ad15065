# shellcheck shell=bash
# What the hosts have in common; the other scripts source it. They run as root, as often as one likes, and put
#   /opt/owmesos        a Python environment with owmesos from the repository that the scripts are in
#   /var/cache/owmesos  Apache Mesos, built
#   /etc/owmesos        flags of the daemons, and start scripts where systemd lacks
#   /var/lib/owmesos    what the daemons keep, a folder for each
#   /var/log/owmesos    their logs
set -euo pipefail
provision=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=${provision%/vagrant/provision}
python=/opt/owmesos/bin/python
export OWMESOS_CACHE=/var/cache/owmesos DEBIAN_FRONTEND=noninteractive
export service=$provision/service.sh
# For the services, whose environment is not ours.
daemon=(/usr/bin/env "OWMESOS_CACHE=$OWMESOS_CACHE" "$python" "$provision/host.py")

# need FILE PACKAGE...: installs Debian's packages unless the file is there.
need() {
    local file=$1
    shift
    [[ -e $file ]] && return
    apt-get -q -y install --no-install-recommends "$@" || {
        apt-get -q update
        apt-get -q -y install --no-install-recommends "$@"
    }
}

# Everything that a master and an agent need, Apache Mesos included. The environment is editable: what comes into the
# repository is run at the next start.
install_owmesos() {
    if [[ ! -x $python ]]; then
        need /usr/share/doc/python3-venv python3-venv
        python3 -m venv /opt/owmesos
        /opt/owmesos/bin/pip install --quiet --editable "$repository"
    fi
    need /usr/bin/g++ g++
    need /usr/bin/nm binutils
    "${daemon[@]}" build
}

# write_flags FILE NAME=VALUE...: flags of Mesos for a daemon.
write_flags() {
    local file=$1
    shift
    install -d -m 700 "$(dirname "$file")"
    printf '%s\n' "$@" | sed '/^$/d' >"$file"
}
