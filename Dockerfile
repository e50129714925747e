# The container images: `docker build .` makes the service, `docker build --target standalone .` one with a Redis inside.
#
# The service's image is empty but for one static executable, a bundle of CA certificates and the licence: no shell, no
# package manager, no libc to patch. Static glibc and not musl, because the allocator and resolver are then those that every
# test and every number of docs/benchmarks.md was made with; glibc 2.34 and later carries the resolvers for files and DNS inside,
# so host names work without any library in the image (tests/e2e/image.sh proves it).
#
# Both images listen on all interfaces because their environment says so; the program's own default stays loopback. Only the
# callers' port is exposed: `-P` must not publish the operator's.
#
# Limits: bases are named by version, not by digest; whoever rebuilds for production pins them. They are written out, because the
# update bot moves no name that is put together from variables. HEALTHCHECK needs the docker format (buildah: `--format docker`);
# Kubernetes ignores it and has its probes.

FROM docker.io/library/rust:1.95-slim-bookworm AS build
# `dist` is what is shipped; `release` builds in half the time and is a tenth larger.
ARG PROFILE=dist
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
# The dependencies, a layer of their own: as long as the lockfile stays, only our own sources are compiled again. `--target`,
# although it is the host's, keeps the static flag away from procedural macros, which are libraries of the compiler.
RUN mkdir src; echo '//! Empty.' | tee src/lib.rs > src/main.rs; echo 'fn main() {}' >> src/main.rs; \
    host=$(rustc -vV | sed -n 's/^host: //p'); \
    RUSTFLAGS='-C target-feature=+crt-static' \
        cargo build --locked --target "$host" --profile "$PROFILE" --bin collective; \
    rm -r src
COPY deploy/config.example.toml deploy/
COPY migrations migrations
COPY src src
ARG REVISION=
# cargo looks at times of files: ours must be later than the empty ones above, whatever the working copy says. The data
# directory is made here because a later stage has no mkdir; its owner is the user below.
RUN find src -name '*.rs' -exec touch {} +; \
    host=$(rustc -vV | sed -n 's/^host: //p'); \
    rustc=$(rustc -V | cut -d ' ' -f 2); \
    export COLLECTIVE_BUILD_REVISION="$REVISION" COLLECTIVE_BUILD_RUSTC="$rustc"; \
    RUSTFLAGS='-C target-feature=+crt-static' \
        cargo build --locked --target "$host" --profile "$PROFILE" --bin collective; \
    install -D --strip "target/$host/$PROFILE/collective" /out/usr/local/bin/collective; \
    if readelf -d /out/usr/local/bin/collective | grep -q NEEDED; then echo 'the executable is not static'; exit 1; fi; \
    install -D -m 0644 /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ca-certificates.crt; \
    install -d -m 0700 -o 65532 -g 65532 /out/data

# Redis and the libraries it is linked with, without the system around them.
FROM docker.io/library/debian:bookworm-slim AS redis
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# The version is the distribution's newest with all its security fixes; a pinned one would stop the build at the next fix.
# hadolint ignore=DL3008
RUN apt-get update -q; \
    apt-get install -q -y --no-install-recommends redis-server; \
    rm -rf /var/lib/apt/lists/*; \
    mkdir -p /out/usr/bin; \
    cp -L /usr/bin/redis-server /out/usr/bin/; \
    ldd /usr/bin/redis-server | grep -o '/[^ ]*' | while read -r library; do \
        mkdir -p "/out$(dirname "$library")"; \
        cp -L "$library" "/out$library"; \
    done; \
    install -D -m 0644 /usr/share/doc/redis-server/copyright /out/usr/share/doc/redis-server/copyright

FROM scratch AS base
COPY --from=build /out /
COPY LICENSE /LICENSE
ARG VERSION=0.1.0
ARG REVISION=
ARG CREATED=
LABEL org.opencontainers.image.title="The Collective" \
      org.opencontainers.image.description="Shared state over HTTP that stays up when Redis does not" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
ENV PATH=/usr/local/bin:/usr/bin \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    COLLECTIVE_SERVER__BIND=0.0.0.0:8080 \
    COLLECTIVE_OPS__BIND=0.0.0.0:8081 \
    COLLECTIVE_DATA_DIR=/data
USER 65532:65532
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["/usr/local/bin/collective", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/collective"]
CMD ["serve"]

# One container that serves on a bare laptop: `docker run -p 8080:8080 IMAGE`. Its Redis is private to the service, on a unix
# socket in /data; the data lives in that volume. It prints what to paste; the token stays out of the log.
FROM base AS standalone
COPY --from=redis /out /
ENV COLLECTIVE_SERVER__ANNOUNCE=container
VOLUME ["/data"]

# The service, for a Redis of yours (COLLECTIVE_REDIS__URL). Last, so that a plain build makes it.
FROM base AS service
