#!/bin/sh
# Installs the npm packages when they are missing or older than package-lock.json, then becomes the command it is given:
#
#   sh tests/helpers/bootstrap.sh node tests/lab/lab.ts
#
# Among the packages is Node itself (the npm package "node"): npm puts node_modules/.bin first on the PATH of a script, so the
# command runs on that one, whatever Node the machine's npm came with. Becoming the command, and not waiting for it, lets a signal
# to npm arrive there. Quiet when there is nothing to do; what it says goes to stderr.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
installed="$root/node_modules/.package-lock.json"
node="$root/node_modules/.bin/node"

say() { echo "bootstrap: $*" >&2; }

is_stale() { [ ! -f "$installed" ] || [ "$root/package-lock.json" -nt "$installed" ] || [ ! -x "$node" ]; }

quiet_npm() { NODE_NO_WARNINGS=1 npm "$@" --no-audit --no-fund --loglevel=error </dev/null >&2; }

# npm leaves out optional packages, native bindings among them, that do not name the Node it runs on. So where that is too old, npm
# itself is run on Node 24, fetched first.
install_packages() (
  cd "$root"
  major=$(node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/') || :
  if [ "${major:-0}" -lt 24 ]; then
    version=$(sed -n 's/^ *"node": "\([0-9][0-9.]*\)".*/\1/p' package.json)
    if [ "$(.lab/node/node_modules/.bin/node --version 2>/dev/null)" != "v$version" ]; then
      say "fetching Node $version to run npm on"
      quiet_npm install --no-save --prefix .lab/node "node@$version"
    fi
    PATH="$root/.lab/node/node_modules/.bin:$PATH"
    export PATH
  fi
  say "installing npm packages (npm ci)"
  quiet_npm ci
)

if is_stale; then
  command -v npm >/dev/null || { say "npm is missing; install it (on Debian or Ubuntu: apt-get install npm)"; exit 1; }
  # Two scripts started at once must not both install: the second waits, and then finds it done.
  mkdir -p "$root/.lab"
  exec 9>"$root/.lab/bootstrap.lock"
  ! command -v flock >/dev/null || flock 9
  ! is_stale || install_packages
  exec 9>&-
  [ -x "$node" ] || { say "npm did not install Node: does it run install scripts? (npm config get ignore-scripts)"; exit 1; }
fi

[ $# -eq 0 ] || { PATH="$root/node_modules/.bin:$PATH"; export PATH; exec "$@"; }
