"""Runs the fenced blocks of README.md in their order, and holds what they print to what stands there.

`sh`      one terminal after the other, with the same environment; stops at the first command that fails
`sh terminal`  follows the log while the next block runs, and ends well at Ctrl-C
`python`  and `js`: publish and read through a gate that loses the first request and refuses the second, so that what they
          do about that is seen as well
`text`    a picture

A comment `→ LINE` is a line that the block prints, below those shown before; `…` in it stands for anything. A block with
`docker` in it is not run here: each of its commands has its place in DOCKER.
"""

import http.server
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

BLOCK_SECONDS_MAX = 60
ADDRESS = "http://127.0.0.1:8080"  # in the README
POSTGRES = "postgres://user:password@host/"  # in the README

# Where scripts/compose-smoke runs a command of the README, or why nothing runs it.
DOCKER = {
    "docker compose up --build -d": ["quietly build aggregator", "quietly up -d"],
    "curl http://localhost:8080/stats": ['service=$(address aggregator 8080)', 'counts "$service"'],
    "docker compose run --rm publisher": ["quietly --profile publisher up -d"],
    "docker compose --profile load up --force-recreate": ["quietly --profile load up -d --force-recreate"],
    "docker compose --profile cluster up -d": ["quietly --profile cluster up -d"],
    "docker compose run --rm publisher simulate --url http://balancer:8081": [
        "compose --profile publisher run --rm -T --no-deps publisher",
        "--url=http://balancer:8081",
    ],
    "docker compose exec storage psql": ["compose exec -T storage psql"],
    "docker compose exec -T storage pg_dump --format=custom > sekali.dump":
        "this script runs pg_dump with its options on a Postgres of its own",
    "docker compose --profile cluster down": ['compose "${everything[@]}" down'],
    "cp .env.example .env": "tests/project/settings.rs holds .env.example to the settings that there are",
    "SEKALI_COMMIT=$(git rev-parse HEAD) docker compose build": ["export SEKALI_COMMIT=", "quietly build aggregator"],
    "docker build -t sekali .": ["quietly build aggregator"],
    "docker run -d --read-only -p 8080:8080 -v sekali:/data sekali": [
        "docker run --detach", "--read-only", "--volume", ":/data",
    ],
}

# What a newcomer has and this script stands in for: cargo starts the service, on a port that is free, and ends the
# one before; curl and sekali find it there; the demonstration pauses for less.
STAND_INS = {
    "bin/cargo": """
        [ "$*" = "run --release" ] || { echo "not in the README: cargo $*" >&2; exit 1; }
        if [ -e service.pid ]; then
          kill -TERM "$(cat service.pid)"
          until grep -q 'stopped; everything in flight was answered' service.log; do sleep 0.05; done
        fi
        SEKALI_LISTEN=127.0.0.1:0 "$SEKALI" 2>service.log &
        echo $! >service.pid
        until grep -q 'ready; data lies in' service.log; do
          kill -0 $! || { cat service.log >&2; exit 1; }
          sleep 0.05
        done
        sed -nE 's/.*listening on (http:[^ ]+).*/\\1/p' service.log | head -n 1 >service.url
    """,
    "bin/curl": """
        "$CURL" --fail "${@//http:\\/\\/127.0.0.1:8080/$(cat service.url)}"
        echo # an answer ends without a line's end
    """,
    "target/release/sekali": """
        export SEKALI_URL=$(cat service.url)
        if [ "$1" = demo ]; then set -- "$@" --pause 100ms; fi
        exec "$SEKALI" "$@"
    """,
    "scripts/test": "",  # is what runs this
}

# What the two programs have to do with events that are wrong.
PROGRAMS = {
    "python": (
        [sys.executable, "-c"],
        """
try:
    publish([{"topic": "orders"}])
    raise SystemExit("a wrong event was not refused")
except urllib.error.HTTPError as problem:
    assert problem.code == 422, problem.code
""",
    ),
    "js": (
        ["node", "--input-type=module", "--eval"],
        """
await publish([{ topic: "orders" }]).then(
  () => { throw new Error("a wrong event was not refused"); },
  (error) => { if (!error.message.includes('"status":422')) throw error; },
);
""",
    ),
}


# What follows the programs, with their own `follow`: nothing is missing or there twice although streams are cut.
FOLLOWED = {
    "python": """
import itertools
seqs = [event["seq"] for event in itertools.islice(follow(13990), 11)]
assert seqs == list(range(13991, 14002)), seqs
""",
    "js": """
const seqs = [];
for await (const { seq } of follow(13990)) if (seqs.push(seq) === 11) break;
if (seqs.some((seq, index) => seq !== 13991 + index)) throw new Error(seqs);
""",
}


class Failure(Exception):
    """The README is not true."""


class Block:
    def __init__(self, language, line, text):
        self.language, self.line, self.text = language, line, text
        self.expected = re.findall(r"^\s*(?:#|//) → (.*)$", text, re.MULTILINE)

    def commands(self):
        """Of a shell's block, without its comments; a line may hold several, joined by `&&`."""
        lines = (re.sub(r"\s+# .*", "", line).strip() for line in self.text.splitlines())
        return [command for line in lines if line and not line.startswith("#") for command in line.split(" && ")]


def blocks(readme):
    found, opened = [], None
    for number, line in enumerate(readme.splitlines(), 1):
        if not line.startswith("```"):
            if opened:
                opened[2].append(line)
        elif opened:
            found.append(Block(opened[0], opened[1], "\n".join(opened[2]) + "\n"))
            opened = None
        else:
            opened = (line[3:], number, [])
    return found


def hold_to(expected, printed):
    """Every line that is shown stands in what was printed, below the one before."""
    lines = iter(printed.splitlines())
    for line in expected:
        pattern = re.compile(".*".join(re.escape(part.strip()) for part in in_one_spacing(line).split("…")))
        if not any(pattern.fullmatch(in_one_spacing(found)) for found in lines):
            raise Failure(f"it does not print: {line}")


def wait_for(what, is_there):
    end = time.monotonic() + BLOCK_SECONDS_MAX / 2
    while not is_there():
        if time.monotonic() > end:
            raise Failure(f"{what}: not within {BLOCK_SECONDS_MAX / 2:.0f} s")
        time.sleep(0.05)


def in_one_spacing(line):
    return re.sub(r"\s+", " ", line).strip()


class Gate(http.server.BaseHTTPRequestHandler):
    """The first publish gets no answer, the second is refused for the moment; all others reach the service. Of each three
    streams one is cut off within its second event, and one is refused for the moment."""

    protocol_version = "HTTP/1.1"
    service, publishes, streams = "", 0, 0

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        Gate.publishes += 1
        if Gate.publishes == 1:
            self.close_connection = True
        elif Gate.publishes == 2:
            self.answer(503, {"retry-after": "1"}, b'{"retryable":true}')
        else:
            self.forward(urllib.request.Request(self.service + self.path, body, {"content-type": "application/json"}))

    def do_GET(self):
        Gate.streams += 1
        if Gate.streams % 3 == 2:
            self.answer(503, {"retry-after": "1"}, b'{"retryable":true}')
        else:
            self.stream(is_cut=Gate.streams % 3 == 1)

    def stream(self, is_cut):
        self.close_connection = True
        headers = {name: value for name, value in self.headers.items() if name.lower() in ("accept", "last-event-id")}
        request = urllib.request.Request(self.service + self.path, headers=headers)
        with urllib.request.urlopen(request, timeout=BLOCK_SECONDS_MAX) as answer:
            self.send_response(answer.status)
            self.send_header("content-type", answer.headers["content-type"])
            self.send_header("connection", "close")
            self.end_headers()
            try:
                for number, line in enumerate(answer):
                    self.wfile.write(line[:20] if is_cut and number == 1 else line)
                    if is_cut and number == 1:
                        return
            except OSError:
                pass  # the reader has what it wants

    def forward(self, request):
        try:
            with urllib.request.urlopen(request, timeout=BLOCK_SECONDS_MAX) as answer:
                self.answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as problem:
            self.answer(problem.code, problem.headers, problem.read())

    def answer(self, status, headers, body):
        self.send_response(status)
        for name in ("content-type", "retry-after"):
            if headers.get(name):
                self.send_header(name, headers[name])
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Newcomer:
    """Somebody with a fresh clone in a folder of their own."""

    def __init__(self, folder, sekali, postgres):
        self.folder, self.postgres = folder, postgres
        for name, script in STAND_INS.items():
            program = folder / name
            program.parent.mkdir(parents=True, exist_ok=True)
            program.write_text("#!/usr/bin/env bash\nset -euo pipefail\n" + script)
            program.chmod(0o755)
        curl = subprocess.run(["bash", "-c", "command -v curl"], capture_output=True, text=True, check=True)
        path = f"{folder / 'bin'}:{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "SEKALI": sekali, "CURL": curl.stdout.strip()}
        self.terminal = None  # that is open, with the block that runs in it
        (folder / "environment").touch()

    def follow(self, block):
        if block.language == "text":
            return
        if block.language == "sh terminal":
            self.open_terminal(block)
            return
        if block.language == "sh":
            text = block.text.replace(POSTGRES, self.postgres)
            program = f"source ./environment\n{text}\nexport -p >environment\n"
            printed = self.run(["bash", "-euo", "pipefail", "-c"], program)
        elif block.language in PROGRAMS:
            printed = self.run_through_the_gate(block)
        else:
            raise Failure(f"a block of `{block.language}` is none of sh, sh terminal, python, js and text")
        hold_to(block.expected, printed)
        if self.terminal:
            self.close_terminal()

    def open_terminal(self, block):
        with open(self.folder / "terminal", "w") as printed:
            process = subprocess.Popen(["bash", "-euo", "pipefail", "-c", f"source ./environment\n{block.text}"],
                                       cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
                                       stdout=printed, stderr=subprocess.STDOUT, start_new_session=True)
        self.terminal = process, block
        service = (self.folder / "service.url").read_text().strip()
        wait_for("a reader of the log", lambda: b'sekali_in_flight{what="streams"} 1\n' in
                 urllib.request.urlopen(f"{service}/metrics", timeout=BLOCK_SECONDS_MAX).read())

    def close_terminal(self):
        (process, block), self.terminal = self.terminal, None
        printed = self.folder / "terminal"
        try:
            wait_for("each line in the other terminal", lambda: printed.read_text().count("\n") >= len(block.expected))
        finally:
            os.killpg(process.pid, signal.SIGINT)
        if process.wait(BLOCK_SECONDS_MAX) != 0:
            raise Failure(f"the other terminal ends with {process.returncode}")
        hold_to(block.expected, printed.read_text())
        if printed.read_text().count("\n") != len(block.expected):
            raise Failure("the other terminal prints more")

    def run_through_the_gate(self, block):
        command, epilogue = PROGRAMS[block.language]
        Gate.service, Gate.publishes, Gate.streams = (self.folder / "service.url").read_text().strip(), 0, 0
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gate) as gate:
            threading.Thread(target=gate.serve_forever, daemon=True).start()
            text = block.text.replace(ADDRESS, f"http://127.0.0.1:{gate.server_port}")
            text += epilogue + FOLLOWED[block.language]
            try:
                printed = self.run(command, text)
            finally:
                gate.shutdown()
        if Gate.streams < 6:
            raise Failure(f"it followed the log {Gate.streams} times: it does not come back as it should")
        if Gate.publishes < 4:
            raise Failure(f"it published {Gate.publishes} times: it does not try again as it should")
        return printed

    def run(self, command, program):
        # Into files: the service outlives its block, and would keep a pipe open.
        with open(self.folder / "printed", "w+") as printed, open(self.folder / "errors", "w+") as errors:
            try:
                ended = subprocess.run([*command, program], cwd=self.folder, env=self.environment,
                                       stdin=subprocess.DEVNULL, stdout=printed, stderr=errors,
                                       timeout=BLOCK_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                raise Failure(f"it takes more than {BLOCK_SECONDS_MAX} s") from None
            if ended.returncode != 0:
                raise Failure(f"it ends with {ended.returncode}")
        return (self.folder / "printed").read_text()

    def shown(self):
        """What the last block printed, for whoever has to find out."""
        files = [self.folder / name for name in ("printed", "errors", "terminal", "service.log")]
        return "\n".join(f"--- {file.name}\n{file.read_text()[-4000:]}" for file in files if file.exists())

    def leave(self):
        if self.terminal:
            os.killpg(self.terminal[0].pid, signal.SIGKILL)
        pid = self.folder / "service.pid"
        if not pid.exists():
            return
        try:
            os.kill(int(pid.read_text()), signal.SIGTERM)
            for _ in range(200):
                if "stopped; everything" in (self.folder / "service.log").read_text():
                    return
                time.sleep(0.05)
            os.kill(int(pid.read_text()), signal.SIGKILL)
        except ProcessLookupError:
            pass  # it had ended by itself


def look_up_docker(found, smoke):
    """Each command of Docker's blocks has its place in the smoke test or a reason, and each place is still there."""
    commands = [command for block in found for command in block.commands()]
    for command in commands:
        if command not in DOCKER:
            raise Failure(f"`{command}` has no place in DOCKER: name where scripts/compose-smoke runs it, or why not")
    for command, place in DOCKER.items():
        if command not in commands:
            raise Failure(f"`{command}` stands in DOCKER and not in the README")
        for part in place if isinstance(place, list) else []:
            if part not in smoke:
                raise Failure(f"`{command}`: scripts/compose-smoke has no `{part}`")
    return len(commands)


def main():
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]  # everything is on this machine
    found = blocks(Path("README.md").read_text())
    of_docker = [block for block in found if block.language == "sh" and "docker" in block.text]
    postgres = os.environ["TEST_DATABASE_URL"].rsplit("/", 1)[0] + "/"
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sekali-readme.") as folder:
        newcomer = Newcomer(Path(folder), sys.argv[1], postgres)
        where = "README.md"
        try:
            count = look_up_docker(of_docker, Path("scripts/compose-smoke").read_text())
            for block in found:
                where = f"README.md:{block.line}"
                if block not in of_docker:
                    block_begun = time.monotonic()
                    newcomer.follow(block)
                    print(f"{where}: {block.language}, {time.monotonic() - block_begun:.1f} s")
        except Failure as failure:
            print(newcomer.shown(), file=sys.stderr)
            sys.exit(f"{where}: {failure}")
        finally:
            newcomer.leave()
    shown = sum(len(block.expected) for block in found)
    print(f"{len(found)} blocks, {shown} lines shown in them, {count} commands of Docker: all true, "
          f"in {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
