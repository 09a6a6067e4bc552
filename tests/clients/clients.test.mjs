// Clients that people have, on one service that is killed and comes back: each gets every event once and in order.
import { after, afterEach, before, test } from "node:test";
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { createServer } from "node:http";
import assert from "node:assert/strict";
import { Browser, until } from "../page/browser.mjs";
import { Service, WITHOUT_POSTGRES, event, events, postgres } from "../page/service.mjs";

const LIMIT = 60_000;
const PYTHON = process.env.CLIENTS_PYTHON ?? "python3";
const file = (name) => new URL(`readers/${name}`, import.meta.url).pathname;

/** A program of the README with its functions, and another use of them. */
function ofReadme(language, use) {
  const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
  const [, block] = new RegExp(`^\`\`\`${language}\n([\\s\\S]*?)^\`\`\``, "m").exec(readme);
  const [functions] = block.split(/^(?:const )?order = /m);
  assert.match(functions, /follow\(after\)/);
  return functions + use;
}

const README_PYTHON = ofReadme("python", `
import sys
SEKALI = sys.argv[1]
for event in follow(0):
    print(json.dumps(event), flush=True)
`);
const README_JAVASCRIPT = ofReadme("js", `
for await (const event of follow(0)) console.log(JSON.stringify(event));
`).replace(/const SEKALI = .*/, "const SEKALI = process.argv[1];");

/** How each is started, for the address of a stream. */
const PROGRAMS = {
  "curl, Server-Sent Events": (url) => [file("curl_events.sh"), url],
  "curl, lines of JSON": (url) => [file("curl_lines.sh"), url],
  "http.client": (url) => [PYTHON, file("read_http_client.py"), url],
  "http.client, HTTP/1.0": (url) => [PYTHON, file("read_http_client.py"), url, "1.0"],
  "httpx-sse": (url) => [PYTHON, file("read_httpx_sse.py"), url],
  "fetch": (url) => ["node", file("fetch.mjs"), url],
  "eventsource": (url) => ["node", file("eventsource.mjs"), url],
};
/** Those of the README know the service, and read everything. */
const README_PROGRAMS = {
  "the README's Python": (url) => [PYTHON, "-c", README_PYTHON, new URL(url).origin],
  "the README's JavaScript": (url) => ["node", "--input-type=module", "--eval", README_JAVASCRIPT, new URL(url).origin],
};

/** A program that prints an event a line. */
class Program {
  lines = [];
  errors = "";

  constructor(name, [command, ...rest]) {
    this.name = name;
    this.process = spawn(command, rest, { stdio: ["ignore", "pipe", "pipe"], detached: true });
    let cut = "";
    this.process.stdout.setEncoding("utf8").on("data", (text) => {
      const lines = (cut + text).split("\n");
      cut = lines.pop();
      this.lines.push(...lines);
    });
    this.process.stderr.setEncoding("utf8").on("data", (text) => (this.errors += text));
    this.process.on("exit", (code) => (this.errors += `it ended with ${code}`));
  }

  received() {
    assert.equal(this.errors, "", this.name);
    return this.lines.map((line) => JSON.parse(line).seq);
  }

  /** It and what it started. */
  stop() {
    process.kill(-this.process.pid);
  }
}

/** EventSource of a browser, in a page of another origin. */
class Page {
  name = "EventSource in Chromium";

  static async open(urls) {
    const html = "<!doctype html><title>reader</title>";
    const server = createServer((_, answer) => answer.writeHead(200, { "content-type": "text/html" }).end(html));
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    const browser = await Browser.start();
    return Object.assign(new Page(), { server, browser, origin: `http://127.0.0.1:${server.address().port}` });
  }

  async follow(url) {
    await this.browser.open(this.origin);
    await this.browser.run((url) => {
      window.got = [];
      window.faults = [];
      window.source = new EventSource(url);
      source.onmessage = ({ data, lastEventId }) => {
        if (!data || String(JSON.parse(data).seq) !== lastEventId) faults.push(`${lastEventId}: ${data}`);
        else got.push(JSON.parse(data).seq);
      };
      source.onerror = () => source.readyState === EventSource.CLOSED && faults.push("it gave up");
    }, url);
  }

  async received() {
    const [got, faults] = await this.browser.run(() => [window.got, window.faults]);
    assert.deepEqual(faults, [], this.name);
    return got;
  }

  async stop() {
    await this.browser.stop();
    this.server.close();
  }
}

let service, page, database = null, readers = [];
before(async () => {
  page = await Page.open();
});
after(() => page.stop());
afterEach(async () => {
  for (const reader of readers) if (reader !== page) reader.stop();
  readers = [];
  await page.browser.leave();
  await service.stop();
  database?.drop();
  database = null;
});

const ids = (from, count, topic = (n) => (n % 3 === 0 ? "some" : "others")) => events(count, (n) => event(topic(from + n), `id-${from + n}`));

/** Waits until each reader has all of these, and no other. */
async function allGot(expected) {
  for (const reader of readers) {
    await until(`${reader.name} got ${expected.length} events`, async () => {
      const got = await reader.received();
      if (got.length < expected.length) throw new Error(`it got ${got.length}, up to ${got.at(-1)}`);
      return true;
    }, LIMIT);
    assert.deepEqual(await reader.received(), expected, reader.name);
  }
}

for (const [what, query, isWanted, programs, skip] of [
  ["everything", "", () => true, { ...PROGRAMS, ...README_PROGRAMS }, false],
  ["one topic", "&topic=some", (seq) => (seq - 1) % 3 === 0, PROGRAMS, false],
  ["everything of Postgres", "", () => true, { ...PROGRAMS, ...README_PROGRAMS }, WITHOUT_POSTGRES],
]) {
  test(`each client gets ${what} once, through kills and stops of the service and signs of life`, { skip }, async () => {
    if (what.endsWith("Postgres")) database = postgres("clients");
    service = await Service.start({ databaseUrl: database?.url, options: ["--cors-origin", page.origin] });
    const wanted = (count) => Array.from({ length: count }, (_, n) => n + 1).filter(isWanted);
    await service.publish(ids(0, 3_000));
    const url = `${service.url}/stream?after=earliest${query}`;
    readers = Object.entries(programs).map(([name, of]) => new Program(name, of(url)));
    await page.follow(url);
    readers.push(page);
    await allGot(wanted(3_000));
    let count = 3_000;
    const publish = async (more) => {
      for (const end = count + more; count < end; count += 100) await service.publish(ids(count, 100));
      await allGot(wanted(count));
    };
    await publish(300);
    for (const signal of ["SIGKILL", "SIGTERM", "SIGKILL"]) {
      // Some come back before there is more, and some find it there.
      await service.kill(signal);
      await service.restart();
      await publish(300);
    }
    await signOfLife(url);
    await publish(300);
  });
}

/** Waits until a stream that begins now has shown that it is alive: those that were open before have done so, too. */
async function signOfLife(url) {
  const stop = new AbortController();
  const answer = await fetch(`${url.replace("earliest", "now")}`, { signal: stop.signal });
  let text = "";
  for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {
    text += piece;
    // Behind the block that says that it has caught up.
    if (/\n\n:\n$/.test(text)) break;
  }
  stop.abort();
}

test("a client of HTTP/1.0 gets a stream that ends with its connection", async () => {
  service = await Service.start();
  await service.publish(ids(0, 2));
  const socket = connect(new URL(service.url).port, "127.0.0.1");
  let text = "";
  socket.setEncoding("utf8").on("data", (piece) => (text += piece));
  socket.write("GET /stream?after=earliest HTTP/1.0\r\n\r\n");
  const ends = (pattern) => until(`the stream ends with ${pattern}`, () => {
    if (!pattern.test(text)) throw new Error(`it is: ${JSON.stringify(text)}`);
    return true;
  });
  await ends(/event: caught-up\n(.+\n)+\n$/);
  await service.publish(ids(2, 1));
  await ends(/id: 3\ndata: .*\n\n$/);
  const [head, body] = text.split("\r\n\r\n");
  assert.match(head, /^HTTP\/1\.[01] 200 OK\r\n/);
  assert.doesNotMatch(head, /transfer-encoding/i);
  assert.match(body, /^id: 1\ndata: \{.*\}\n\nid: 2\ndata: .*\n\nevent: caught-up\n/);
  socket.destroy();
});
