# The lab's node, and what the other systems and their copies need: Podman, rsync, netcat, socat. For benchmarks only, never deployed.
ARG NODE
FROM ${NODE}
RUN set -eu; export DEBIAN_FRONTEND=noninteractive; \
    apt-get -q update; \
    apt-get -q -y install --no-install-recommends podman netavark aardvark-dns conmon rsync netcat-openbsd socat zstd; \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/*
COPY containers.conf /etc/containers/containers.conf
COPY storage.conf /etc/containers/storage.conf
COPY policy.json /etc/containers/policy.json
COPY rsyncd.conf /etc/rsyncd.conf
COPY daemon.json /etc/docker/daemon.json
COPY bench-runc /usr/local/bin/bench-runc
COPY node-shell.ts watch-memory.ts /opt/bench/
# Beside the packages: it takes koffi from there.
COPY limits.ts /opt/dmigrate/bench/limits.ts
RUN chmod 755 /usr/local/bin/bench-runc
