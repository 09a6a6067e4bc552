// A service of the built binary on a free port, with a database of its own, and events to send.
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import assert from "node:assert/strict";
import { until } from "./browser.mjs";

const SEKALI = process.env.SEKALI_BINARY ?? new URL("../../target/debug/sekali", import.meta.url).pathname;

export class Service {
  /**
   * `databaseUrl`: another database than SQLite in a folder that goes with the service. `options`: further ones of
   * `sekali serve`. `keys`: those that there are, as `{ name: options of "sekali key new" }`.
   */
  static async start({ databaseUrl, options = [], keys } = {}) {
    const service = new Service();
    service.folder = mkdtempSync(join(tmpdir(), "sekali-test-"));
    service.databaseUrl = databaseUrl ?? `sqlite://${join(service.folder, "events.db")}`;
    service.options = options;
    service.keys = {};
    for (const name in keys) service.keys[name] = service.command("key", "new", name, "--api-keys", service.keyFile, ...keys[name]).trim();
    if (keys) service.options = [...options, "--api-keys", service.keyFile];
    await service.serve(0);
    return service;
  }

  get keyFile() {
    return join(this.folder, "keys");
  }

  get databaseFile() {
    return join(this.folder, "events.db");
  }

  /** Runs a command of `sekali`; what it prints. */
  command(...words) {
    return execFileSync(SEKALI, words, { encoding: "utf8" });
  }

  /** Takes a key back, and has the service read the file again. */
  async revoke(name) {
    this.command("key", "revoke", name, "--api-keys", this.keyFile);
    this.process.kill("SIGHUP");
    await until(`${name} is not taken any more`, async () =>
      (await fetch(`${this.url}/stats`, { headers: { authorization: `Bearer ${this.keys[name]}` } })).status === 401);
  }

  async serve(port) {
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(SEKALI_|DATABASE_URL$)/.test(name)));
    this.process = spawn(SEKALI, ["serve", "--listen", `127.0.0.1:${port}`, "--database-url", this.databaseUrl, ...this.options], {
      env, stdio: ["ignore", "ignore", "pipe"],
    });
    this.exit = new Promise((resolve) => this.process.on("exit", resolve));
    let log = "";
    this.process.stderr.on("data", (data) => (log += data));
    this.url = await until("the service listens", () => /listening on (http:\/\/127\.0\.0\.1:\d+)/.exec(log)?.[1]);
    await until("the service is ready", async () => (await fetch(`${this.url}/readyz`)).ok);
  }

  async kill(signal = "SIGKILL") {
    this.process.kill(signal);
    await this.exit;
  }

  /** Starts it again where it was. */
  async restart() {
    await this.serve(new URL(this.url).port);
  }

  async stop() {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** A request that must succeed; its answer. */
  async send(method, path, value) {
    const response = await fetch(this.url + path, {
      method, headers: { "content-type": "application/json", ...this.authorization }, body: value && JSON.stringify(value),
    });
    const answer = await response.json();
    assert.ok(response.ok, `${method} ${path}: ${JSON.stringify(answer).slice(0, 1000)}`);
    return answer;
  }

  async publish(events, namespace = "default") {
    const path = namespace === "default" ? "/publish" : `/namespaces/${namespace}/publish`;
    return (await this.send("POST", path, events)).results;
  }

  async get(path) {
    const response = await fetch(this.url + path, { headers: this.authorization });
    assert.ok(response.ok, `${path}: ${response.status}`);
    return response.json();
  }

  /** Of the requests that tests send. */
  get authorization() {
    return this.keys.all ? { authorization: `Bearer ${this.keys.all}` } : {};
  }
}

/** Why tests leave Postgres out; false where there is one. */
export const WITHOUT_POSTGRES = !process.env.TEST_DATABASE_URL && "there is no TEST_DATABASE_URL";

/** A new database on the Postgres at TEST_DATABASE_URL. */
export function postgres(name) {
  const psql = (command) => execFileSync(`${process.env.PG_BIN}/psql`, ["--quiet", `--dbname=${process.env.TEST_DATABASE_URL}`, `--command=${command}`]);
  const database = `${name}_${process.pid}`;
  psql(`CREATE DATABASE ${database}`);
  const url = new URL(process.env.TEST_DATABASE_URL);
  url.pathname = `/${database}`;
  return { url: String(url), drop: () => psql(`DROP DATABASE ${database} WITH (FORCE)`) };
}

/** Passes connections on to a service, and cuts them off when it is told to. */
export class Relay {
  static async start(service) {
    const relay = Object.assign(new Relay(), { sockets: new Set() });
    relay.server = createServer((client) => {
      const there = connect(new URL(service.url).port, "127.0.0.1");
      client.pipe(there).pipe(client);
      for (const [socket, other] of [[client, there], [there, client]]) {
        relay.sockets.add(socket);
        socket.on("error", () => {}).on("close", () => (relay.sockets.delete(socket), other.destroy()));
      }
    });
    await new Promise((resolve) => relay.server.listen(0, "127.0.0.1", resolve));
    relay.url = `http://127.0.0.1:${relay.server.address().port}`;
    return relay;
  }

  cut() {
    for (const socket of this.sockets) socket.destroy();
  }

  stop() {
    this.server.close();
    this.cut();
  }
}

export function event(topic, event_id, payload = { of: event_id }) {
  return { topic, event_id, timestamp: "2026-06-18T12:00:00.123456Z", source: "test", payload };
}

export const events = (count, of) => Array.from({ length: count }, (_, index) => of(index));
