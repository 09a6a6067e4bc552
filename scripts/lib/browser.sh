# What it takes to look at the page in a browser. Sourced by the scripts beside this folder.

. scripts/lib/postgres.sh

prepare_browser() {
  need node nodejs
  need npm
  need chromium
  need chromedriver chromium-driver
  node --eval 'if (Number(process.versions.node.split(".")[0]) < 18) process.exit(1)' \
    || die "the tests of the page need Node 18 or newer; this is $(node --version)."
  npm ci --prefix tests/page --ignore-scripts --no-audit --no-fund --silent
}
