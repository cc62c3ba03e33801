# Two stages: the first compiles, the second has no compiler and no package installer of Python's.
FROM debian:12-slim AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-venv python3-dev gcc libc6-dev binutils \
 && apt-get clean && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY requirements-image.lock ./
RUN python3 -m venv /opt/corvus \
 && /opt/corvus/bin/pip install --no-cache-dir --require-hashes --only-binary :all: \
        -r requirements-image.lock
COPY pyproject.toml setup.py README.md LICENSE ./
COPY corvus_proxy ./corvus_proxy
# Installers, debug symbols, others' tests and Postgres's headers are not needed to run.
RUN /opt/corvus/bin/pip install --no-cache-dir --no-deps . \
 && /opt/corvus/bin/pip uninstall -y setuptools pip \
 && find /opt/corvus/lib -name '*.cpython-*.so' -exec strip --strip-unneeded '{}' + \
 && find /opt/corvus/lib -depth -type d '(' -name tests -o -path '*/pginstall/include' ')' \
        -exec rm -rf '{}' +

FROM debian:12-slim
# A number for the user that stays: what is mounted from outside is given to it (docs/container.md).
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 ca-certificates \
 && apt-get clean && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 corvus \
 && useradd --uid 10001 --gid 10001 --no-log-init --home-dir /var/lib/corvus --create-home \
        --shell /usr/sbin/nologin corvus \
 && install -d -o corvus -g corvus /var/lib/corvus-status
COPY --from=build /opt/corvus /opt/corvus
# Roles alone listen where the container is reached, as `up --host` below does; the console never.
ENV PATH=/opt/corvus/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONUNBUFFERED=1 \
    CORVUS_STATE=/var/lib/corvus/state \
    CORVUS_GATEWAY_HOST=0.0.0.0 \
    CORVUS_SITE_HOST=0.0.0.0
USER corvus
WORKDIR /var/lib/corvus
VOLUME /var/lib/corvus
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
# Asks whatever of this installation runs in the container: all of it, or one role.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python3", "-m", "corvus_proxy.ops.container.health"]
# The whole service, or one role: `docker run IMAGE gateway`, its file in CORVUS_CONFIG.
ENTRYPOINT ["corvus"]
CMD ["up", "--host", "0.0.0.0", "--state", "/var/lib/corvus/state"]
