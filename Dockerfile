# The image of the service. Any builder makes it, also the classic one:  docker build -t sekali .
#
# RUST_IMAGE     a Rust toolchain of the version in rust-toolchain.toml, with a C compiler
# RUNTIME_IMAGE  glibc no older than the first's, and nothing else: no shell or tool is used at run time
# SEKALI_COMMIT  what `sekali --version` names, for example $(git rev-parse HEAD)
ARG RUST_IMAGE=rust:1.95-bookworm
ARG RUNTIME_IMAGE=debian:bookworm-slim

FROM ${RUST_IMAGE} AS build
WORKDIR /build

# The dependencies are a layer of their own, which stays until Cargo.toml or Cargo.lock change: an empty package with
# the same manifest builds them, and then goes.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src benches/bench \
 && touch src/lib.rs \
 && echo 'fn main() {}' | tee src/main.rs benches/bench/main.rs >build.rs \
 && cargo build --locked --release \
 && cargo clean --locked --release --package sekali

COPY build.rs ./
COPY migrations migrations
COPY src src
ARG SEKALI_COMMIT=
RUN cargo build --locked --release --bin sekali \
 && mkdir -p /image/usr/local/bin /image/etc/ssl/certs /image/data \
 && cp target/release/sekali /image/usr/local/bin/ \
 && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/

FROM ${RUNTIME_IMAGE}
# The authorities that TLS to a Postgres elsewhere is checked against; the slim image has none.
COPY --from=build /image/usr /usr
COPY --from=build /image/etc /etc
# A volume mounted here keeps an SQLite database, and belongs to the user below. With Postgres nothing is written.
COPY --from=build --chown=65532:65532 /image/data /data
COPY LICENSE-APACHE LICENSE-MIT /usr/local/share/doc/sekali/
WORKDIR /data
USER 65532:65532
ENV SEKALI_LISTEN=0.0.0.0:8080
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=3 CMD ["/usr/local/bin/sekali", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/sekali"]
