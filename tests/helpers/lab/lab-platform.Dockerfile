# What a node stands on, for machines without CAP_SYS_RESOURCE: CRIU runs with rlimit-shim.c preloaded. Never deployed.
ARG PLATFORM
FROM debian:trixie AS shim
RUN apt-get -q update && apt-get -q -y install --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
COPY rlimit-shim.c /
RUN gcc -O2 -Wall -Wextra -Werror -shared -fPIC -o /rlimit-shim.so /rlimit-shim.c

FROM ${PLATFORM}
RUN mv /usr/sbin/criu /usr/sbin/criu-without-shim
COPY --from=shim /rlimit-shim.so /usr/local/lib/rlimit-shim.so
COPY criu-with-shim /usr/sbin/criu
