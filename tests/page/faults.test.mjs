// What goes wrong, comes fast, is large, or is meant to harm.
import { after, afterEach, before, test } from "node:test";
import assert from "node:assert/strict";
import { Browser, KEYS, until } from "./browser.mjs";
import { Service, event, events } from "./service.mjs";
import { StandIn } from "./stand_in.mjs";

const SECONDS_OF_LOAD = 12;

let browser, service, standIn;
before(async () => {
  browser = await Browser.start();
});
after(() => browser.stop());
afterEach(async () => {
  await browser.leave();
  await browser.messages();
  standIn?.stop();
  standIn = null;
  await service.stop();
});

const quiet = async (expected = []) =>
  assert.deepEqual(await browser.messages([...await service.absent(), ...expected]), [], "the console has messages");
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

for (const [how, stream] of [["the pages", false], ["a stream", true]]) {
  test(`a thousand events a second are all shown, over ${how}`, async () => {
    service = await Service.start();
    standIn = await StandIn.start(service, { stream });
    await service.publish([event("load", "before")]);
    await browser.open(`${standIn.url}/#events`);
    await browser.says(".status", /^Live/);
    // Every event passes the search, so that each one is looked at.
    const sent = await load(SECONDS_OF_LOAD);
    const count = sent.toLocaleString("en");
    await browser.says(".status", new RegExp(`^Live · ${count} events came`));
    await browser.says(".count", new RegExp(`^${(sent + 1).toLocaleString("en")} of ${(sent + 1).toLocaleString("en")} shown`));
    // What is claimed to be shown is there: every place of the table, from the top to its end.
    for (let top = 0, place = sent + 1; place >= 1;) {
      await browser.run((top) => (document.querySelector(".grid").scrollTop = top), top);
      const seen = await until("rows from here on", async () => {
        const seen = (await rows()).map(seqOf);
        return seen.includes(place) && seen;
      });
      for (const seq of seen) assert.ok(seen.every((other, index) => index === 0 || other === seen[index - 1] - 1), String(seq));
      place = seen.at(-1) - 1;
      top += (sent * 34) / 20;
      if (place > 0) place = sent + 1 - Math.floor(top / 34);
    }
    await quiet();
  });
}

test("a stream that is cut off is taken up again, and nothing is missing or there twice", async () => {
  service = await Service.start();
  standIn = await StandIn.start(service, { stream: true });
  await browser.open(`${standIn.url}/#events`);
  for (let round = 0; round < 3; round += 1) {
    await until("a stream is open", () => standIn.streams.size > 0);
    await service.publish(events(20, (n) => event("t", `id-${round}-${n}`)));
    await browser.says(".status", new RegExp(`${(round + 1) * 20} events came`));
    standIn.cut();
    await service.publish([]).catch(() => {});
  }
  assert.deepEqual((await rows()).map(seqOf).slice(0, 20), events(20, (n) => 60 - n));
  await quiet([/network: .*stream/, /network: .*readyz/]);
});

test("a service that is killed is said to be away, and comes back by itself", async () => {
  service = await Service.start();
  await service.publish(events(5, (n) => event("t", `id-${n}`)));
  await browser.open(`${service.url}/#events`);
  await browser.says(".status", /^Live/);
  const absent = await service.absent();
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
  assert.deepEqual(await browser.messages([...absent, /network: .*ERR_/]), []);
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

test("a key is asked for, kept for the tab, and what it does not allow is disabled", async () => {
  service = await Service.start();
  await service.publish([event("t", "id")]);
  standIn = await StandIn.start(service, { keys: { reader: ["read"], all: ["read", "publish", "admin"] } });
  await browser.open(standIn.url);
  await browser.says("dialog", /A key is needed/);
  await browser.assertAccessible("the question for a key");
  await browser.type("dialog input", `wrong${KEYS.enter}`);
  await browser.says("dialog", /This key is not accepted/);
  await browser.type("dialog input", `reader${KEYS.enter}`);
  await browser.says("#figure-stored", /1\s+1 topic/);
  assert.equal(await browser.run(() => document.querySelector(".send .primary").disabled), true);
  await browser.click("#access");
  await browser.says("dialog", /To send events\s+no\s+To read events and figures\s+yes\s+To change [\s\S]*no/);
  await browser.click("dialog .danger");
  await browser.click("dialog .danger");
  await browser.says("dialog", /A key is needed/);
  await browser.type("dialog input", `all${KEYS.enter}`);
  await until("it may send", () => browser.run(() => !document.querySelector(".send .primary").disabled));
  await browser.click(".send .primary");
  await browser.says(".results", /stored 2/);
  assert.equal(await browser.run(() => localStorage.length + document.cookie.length), 0);
  await browser.messages();
});

test("it works on Postgres, too", { skip: !process.env.TEST_DATABASE_URL && "there is no Postgres" }, async () => {
  const { execFileSync } = await import("node:child_process");
  const psql = (command) => execFileSync(`${process.env.PG_BIN}/psql`, ["--quiet", `--dbname=${process.env.TEST_DATABASE_URL}`, `--command=${command}`]);
  const name = `page_${process.pid}`;
  psql(`CREATE DATABASE ${name}`);
  const url = new URL(process.env.TEST_DATABASE_URL);
  url.pathname = `/${name}`;
  service = await Service.start({ databaseUrl: String(url) });
  await browser.open(service.url);
  await browser.click(".send .primary");
  await browser.says(".results", /stored 1[\s\S]*duplicate of 1/);
  await browser.click(".results a");
  await browser.says(".detail", /Event 1/);
  await quiet();
  await service.kill();
  psql(`DROP DATABASE ${name} WITH (FORCE)`);
});
