// A service of the built binary on a free port, with a database of its own, and events to send.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import assert from "node:assert/strict";
import { until } from "./browser.mjs";

const SEKALI = process.env.SEKALI_BINARY ?? new URL("../../target/debug/sekali", import.meta.url).pathname;

export class Service {
  /** `databaseUrl`: another database than SQLite in a folder that goes with the service. */
  static async start({ databaseUrl, port = 0 } = {}) {
    const service = new Service();
    service.folder = mkdtempSync(join(tmpdir(), "sekali-page-"));
    service.databaseUrl = databaseUrl ?? `sqlite://${join(service.folder, "events.db")}`;
    await service.serve(port);
    return service;
  }

  async serve(port) {
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(SEKALI_|DATABASE_URL$)/.test(name)));
    this.process = spawn(SEKALI, ["serve", "--listen", `127.0.0.1:${port}`, "--database-url", this.databaseUrl], {
      env, stdio: ["ignore", "ignore", "pipe"],
    });
    this.exit = new Promise((resolve) => this.process.on("exit", resolve));
    let log = "";
    this.process.stderr.on("data", (data) => (log += data));
    this.url = await until("the service listens", () => /listening on (http:\/\/127\.0\.0\.1:\d+)/.exec(log)?.[1]);
    await until("the service is ready", async () => (await fetch(`${this.url}/readyz`)).ok);
  }

  async kill() {
    this.process.kill("SIGKILL");
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
      method, headers: { "content-type": "application/json" }, body: value && JSON.stringify(value),
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
    const response = await fetch(this.url + path);
    assert.ok(response.ok, `${path}: ${response.status}`);
    return response.json();
  }

  /** What this version does not have yet: the console of a browser names each address that is not there. */
  async absent() {
    const paths = ["/stream", "/subscriptions"];
    const states = await Promise.all(paths.map(async (path) => {
      const stop = new AbortController();
      const { status } = await fetch(this.url + path, { signal: stop.signal });
      stop.abort();
      return status;
    }));
    return paths.filter((_, index) => states[index] === 404).map((path) => new RegExp(`network: .*${path}\\b.*404`));
  }
}

export function event(topic, event_id, payload = { of: event_id }) {
  return { topic, event_id, timestamp: "2026-06-18T12:00:00.123456Z", source: "test", payload };
}

export const events = (count, of) => Array.from({ length: count }, (_, index) => of(index));
