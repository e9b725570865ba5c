# Compiles rlimit-shim.c.
FROM debian:trixie AS build
RUN apt-get -q update && apt-get -q -y install --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
COPY rlimit-shim.c /
RUN gcc -O2 -Wall -Wextra -Werror -shared -fPIC -o /rlimit-shim.so /rlimit-shim.c

FROM scratch
COPY --from=build /rlimit-shim.so /
