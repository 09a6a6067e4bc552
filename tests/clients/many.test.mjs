// As many readers as the project promises to hold.
import { test } from "node:test";
import { connect } from "node:net";
import assert from "node:assert/strict";
import { until } from "../page/browser.mjs";
import { Service, event } from "../page/service.mjs";

const READERS = 10_000;
/** Connections that are being opened at a time. */
const AT_ONCE = 100;
const LIMIT = 60_000;
/** Of the stream: its name, its id, and the rest. */
const BLOCK = /^(event: .*\n)?id: (\d+)\n(?:.+\n)+\n/m;

test("each of 10,000 idle readers gets an event", { timeout: 3 * LIMIT }, async () => {
  const service = await Service.start({ options: ["--connections-max", "11000", "--streams-max", "10500", "--peer-share-exempt", "127.0.0.1"] });
  const { port } = new URL(service.url);
  const sockets = [];
  const counts = { caughtUp: 0, events: 0, faults: [] };
  const open = () => new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1");
    sockets.push(socket);
    let text = "";
    let place = 0;
    socket.setEncoding("latin1").on("data", (piece) => {
      text += piece;
      // A block may come with signs of life around it.
      for (let found; (found = BLOCK.exec(text)); text = text.slice(found.index + found[0].length)) {
        if (found[1] === "event: caught-up\n") {
          counts.caughtUp += 1;
          resolve();
        } else if (Number(found[2]) === place + 1) {
          place += 1;
          counts.events += 1;
        } else counts.faults.push(found[0]);
      }
    });
    socket.on("error", reject).on("close", () => counts.faults.push(`it ended: ${text}`));
    socket.write("GET /stream HTTP/1.1\r\nHost: sekali\r\n\r\n");
  });
  try {
    const begun = Date.now();
    const openSome = async () => {
      while (sockets.length < READERS) await open();
    };
    await Promise.all(Array.from({ length: AT_ONCE }, openSome));
    assert.equal(counts.caughtUp, READERS);
    assert.ok(Date.now() - begun < LIMIT, `opening took ${Date.now() - begun} ms`);
    for (let round = 1; round <= 3; round += 1) {
      await service.publish([event("t", `id-${round}`)]);
      await until(`all got event ${round}`, () => {
        if (counts.events < round * READERS) throw new Error(JSON.stringify({ ...counts, faults: counts.faults.slice(0, 3) }));
        return true;
      }, LIMIT);
      assert.equal(counts.events, round * READERS);
    }
    assert.deepEqual(counts.faults, []);
    const metrics = await (await fetch(`${service.url}/metrics`)).text();
    assert.match(metrics, new RegExp(`^sekali_in_flight\\{what="streams"\\} ${READERS}$`, "m"));
  } finally {
    for (const socket of sockets) socket.removeAllListeners("close").destroy();
    await service.stop();
  }
});
