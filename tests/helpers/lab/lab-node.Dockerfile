# The node image for machines without CAP_SYS_RESOURCE: CRIU runs with rlimit-shim.c preloaded. Never deployed.
ARG NODE_IMAGE
FROM debian:trixie AS shim
RUN apt-get -q update && apt-get -q -y install --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
COPY rlimit-shim.c /
RUN gcc -O2 -Wall -Wextra -Werror -shared -fPIC -o /rlimit-shim.so /rlimit-shim.c

FROM ${NODE_IMAGE}
RUN mv /usr/sbin/criu /usr/sbin/criu-without-shim
COPY --from=shim /rlimit-shim.so /usr/local/lib/rlimit-shim.so
COPY criu-with-shim /usr/sbin/criu
