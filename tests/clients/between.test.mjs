// What stands between clients and the service: HAProxy as compose/haproxy.cfg sets it up.
import { after, afterEach, before, test } from "node:test";
import { spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import assert from "node:assert/strict";
import { until } from "../page/browser.mjs";
import { Service, event, events } from "../page/service.mjs";

/** In place of 75 s: just longer than a stream is silent, so that a few seconds show what else takes minutes. */
const TIMEOUT_SECONDS = 12;
const SILENT_SECONDS = 2 * TIMEOUT_SECONDS;

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** The project's configuration with other addresses, and times that are shorter. */
function configuration(port, servicePort) {
  const text = readFileSync(new URL("../../compose/haproxy.cfg", import.meta.url), "utf8");
  const replace = (text, pattern, by) => {
    assert.match(text, pattern);
    return text.replace(pattern, by);
  };
  let adapted = replace(text, /bind :8081/, `bind 127.0.0.1:${port}`);
  for (const side of ["client", "server"]) adapted = replace(adapted, new RegExp(`timeout ${side} 75s`), `timeout ${side} ${TIMEOUT_SECONDS}s`);
  adapted = replace(adapted, / resolvers docker init-addr last,libc,none/, "");
  adapted = replace(adapted, /resolvers docker\n(    .*\n)+/, "");
  return replace(adapted, /( {4}server .*\n)+/, `    server aggregator 127.0.0.1:${servicePort}\n`);
}

let service, proxy, url;
before(async () => {
  service = await Service.start();
  const port = await freePort();
  const file = join(service.folder, "haproxy.cfg");
  writeFileSync(file, configuration(port, new URL(service.url).port));
  proxy = spawn("haproxy", ["-db", "-f", file], { stdio: ["ignore", "ignore", "inherit"] });
  url = `http://127.0.0.1:${port}`;
  await until("HAProxy passes requests on", async () => (await fetch(`${url}/readyz`)).ok);
});
after(async () => {
  proxy.kill("SIGKILL");
  await service.stop();
});

/** A stream through HAProxy, what came of it, and how many signs of life. */
async function follow(place, format) {
  const stop = new AbortController();
  const answer = await fetch(`${url}/stream`, { headers: { accept: format, "last-event-id": String(place) }, signal: stop.signal });
  assert.equal(answer.status, 200);
  const stream = { text: "", hasEnded: false, close: () => stop.abort() };
  const read = async () => {
    for await (const text of answer.body.pipeThrough(new TextDecoderStream())) stream.text += text;
  };
  read().catch(() => {}).finally(() => (stream.hasEnded = true));
  return stream;
}

let streams = [];
afterEach(() => {
  for (const stream of streams.splice(0)) stream.close();
});

test("streams outlive the time limits of HAProxy, since they are never silent for so long", async () => {
  const { seq } = (await service.publish([event("t", "before")]))[0];
  streams = [await follow(seq, "text/event-stream"), await follow(seq, "application/x-ndjson")];
  const begun = Date.now();
  const signs = ({ text }) => text.split("\n").filter((line) => line === ":" || line === "").length;
  await until("signs of life for long enough", () => {
    assert.deepEqual(streams.map(({ hasEnded }) => hasEnded), [false, false]);
    return Date.now() - begun > SILENT_SECONDS * 1_000 && streams.every((stream) => signs(stream) >= 2);
  }, (SILENT_SECONDS + 20) * 1_000);
  await service.publish([event("t", "after the silence")]);
  await until("the event on both", () => streams.every(({ text }) => text.includes("after the silence")));
});

test("a silent connection is cut by HAProxy within these time limits", async () => {
  // So that the test above shows something: a wait is silent.
  const begun = Date.now();
  const { seq } = (await service.publish([event("t", "newest")]))[0];
  const answer = await fetch(`${url}/events?after=${seq}&wait=40`);
  assert.equal(answer.status, 504);
  assert.equal((await answer.json()).retryable, true);
  assert.ok(Date.now() - begun < 2 * TIMEOUT_SECONDS * 1_000);
});

test("a reader waits for an event through HAProxy", async () => {
  const { seq } = (await service.publish([event("t", "the last one")]))[0];
  const waiting = fetch(`${url}/events?after=${seq}&wait=10`);
  const empty = await fetch(`${url}/events?after=${seq + 1}&wait=1`);
  assert.deepEqual([await empty.json(), empty.headers.get("sekali-head")], [[], String(seq)]);
  await service.publish([event("t", "the next one")]);
  const found = await (await waiting).json();
  assert.deepEqual(found.map(({ event_id }) => event_id), ["the next one"]);
});

test("a stream through HAProxy is taken up again where it was when the service was killed", async () => {
  const [first] = await service.publish([event("t", "kill 0")]);
  let place = first.seq;
  for (let round = 1; round <= 2; round += 1) {
    const stream = await follow(place, "text/event-stream");
    streams.push(stream);
    await service.publish(events(50, (n) => event("t", `kill ${round}-${n}`)));
    const seqs = () => Array.from(stream.text.matchAll(/^id: (\d+)\ndata: .*\n\n/gm), ([, seq]) => Number(seq));
    await until("the events", () => seqs().length === 50);
    assert.deepEqual(seqs(), events(50, (n) => place + 1 + n));
    place += 50;
    await service.kill();
    await until("the stream has ended", () => stream.hasEnded);
    await service.restart();
    await until("HAProxy knows that it is back", async () => (await fetch(`${url}/readyz`)).ok);
  }
});
