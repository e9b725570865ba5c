# What the benchmark migrates: Redis, memcached, PostgreSQL, busybox, and two programs of our own.
FROM debian:trixie AS build
RUN apt-get -q update && apt-get -q -y install --no-install-recommends gcc libc6-dev
COPY process-server.c page-toucher.c /
RUN set -e; for name in process-server page-toucher; do gcc -O2 -Wall -Wextra -Werror -o /$name /$name.c; done

FROM debian:trixie AS full
RUN set -eu; export DEBIAN_FRONTEND=noninteractive; \
    apt-get -q update; \
    mkdir -p /etc/postgresql-common; \
    echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf; \
    apt-get -q -y install --no-install-recommends busybox-static memcached postgresql redis-server redis-tools procps; \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/* /usr/share/doc /usr/share/man /usr/share/locale /usr/lib/llvm* \
      /usr/lib/*/libLLVM* /usr/lib/*/libz3* /usr/lib/postgresql/*/lib/llvmjit* /usr/lib/postgresql/*/lib/bitcode; \
    ln -s /usr/lib/postgresql/*/bin/* /usr/local/bin/ 2>/dev/null || :; \
    install -d -o postgres /var/lib/pg; \
    su postgres -c "initdb -D /var/lib/pg/data -A trust --data-checksums >/dev/null"; \
    echo 'host all all all trust' >> /var/lib/pg/data/pg_hba.conf; \
    printf "listen_addresses = '*'\nhuge_pages = off\nshared_buffers = 256MB\njit = off\nmax_wal_size = 256MB\n" >> /var/lib/pg/data/postgresql.conf
COPY --from=build /process-server /page-toucher /usr/local/bin/

FROM scratch
COPY --from=full / /
