# A private Postgres for as long as a script lives. Sourced by the scripts beside this folder.

POSTGRES_MAJOR_MIN=15
work='' # the private cluster's folder

heading() { printf '\n==> %s\n' "$*"; }
die() { printf '%s: %s\n' "$0" "$*" >&2; exit 1; }

apt_install() {
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    die "$1 is missing and cannot be installed from here (that takes root and apt-get): please install it."
  fi
  heading "Installing $1"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" </dev/null >/dev/null
}

# need PROGRAM [PACKAGES…]: installs a program where it is missing.
need() { command -v "$1" >/dev/null || apt_install "${@:$(($# > 1 ? 2 : 1))}"; }

major_version() { "$1/postgres" --version 2>/dev/null | sed -nE 's/^postgres \(PostgreSQL\) ([0-9]+).*/\1/p'; }

# Prints the folder of usable server programs: the one asked for, the newest of Debian's, or the one in PATH.
find_server_programs() {
  local bin major
  while read -r bin; do
    if [ ! -x "$bin/initdb" ] || [ ! -x "$bin/pg_ctl" ]; then continue; fi
    major=$(major_version "$bin")
    if [ "${major:-0}" -ge "$POSTGRES_MAJOR_MIN" ]; then
      printf '%s\n' "$bin"
      break
    fi
  done < <(
    printf '%s\n' "${PG_BIN:-}"
    printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV
    pg_config --bindir 2>/dev/null
  )
}

install_server_programs() {
  # Debian's packaging starts a cluster on installation unless this file says otherwise.
  local conf=/etc/postgresql-common/createcluster.conf
  if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null && [ ! -e "$conf" ]; then
    mkdir -p "${conf%/*}"
    echo 'create_main_cluster = false' >"$conf"
  fi
  apt_install postgresql
}

# The server refuses to run as root, and its user may not be allowed into the current folder.
as_server_user() (
  cd "${work:-/}"
  if [ -z "${PG_OS_USER:-}" ]; then
    "$@"
  elif command -v setpriv >/dev/null; then
    setpriv --reuid="$PG_OS_USER" --regid="$PG_OS_USER" --init-groups -- "$@"
  else
    runuser -u "$PG_OS_USER" -- "$@"
  fi
)

# Starts a cluster with default durability; lines of configuration may be given.
start_cluster() {
  heading "Starting a private Postgres $(major_version "$PG_BIN")"
  work=$(mktemp -d "${TMPDIR:-/tmp}/sekali-test.XXXXXX")
  chmod 755 "$work"
  # TMPDIR may be closed to the server's user, or too long for the path of a socket; /tmp is neither.
  if [ ${#work} -gt 80 ] || ! as_server_user test -x "$work" 2>/dev/null; then
    rmdir "$work"
    work=$(mktemp -d /tmp/sekali-test.XXXXXX)
    chmod 755 "$work"
  fi
  if [ -n "${PG_OS_USER:-}" ]; then chown "$PG_OS_USER" "$work"; fi

  # --no-sync is about initdb only; the server itself keeps its default durability, which tests rely on.
  as_server_user "$PG_BIN/initdb" --no-sync --pgdata="$work/data" --username=postgres --auth=trust \
    --encoding=UTF8 --locale=C >"$work/initdb.log" 2>&1 || { cat "$work/initdb.log"; die "initdb failed."; }
  cat >>"$work/data/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1'
unix_socket_directories = '$work'
max_connections = 300
${1:-}
CONF

  # Binding is the only sure test of a free port. The range lies below the one of outgoing connections.
  local port
  for _ in 1 2 3 4 5; do
    port=$((20000 + RANDOM % 12000))
    if as_server_user "$PG_BIN/pg_ctl" -D "$work/data" -l "$work/server.log" -o "-p $port" -w start \
      >"$work/start.log" 2>&1 </dev/null; then
      unset PGHOST PGPORT PGUSER PGPASSWORD PGDATABASE PGSSLMODE PGOPTIONS PGDATA
      export TEST_DATABASE_URL="postgres://postgres@127.0.0.1:$port/postgres"
      echo "$TEST_DATABASE_URL"
      return
    fi
  done
  cat "$work/start.log" "$work/server.log" 2>/dev/null || true
  die "Postgres did not start; its log is above."
}

# Whether Citus is installed for the server programs.
has_citus() {
  [ -n "${PG_BIN:-}" ] || return 1
  local root=${PG_BIN%/bin} shared
  # Debian keeps a version's files apart, in /usr/share/postgresql/15 for /usr/lib/postgresql/15/bin.
  for shared in "$root/share" "$root/share/postgresql" "${root/\/lib\///share/}"; do
    if [ -e "$shared/extension/citus.control" ]; then return; fi
  done
  return 1
}

# Finds the server programs, or installs them where no server is given either, and the user to run them as.
prepare_server_programs() {
  if [ "$(id -u)" -eq 0 ]; then export PG_OS_USER="${PG_OS_USER:-postgres}"; else unset PG_OS_USER; fi
  PG_BIN=$(find_server_programs)
  if [ -z "$PG_BIN" ] && [ -z "${TEST_DATABASE_URL:-}" ]; then
    heading "No Postgres $POSTGRES_MAJOR_MIN or newer here, and no TEST_DATABASE_URL"
    install_server_programs
    PG_BIN=$(find_server_programs)
    [ -n "$PG_BIN" ] || die "Postgres $POSTGRES_MAJOR_MIN or newer is needed: install it or set TEST_DATABASE_URL."
  fi
  if [ -n "$PG_BIN" ]; then
    export PG_BIN
    if [ -n "${PG_OS_USER:-}" ] && ! id "$PG_OS_USER" >/dev/null 2>&1; then
      useradd --system --user-group --no-create-home --shell /usr/sbin/nologin "$PG_OS_USER"
    fi
  else
    unset PG_BIN
    heading "No Postgres server programs here: tests that start servers of their own cannot pass"
  fi
}

# Stops the private cluster and removes all that it left.
stop_cluster() {
  if [ -n "$work" ]; then
    if [ -f "$work/data/postmaster.pid" ]; then
      as_server_user "$PG_BIN/pg_ctl" -D "$work/data" -m immediate -w stop >/dev/null || true
    fi
    rm -rf "$work"
  fi
}
