# The lab's node, and a registry of images, for the test that pulls from one; never deployed.
ARG NODE
FROM ${NODE}
RUN set -eu; export DEBIAN_FRONTEND=noninteractive; \
    apt-get -q update; \
    apt-get -q -y install --no-install-recommends docker-registry; \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/*
