# Something to migrate: Debian with Redis, and its Perl for small scripts. Squashed and without documentation, since it is loaded
# into nodes, and shipped by migrations, again and again.
FROM debian:trixie AS full
RUN apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends redis-server redis-tools \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/cache/debconf/*-old /var/log/apt /usr/share/doc /usr/share/man \
      /usr/share/locale /usr/share/zoneinfo /usr/share/bash-completion /usr/share/info

FROM scratch
COPY --from=full / /
CMD ["redis-server", "--save", "", "--protected-mode", "no"]
