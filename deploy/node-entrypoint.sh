#!/bin/sh
# Runs a node in one container: dockerd first, then the agent, which is started again when it dies. SIGTERM ends the agent, then
# dockerd. If dockerd dies, so does the node: its containers are gone with it, and whoever runs the node should know.
#
#   DMIGRATE_DOCKER_TCP=1   let dockerd listen on tcp 2375 too, without TLS: for a closed lab only
#   DMIGRATE_DOCKERD_ARGS   more arguments for dockerd
#   DMIGRATE_AGENT=0        run dockerd alone
# Everything else (DMIGRATE_*, OTEL_*) is the agent's own.
set -eu

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

# In a subshell, so that its end can be told to the loop below: a POSIX shell cannot wait for "any child".
start_dockerd() {
  rm -f /run/docker.pid /run/docker/containerd/containerd.pid
  tcp=''
  [ "${DMIGRATE_DOCKER_TCP:-0}" != 1 ] || tcp='--host=tcp://0.0.0.0:2375 --tls=false'
  (
    trap '' TERM INT
    # shellcheck disable=SC2086 # both are lists of words
    dockerd --host=unix:///run/docker.sock $tcp --pidfile=/run/docker.pid --storage-driver=overlay2 \
      ${DMIGRATE_DOCKERD_ARGS:-} >>/var/log/dockerd.log 2>&1 || say "dockerd ended with $?"
    kill -USR1 $$ 2>/dev/null
  ) &
  dockerd_shell=$!
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
start_dockerd
wait_for_dockerd || :

pause=0
while [ -z "$stopping" ]; do
  started=$(date +%s)
  if [ "${DMIGRATE_AGENT:-1}" = 0 ]; then sleep infinity & else dmigrate agent & fi
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

[ ! -s /run/docker.pid ] || kill -TERM "$(cat /run/docker.pid)" 2>/dev/null || :
while kill -0 "$dockerd_shell" 2>/dev/null; do wait "$dockerd_shell" || :; done
exit "$status"
