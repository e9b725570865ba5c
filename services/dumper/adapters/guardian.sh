#!/bin/sh
# Thaws a frozen container when the dumper that froze it is gone. The dumper starts it before the freeze and holds its
# standard input; the end of that input, however the dumper ended, is the sign.
#
#   guardian.sh FILE WORD      writing WORD into FILE thaws the control group
#
# Lines it is told: "dump GROUP" (CRIU runs in this process group), "dumped", "seal" (from now on leave the container
# frozen: its copy may be running elsewhere), "release" (the dumper took care of everything).

trap '' HUP INT TERM PIPE
group='' sealed=''

while read -r word value; do
  case $word in
    dump) group=$value ;;
    dumped) group='' ;;
    seal) sealed=1 ;;
    release) exit 0 ;;
  esac
done
[ -z "$sealed" ] || exit 0

# CRIU takes SIGALRM for a timeout and lets the processes go in good order; SIGKILL is for one that hangs. Only when it
# is gone does thawing last: its last act is to freeze the group again, as it found it.
if [ -n "$group" ] && kill -s ALRM -- "-$group" 2>/dev/null; then
  tries=0
  while [ $tries -lt 40 ] && kill -s 0 -- "-$group" 2>/dev/null; do
    sleep 0.1
    tries=$((tries + 1))
  done
  kill -s KILL -- "-$group" 2>/dev/null
fi
[ ! -e "$1" ] || echo "$2" >"$1"
