#!/bin/sh
# Starts a CRIU that waits for one request on descriptor 3, in a mount namespace of its own (its caller is unshare --mount), in which
# the page maps of some processes are covered by that of another process, with next to no memory: CRIU then finds nothing to
# dump in them. The mounts end with CRIU.
#
#   criu-apart.sh DIR STAND_IN PID...      says "ready PID..." with those that are covered
#
# DIR is to be its directory, by which whoever finds this CRIU knows whose it is.
cd "$1" || exit 1
stand_in=$2 covered=''
shift 2
for pid; do
  if mount --bind "/proc/$stand_in/pagemap" "/proc/$pid/pagemap" 2>/dev/null; then covered="$covered $pid"; fi
done
echo "ready$covered"
exec criu swrk 3 >/dev/null
