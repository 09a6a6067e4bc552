// What goes wrong, comes fast, is large, or is meant to harm.
import { after, afterEach, before, test } from "node:test";
import { copyFileSync } from "node:fs";
import assert from "node:assert/strict";
import { Browser, until } from "./browser.mjs";
import { Relay, Service, WITHOUT_POSTGRES, event, events, postgres } from "./service.mjs";

const SECONDS_OF_LOAD = 30;
/** Events that the page holds at most. */
const HELD_MAX = 20_000;

let browser, service, relay;
before(async () => {
  browser = await Browser.start();
});
after(() => browser.stop());
afterEach(async () => {
  await browser.leave();
  await browser.messages();
  relay?.stop();
  relay = null;
  await service.stop();
});

const quiet = async (expected = []) =>
  assert.deepEqual(await browser.messages(expected), [], "the console has messages");
const rows = () => browser.run(() => Array.from(document.querySelectorAll(".grid-row"), (row) => [Number(row.getAttribute("aria-rowindex")), row.innerText])
  .sort(([a], [b]) => a - b).map(([, text]) => text));
const seqOf = (row) => Number(/[\d,]+/.exec(row)[0].replaceAll(",", ""));

/** A thousand events a second, in requests of fifty. */
async function load(seconds) {
  const begun = Date.now();
  let sent = 0;
  for (; sent < seconds * 1_000; sent += 50) {
    await service.publish(events(50, (n) => event("load", `id-${sent + n}`)));
    const early = begun + sent + 50 - Date.now();
    if (early > 0) await new Promise((resolve) => setTimeout(resolve, early));
  }
  return sent;
}

test("a thousand events a second are all shown, for half a minute", async () => {
  service = await Service.start();
  await service.publish([event("load", "before")]);
  await browser.open(`${service.url}/#events`);
  await browser.says(".status", /^Live/);
  const sent = await load(SECONDS_OF_LOAD);
  await browser.says(".status", new RegExp(`^Live · ${sent.toLocaleString("en")} events came`));
  // What is held is bounded, however long the page is open.
  await browser.says(".count", new RegExp(`^${HELD_MAX.toLocaleString("en")} of ${(sent + 1).toLocaleString("en")} shown`));
  // What is claimed to be shown is there: every place of the table, from the top to its end.
  const newest = sent + 1;
  const height = await browser.run(() => document.querySelector(".grid-row").offsetHeight);
  for (let top = 0; top < HELD_MAX; top += HELD_MAX / 25) {
    await browser.run((top) => (document.querySelector(".grid").scrollTop = top), top * height);
    const seen = await until("rows from here on", async () => {
      const seen = (await rows()).map(seqOf);
      return seen.includes(newest - top) && seen;
    });
    for (const [index, seq] of seen.entries()) assert.ok(index === 0 || seq === seen[index - 1] - 1, String(seen));
  }
  assert.ok((await rows()).length < 100);
  await quiet();
});

test("a stream that is cut off is taken up again, and nothing is missing or there twice", async () => {
  service = await Service.start();
  relay = await Relay.start(service);
  await browser.open(`${relay.url}/#events`);
  for (let round = 0; round < 3; round += 1) {
    await browser.says(".status", /^Live/);
    await service.publish(events(20, (n) => event("t", `id-${round}-${n}`)));
    await browser.says(".status", new RegExp(`${(round + 1) * 20} events came`));
    relay.cut();
    await browser.says(".status", /^Connecting again: /);
  }
  await browser.says(".status", /^Live/);
  assert.deepEqual((await rows()).map(seqOf).slice(0, 20), events(20, (n) => 60 - n));
  await quiet([/network: .*(stream|readyz)/]);
});

test("a service that is killed under load and started again has every event on the page once", async () => {
  service = await Service.start();
  await browser.open(`${service.url}/#events?topic=load`);
  await browser.says(".status", /^Live/);
  for (let round = 0; round < 2; round += 1) {
    await service.publish(events(300, (n) => event("load", `id-${round}-${n}`)));
    await service.kill();
    await service.restart();
  }
  await service.publish(events(300, (n) => event("load", `id-2-${n}`)));
  await browser.says(".status", /^Live · 900 events came/);
  await browser.says(".count", /^900 shown/);
  for (let top = 0; top < 900; top += 20) {
    await browser.run((top) => (document.querySelector(".grid").scrollTop = top * document.querySelector(".grid-row").offsetHeight), top);
    await until("each of them", async () => (await rows()).map(seqOf).includes(900 - top));
  }
  await quiet([/network: .*(stream|readyz)/]);
});

test("a database that was restored is shown as it is now", async () => {
  service = await Service.start();
  const publish = (...ids) => service.publish(ids.map((id) => event("t", id)));
  await publish("kept 1", "kept 2");
  await service.kill("SIGTERM");
  copyFileSync(service.databaseFile, `${service.databaseFile}.older`);
  await service.restart();
  await publish("lost 1", "lost 2", "lost 3");
  await browser.open(`${service.url}/#events`);
  await browser.says(".count", /^5 of 5 shown/);
  await service.kill("SIGTERM");
  copyFileSync(`${service.databaseFile}.older`, service.databaseFile);
  await service.restart();
  await browser.says(".count", /^2 of 2 shown/);
  await publish("new");
  await browser.says(".count", /^3 of 3 shown/);
  assert.deepEqual((await rows()).map((row) => /kept \d|lost \d|new/.exec(row)[0]), ["new", "kept 2", "kept 1"]);
  await quiet([/network: .*(stream|readyz|unavailable)/]);
});

test("a service with as many streams as there may be says so, and goes on when there is room", async () => {
  service = await Service.start({ options: ["--streams-max", "1"] });
  const other = new AbortController();
  await fetch(`${service.url}/stream`, { signal: other.signal });
  await browser.open(`${service.url}/#events`);
  await browser.says(".status", /^Connecting again: .*as many streams/);
  await service.publish([event("t", "meanwhile")]);
  other.abort();
  await browser.says(".status", /^Live · 1 event came/);
  await quiet();
});

test("tabs that nobody looks at leave their connections to others", async () => {
  service = await Service.start();
  await service.publish([event("t", "first")]);
  const first = await browser.call("GET", "/window");
  await browser.open(`${service.url}/#events`);
  await browser.says(".status", /^Live/);
  const tabs = [];
  // A browser has six connections to a service.
  for (let tab = 0; tab < 7; tab += 1) {
    const { handle } = await browser.call("POST", "/window/new", { type: "tab" });
    tabs.push(handle);
    await browser.call("POST", "/window", { handle });
    await browser.open(`${service.url}/#events`);
    await browser.says(".status", /^Live/);
  }
  await service.publish([event("t", "second")]);
  await until("the second event", async () => (await rows())[0].includes("second"));
  for (const handle of tabs) {
    await browser.call("POST", "/window", { handle });
    await browser.call("DELETE", "/window");
  }
  await browser.call("POST", "/window", { handle: first });
  await browser.says(".status", /^Live · 1 event came/);
  await quiet();
});

test("a service that is killed is said to be away, and comes back by itself", async () => {
  service = await Service.start();
  await service.publish(events(5, (n) => event("t", `id-${n}`)));
  await browser.open(`${service.url}/#events`);
  await browser.says(".status", /^Live/);
  await service.kill();
  await browser.says("#banner", /The service does not answer.*For \d+ s/);
  await browser.says(".status", /Connecting again/);
  assert.equal((await rows()).length, 5, "what was shown stays");
  await service.restart();
  await browser.says("#health", /Ready/);
  await until("the banner is gone", () => browser.run(() => document.querySelector("#banner").hidden));
  await service.publish([event("t", "after the restart")]);
  await until("the new event", async () => (await rows())[0].includes("after the restart"));
  assert.equal((await rows()).length, 6);
  // While it starts again it is not ready, and says so.
  assert.deepEqual(await browser.messages([/network: .*ERR_/, /network: .*status of 503/]), []);
});

test("an event of a megabyte is shown in part, and whole when one asks", async () => {
  service = await Service.start();
  const text = `${"long ".repeat(200_000)}end`;
  await service.publish([event("large", "one", { text, after: true }), event("large", "two", { list: Array.from({ length: 60_000 }, (_, n) => n) })]);
  await browser.open(`${service.url}/#events?sel=1`);
  await browser.says(".detail", /977 KiB[\s\S]*"after": true[\s\S]*Show all 1,000,0\d\d characters/);
  await browser.click(".payload .button");
  await until("its end", () => browser.run(() => document.querySelector(".payload").textContent.includes('long end"')));
  await browser.click(".tabs label:nth-child(2)");
  await browser.click(".payload .button");
  await until("the raw text", () => browser.run((length) => document.querySelector(".payload pre").textContent.length > length, text.length));
  await browser.click(".tabs label:nth-child(1)");
  await browser.open(`${service.url}/#events?sel=2`);
  await browser.says(".detail", /Show all 3\d\d,\d{3} characters/);
  await quiet();
});

const HOSTILE = [
  "<script>window.hurt = 1</script>", "<img src=x onerror='window.hurt = 1'>", '"><svg onload="window.hurt=1">',
  "{{constructor.constructor('window.hurt=1')()}}", "javascript:window.hurt=1", "\u202e reversed \u2066", "\u0301\u0301\u0301", "e\u0301".repeat(80),
  "ä".repeat(127), "x".repeat(255), "a\u200bb", "عربي עברית", "👩‍👩‍👧‍👦".repeat(10), "__proto__", "constructor", "'; DROP TABLE events; --", "a&b=c#d?e%20+f", "~0~1/",
];

test("hostile texts are text, in every field and view", async () => {
  service = await Service.start();
  const hostile = HOSTILE.map((text) => ({ ...event(text, text, { [text]: text, nested: { [text]: [text] } }), source: text }));
  await service.publish([...hostile, ...hostile]);
  const unhurt = async (where) => {
    const state = await browser.run(() => [window.hurt ?? null, document.querySelectorAll("main script, main img, main svg:not([role=img])").length]);
    assert.deepEqual(state, [null, 0], where);
  };
  await browser.open(service.url);
  await browser.says(".bars", /50 %/);
  await unhurt("overview");
  await browser.assertAccessible("overview");
  await browser.open(`${service.url}/#topics`);
  await browser.says(".count", new RegExp(`^${HOSTILE.length} topics`));
  await unhurt("topics");
  await browser.assertAccessible("topics");
  await browser.open(`${service.url}/#events`);
  await browser.says(".count", new RegExp(`^${HOSTILE.length} of`));
  for (let seq = 1; seq <= HOSTILE.length; seq += 1) {
    const text = HOSTILE[seq - 1];
    await browser.open(`${service.url}/#events?${new URLSearchParams([["topic", text], ["where", `/source=${text}`], ["col", `/payload/${text.replaceAll("~", "~0").replaceAll("/", "~1")}`], ["sel", seq]])}`);
    await browser.says(".count", /^1 shown/);
    await browser.says(".detail", new RegExp(`Event ${seq}\\b`));
    for (const kind of [3, 2, 1]) await browser.click(`.tabs label:nth-child(${kind})`);
    const shown = await browser.run(() => [document.querySelector(".facts bdi").textContent, document.querySelector(".grid-row [data-column=own]").textContent]);
    assert.deepEqual(shown, [text, text]);
    await unhurt(text);
    await browser.open(`${service.url}/#find?${new URLSearchParams([["id", text]])}`);
    await browser.says(".result", new RegExp(`Event ${seq}\\b`));
    await unhurt(text);
  }
  await browser.assertAccessible("what was found");
  await quiet();
});

test("it works on Postgres, too", { skip: WITHOUT_POSTGRES }, async () => {
  const database = postgres("page");
  service = await Service.start({ databaseUrl: database.url });
  await browser.open(service.url);
  await browser.click(".send .primary");
  await browser.says(".results", /stored 1[\s\S]*duplicate of 1/);
  await browser.click(".results a");
  await browser.says(".detail", /Event 1/);
  await quiet();
  await service.kill();
  database.drop();
});
