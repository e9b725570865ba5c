# Something to migrate: Redis, bash, the coreutils and Perl, for small scripts. It is loaded into nodes, and shipped by migrations,
# again and again, so it is squashed and left without package management, documentation and what else no workload calls.
FROM debian:trixie AS full
RUN set -eu; export DEBIAN_FRONTEND=noninteractive; \
    apt-get -q update; \
    apt-get -q -y install --no-install-recommends redis-server redis-tools; \
    dpkg --purge --force-all adduser apt bsdutils debconf diffutils init-system-helpers libapt-pkg7.0 libdb5.3t64 libpam-modules \
      libpam-modules-bin libpam-runtime libsqlite3-0 login mount passwd sqv sysvinit-utils tzdata util-linux; \
    rm -rf /etc/apt /etc/systemd /usr/bin/redis-check-aof /usr/lib/*/gconv /usr/lib/*/security /usr/lib/apt /usr/lib/dpkg \
      /usr/lib/systemd /usr/share/bash-completion /usr/share/common-licenses /usr/share/doc /usr/share/info /usr/share/keyrings \
      /usr/share/lintian /usr/share/locale /usr/share/man /usr/share/pam /usr/share/perl5 /usr/share/zoneinfo \
      /var/cache/* /var/lib/apt /var/lib/dpkg /var/lib/systemd /var/log/*

FROM scratch
COPY --from=full / /
CMD ["redis-server", "--save", "", "--protected-mode", "no"]
