# Two stages: the first compiles, the second runs as nobody special and has no compiler.
FROM debian:12-slim AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-venv python3-dev gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY requirements.lock ./
RUN python3 -m venv /opt/corvus \
 && /opt/corvus/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements.lock
COPY pyproject.toml setup.py README.md LICENSE ./
COPY corvus_proxy ./corvus_proxy
RUN /opt/corvus/bin/pip install --no-cache-dir --no-deps .

FROM debian:12-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --home-dir /var/lib/corvus --create-home --shell /usr/sbin/nologin corvus
COPY --from=build /opt/corvus /opt/corvus
ENV PATH=/opt/corvus/bin:$PATH PYTHONUNBUFFERED=1
USER corvus
WORKDIR /var/lib/corvus
VOLUME /var/lib/corvus
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/readyz', timeout=2)"]
# The whole service, or one role: `docker run IMAGE gateway --config /etc/corvus.toml`.
ENTRYPOINT ["corvus"]
CMD ["up", "--host", "0.0.0.0", "--state", "/var/lib/corvus/state"]
