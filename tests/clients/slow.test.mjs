// Readers that take little or nothing hold up nobody, and miss nothing in the end.
import { test } from "node:test";
import { get } from "node:http";
import assert from "node:assert/strict";
import { until } from "../page/browser.mjs";
import { Service, event, events } from "../page/service.mjs";

const EVENTS = 200;
/** More than the buffers of a connection hold: 40 MB in all. */
const PAYLOAD = { text: "x".repeat(200_000) };
/** Who takes nothing is cut off after 30 s. */
const CUT_WITHIN = 45_000;

/** A reader of lines, with the `seq` that it got; `onPiece(answer)` is called with each piece. */
async function reader(service, place, onPiece = () => {}) {
  const found = { seqs: [], hasEnded: false };
  const answer = await new Promise((resolve, reject) => {
    const headers = { accept: "application/x-ndjson", "last-event-id": String(place) };
    get(`${service.url}/stream`, { headers, agent: false }, resolve).on("error", reject);
  });
  let rest = "";
  answer.setEncoding("utf8");
  answer.on("data", (text) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line) found.seqs.push(JSON.parse(line).seq);
    onPiece(answer);
  });
  answer.on("error", () => {}).on("close", () => (found.hasEnded = true));
  return Object.assign(found, { answer, close: () => answer.destroy() });
}

test("a slow reader and a stalled one hold up nobody, and the stalled one is cut off", { timeout: 150_000 }, async () => {
  const service = await Service.start();
  const readers = [];
  try {
    const fast = await reader(service, 0);
    const slow = await reader(service, 0, (answer) => {
      answer.pause();
      setTimeout(() => answer.resume(), 10);
    });
    const stalled = await reader(service, 0);
    readers.push(fast, slow, stalled);
    stalled.answer.pause();
    const streams = async () => Number(/^sekali_in_flight\{what="streams"\} (\d+)$/m.exec(await (await fetch(`${service.url}/metrics`)).text())[1]);
    assert.equal(await streams(), 3);
    const expected = events(EVENTS, (n) => n + 1);
    for (const seq of expected) {
      await service.publish([event("t", `id-${seq}`, PAYLOAD)]);
      await until(`the fast reader has event ${seq}`, () => fast.seqs.at(-1) === seq, 5_000);
    }
    assert.deepEqual(fast.seqs, expected);
    await until("the stalled reader is cut off", async () => (await streams()) === 2, CUT_WITHIN);
    await until("the slow reader has everything", () => slow.seqs.length >= EVENTS, 60_000);
    assert.deepEqual(slow.seqs, expected);
    assert.deepEqual([fast.hasEnded, slow.hasEnded], [false, false]);
    // It finds what it had got, and comes back for the rest.
    stalled.answer.resume();
    await until("it sees that it was cut off", () => stalled.hasEnded);
    assert.ok(stalled.seqs.length < EVENTS, "it got everything without reading");
    const again = await reader(service, stalled.seqs.at(-1) ?? 0);
    readers.push(again);
    await until("the rest", () => stalled.seqs.length + again.seqs.length >= EVENTS);
    assert.deepEqual([...stalled.seqs, ...again.seqs], expected);
  } finally {
    for (const one of readers) one.close();
    await service.stop();
  }
});
