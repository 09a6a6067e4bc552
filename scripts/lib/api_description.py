"""What scripts/api-description runs: a service, some data in it, and schemathesis in front of it."""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid

import jsonschema_rs

SECONDS = 30  # for all requests to one store
SECONDS_MAX = 180
# Streams do not end. tests/api/stream.rs has them.
STREAMS = r"/stream$"
CHECKS = [
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "unsupported_method", "allow_header_conformance", "ignored_auth",
]


def key_of(sekali, folder):
    command = [sekali, "key", "new", "all", "--scope", "publish,read,admin", "--api-keys", f"{folder}/keys"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@contextlib.contextmanager
def service(sekali, folder, database):
    """The address of a service that runs until the end of the block."""
    command = [sekali, "serve", "--listen", "127.0.0.1:0", "--database-url", database, "--wait-max", "1s",
               "--api-keys", f"{folder}/keys", "--write-connections", "1", "--read-connections", "2"]
    with open(f"{folder}/log", "w+") as log:
        process = subprocess.Popen(command, stderr=log, stdout=log, env={"PATH": os.environ["PATH"]})
        try:
            yield address_of(process, folder)
            if process.poll() is not None:
                raise RuntimeError(f"the service has ended:\n{read(folder)}")
            if "panic" in read(folder):
                raise RuntimeError(f"the service has panicked:\n{read(folder)}")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)


def read(folder):
    return pathlib.Path(f"{folder}/log").read_text()


def address_of(process, folder):
    until = time.monotonic() + 30
    while time.monotonic() < until and process.poll() is None:
        if found := re.search(r"listening on (http://\S+)", read(folder)):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{found[1]}/readyz", timeout=5):
                return found[1]
        time.sleep(0.05)
    raise RuntimeError(f"the service did not start:\n{read(folder)}")


class Client:
    def __init__(self, url, key):
        self.url, self.key = url, key

    def __call__(self, method, path, body=None):
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or "null")


def conform(document, name, value):
    """The value, which must be as the description says."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    for fault in jsonschema_rs.Draft202012Validator(schema).iter_errors(value):
        raise RuntimeError(f"{name} is not as described: {fault}\n{json.dumps(value)}")
    return value


def fill(client, document):
    """What the examples of the description name, in each state that has fields of its own."""
    for path in ["", "/namespaces/shop"]:
        if path:
            client("PUT", path, {})
        events = [{"topic": "orders", "event_id": f"order-{n}", "timestamp": "2026-06-18T12:00:00Z", "source": "shop",
                   "payload": {"total": 9.9}} for n in range(10, 20)]
        conform(document, "Published", client("POST", f"{path}/publish", events + events[:1]))
        for name, settings in [("billing", {}), ("parts", {"partitions": 4, "partition_by": "topic"}), ("fails", {"max_deliveries": 1})]:
            client("PUT", f"{path}/subscriptions/{name}", {"after": "earliest", **settings})
        lease = conform(document, "Lease", client("POST", f"{path}/subscriptions/parts/lease?worker=a"))
        renewal = {"lease": lease["lease"], "result": "renew"}
        conform(document, "Acknowledged", client("POST", f"{path}/subscriptions/parts/ack", renewal))
        while not client("GET", f"{path}/subscriptions/fails")["parked"]:
            lease = client("POST", f"{path}/subscriptions/fails/lease?limit=1")["lease"]
            client("POST", f"{path}/subscriptions/fails/ack", {"lease": lease, "result": "reject"})
        for schema, address in [("Subscriptions", "/subscriptions"), ("ParkedEvents", "/subscriptions/fails/parked"),
                                ("Stats", "/stats"), ("Topics", "/topics"), ("Events", "/events")]:
            found = conform(document, schema, client("GET", path + address))
            assert found, f"nothing is at {path}{address}"
        conform(document, "Namespaces", client("GET", "/namespaces"))


def strict(document):
    """The same description, in which an answer has no field that is not named."""
    schemas = document["components"]["schemas"]
    waiting, seen = [document["paths"][path][method]["responses"] for path in document["paths"]
                     for method in document["paths"][path] if method != "parameters"], set()
    waiting.append(document["components"]["responses"])
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            name = value.get("$ref", "").removeprefix("#/components/schemas/")
            if name in schemas and name not in seen:
                seen.add(name)
                waiting.append(schemas[name])
            if value.get("type") == "object" and isinstance(value.get("properties"), dict):
                value.setdefault("additionalProperties", False)
            waiting.extend(value.values())
    assert {"StoredEvent", "Problem", "Node", "Lease"} <= seen, seen
    return document


def prove(sekali, name, database, seed):
    with tempfile.TemporaryDirectory(prefix="sekali-description.") as folder:
        key = key_of(sekali, folder)
        with service(sekali, folder, database.format(folder=folder)) as url:
            client = Client(url, key)
            document = strict(client("GET", "/openapi.json"))
            fill(client, document)
            pathlib.Path(f"{folder}/openapi.json").write_text(json.dumps(document))
            schemathesis = pathlib.Path(sys.executable).with_name("schemathesis")
            # One worker: what makes up the requests is not safe for threads, and fails once in a while with several.
            command = [schemathesis, "run", f"{folder}/openapi.json", "--url", url, "--header", f"Authorization: Bearer {key}",
                       "--exclude-path-regex", STREAMS, "--checks", ",".join(CHECKS), "--seed", seed, "--workers", "1",
                       "--max-examples", "20", "--max-time", str(SECONDS), "--generation-database", "none", "--no-color",
                       "--request-timeout", "10", "--warnings", "off", "--suppress-health-check", "all"]
            print(f"--- on {name}", flush=True)
            if subprocess.run(command, timeout=SECONDS_MAX, cwd=folder).returncode != 0:
                raise RuntimeError(f"the service on {name} does not answer as it is described")


def main():
    sekali, seed = os.path.realpath(sys.argv[1]), sys.argv[2]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begun = time.monotonic()
    prove(sekali, "SQLite", "sqlite://{folder}/sekali.db", seed)
    if server := os.environ.get("TEST_DATABASE_URL"):
        database = f"description_{uuid.uuid4().hex}"
        psql = [os.path.join(os.environ.get("PG_BIN", ""), "psql"), "--quiet", f"--dbname={server}"]
        subprocess.run([*psql, f"--command=CREATE DATABASE {database}"], check=True)
        try:
            prove(sekali, "Postgres", f"{server.rsplit('/', 1)[0]}/{database}", seed)
        finally:
            subprocess.run([*psql, f"--command=DROP DATABASE {database} WITH (FORCE)"], check=True)
    print(f"the service answers as it is described; {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    try:
        main()
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired, RuntimeError) as error:
        sys.exit(str(error))
