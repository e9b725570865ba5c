# What a node stands on, for machines without CAP_SYS_RESOURCE: CRIU runs with rlimit-shim.c preloaded. Never deployed.
ARG PLATFORM
ARG SHIM
FROM ${SHIM} AS shim
FROM ${PLATFORM}
RUN mv /usr/sbin/criu /usr/sbin/criu-without-shim
COPY --from=shim /rlimit-shim.so /usr/local/lib/rlimit-shim.so
COPY criu-with-shim /usr/sbin/criu
