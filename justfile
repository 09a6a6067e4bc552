# One place for every command. `just` lists them.

[private]
default:
    @just --list

# Start the service, e.g. `just run --listen 127.0.0.1:9000`
run *args:
    cargo run --locked -- {{ args }}

# Every check, or with arguments only the tests that match: `just test dedup`
test *args:
    scripts/test {{ args }}

# Let everything fail under load for a while: `just chaos --minutes 30`
chaos *args:
    scripts/chaos {{ args }}

# The page at / in a browser, e.g. `just page stream`
page *args:
    cargo build --locked
    scripts/page {{ args }}

# Clients of the stream: curl, Python, JavaScript, browsers, HAProxy
clients *args:
    cargo build --locked
    scripts/clients {{ args }}

# Pictures of each view of the page
screenshots *args:
    cargo build --locked
    scripts/screenshots {{ args }}

# The commands of the README, as a newcomer would run them
readme:
    cargo build --locked
    scripts/readme

# Format the sources
fmt:
    cargo fmt

# Everything that clippy objects to
lint:
    cargo clippy --locked --all-targets -- -D warnings

# Build the documentation and open it
doc:
    cargo doc --locked --no-deps --open

# Licences, known vulnerabilities and origins of all crates (needs cargo-deny)
deny:
    cargo deny --locked check

# The binary as it is released
build:
    cargo build --locked --release

# The service, Postgres and their image with docker compose, e.g. `just compose --profile cluster up`
compose *args:
    SEKALI_COMMIT=$(git rev-parse HEAD) docker compose {{ args }}

# Prove docker-compose.yml with real containers
compose-smoke:
    scripts/compose-smoke
