#!/bin/sh
# Runs a node in one container: Docker first, then the agent, which is started again when it dies. SIGTERM ends the agent, then
# Docker. If dockerd or containerd dies, so does the node: whoever runs it should know.
#
#   DMIGRATE_DOCKER_TCP=1   let dockerd listen on tcp 2375 too, without TLS: for a closed lab only
#   DMIGRATE_DOCKERD_ARGS   more arguments for dockerd
#   DMIGRATE_AGENT=0        run dockerd alone
#   DMIGRATE_IMAGE_STORE=containerd   let containerd keep the images, as Docker does by default from 29 on
# Everything else (DMIGRATE_*, OTEL_*) is the agent's own.
set -eu

# Tells dockerd that it runs in a container itself, so that it leaves AppArmor profiles to the host.
export container=docker

say() { echo "node: $*" >&2; }

# With cgroup v2 a group that has processes of its own cannot hand controllers to children: move everything here into a leaf.
delegate_cgroups() {
  [ -f /sys/fs/cgroup/cgroup.controllers ] || return 0
  mkdir -p /sys/fs/cgroup/init
  while read -r pid; do
    echo "$pid" >/sys/fs/cgroup/init/cgroup.procs 2>/dev/null || :
  done </sys/fs/cgroup/cgroup.procs
  sed -e 's/ / +/g' -e 's/^/+/' /sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control || :
}

# containerd as a daemon of its own, as on a Debian host. Each in a subshell, so that its end can be told to the loop below: a
# POSIX shell cannot wait for "any child".
start_engine() {
  rm -f /run/docker.pid
  tcp=''
  [ "${DMIGRATE_DOCKER_TCP:-0}" != 1 ] || tcp='--host=tcp://0.0.0.0:2375 --tls=false'
  supervise containerd &
  containerd=$!
  config=/etc/docker/daemon.json driver=overlay2
  if [ "${DMIGRATE_IMAGE_STORE:-docker}" = containerd ]; then
    sed '1s/{/{ "features": { "containerd-snapshotter": true },/' "$config" >/run/daemon.json
    config=/run/daemon.json driver=overlayfs
  fi
  # shellcheck disable=SC2086 # both are lists of words
  supervise dockerd --host=unix:///run/docker.sock $tcp --containerd=/run/containerd/containerd.sock \
    --config-file="$config" --storage-driver="$driver" ${DMIGRATE_DOCKERD_ARGS:-} &
  dockerd=$!
}

# Passes SIGTERM on to the daemon, and tells the main shell when it is gone.
supervise() {
  trap 'kill -TERM "$daemon" 2>/dev/null || :' TERM
  trap '' INT
  "$@" >>"/var/log/$1.log" 2>&1 &
  daemon=$!
  while kill -0 "$daemon" 2>/dev/null; do wait "$daemon" || :; done
  say "$1 has ended"
  kill -USR1 $$ 2>/dev/null
}

end() {
  kill -TERM "$1" 2>/dev/null || :
  while kill -0 "$1" 2>/dev/null; do wait "$1" || :; done
}

wait_for_dockerd() {
  until docker version >/dev/null 2>&1; do
    if [ -n "$stopping" ]; then
      tail -n 20 /var/log/dockerd.log >&2
      return 1
    fi
    sleep 0.05
  done
}

stopping='' agent='' status=0
stop() {
  stopping=1
  [ -z "$agent" ] || kill -TERM "$agent" 2>/dev/null || :
}
trap stop TERM INT
trap '[ -n "$stopping" ] || status=1; stop' USR1

delegate_cgroups
start_engine
wait_for_dockerd || :

pause=0
while [ -z "$stopping" ]; do
  started=$(date +%s)
  if [ "${DMIGRATE_AGENT:-1}" = 0 ]; then sleep infinity & else node /opt/dmigrate/services/agent/main.ts & fi
  agent=$!
  # The first wait ends early when a signal comes in; the second then sees the agent off.
  wait "$agent" && code=0 || code=$?
  [ -z "$stopping" ] || { wait "$agent" || :; break; }
  agent=''
  say "the agent ended with $code"
  # At once the first time, then slower; fast again after it has run for a while.
  [ $(($(date +%s) - started)) -lt 30 ] || pause=0
  sleep "$pause" & wait $! || :
  case $pause in 0) pause=1 ;; 1) pause=2 ;; *) pause=5 ;; esac
done

end "$dockerd"
end "$containerd"
exit "$status"
