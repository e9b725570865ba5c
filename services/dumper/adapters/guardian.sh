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

# CRIU ends by itself, and its last act is to freeze the group again as it found it: only then does thawing last. While
# it works inside the processes a signal may cost one of them its life, so signals are for one that hangs: SIGALRM,
# which CRIU takes for its timeout, and SIGKILL in the end.
is_gone() { # tenths of a second to wait
  tenths=$1
  while kill -s 0 -- "-$group" 2>/dev/null; do
    [ "$tenths" -gt 0 ] || return 1
    tenths=$((tenths - 1))
    sleep 0.1
  done
}
if [ -n "$group" ] && ! is_gone 100; then
  kill -s ALRM -- "-$group"
  is_gone 50 || kill -s KILL -- "-$group"
fi
[ ! -e "$1" ] || echo "$2" >"$1"
