// Each view, against a running service with real events.
import { after, afterEach, before, test } from "node:test";
import assert from "node:assert/strict";
import { Browser, KEYS, until } from "./browser.mjs";
import { Service, event, events } from "./service.mjs";

let browser, service;
before(async () => {
  browser = await Browser.start();
});
after(() => browser.stop());
afterEach(async () => {
  await browser.size(1280, 800);
  await browser.leave();
  const messages = await browser.messages();
  await service.stop();
  assert.deepEqual(messages, [], "the console has messages");
});

/** Rows of the table that exist, as their texts. */
const rows = () => browser.run(() => Array.from(document.querySelectorAll(".grid-row"), (row) => [row.getAttribute("aria-rowindex"), row.innerText])
  .sort(([a], [b]) => a - b).map(([, text]) => text));

test("an empty service lets one send an event twice, and find it again", async () => {
  service = await Service.start();
  await browser.open(service.url);
  assert.equal(await browser.run(() => document.querySelector(".overview").firstElementChild.nextElementSibling.className), "card send-card");
  await browser.says(".send-card", /Send the first event, twice/);
  await browser.says(".command", /curl -X POST .*"topic":"orders".*\/publish'/);
  await browser.assertAccessible("the first page");
  await browser.click(".send .primary");
  const [, seq] = await browser.says(".results", /stored (\d+)[\s\S]*duplicate of 1\b/);
  assert.equal(seq, "1");
  const [stored] = await service.get("/events");
  assert.equal(stored.topic, "orders");
  await browser.says("#figure-stored", /Stored events\s+1/);
  await browser.says("#figure-share", /50 %/);
  await browser.click(".results a");
  await browser.says(".detail", new RegExp(`Event 1[\\s\\S]*${stored.event_id}[\\s\\S]*"currency": "EUR"`));
  assert.match(await browser.run(() => location.hash), /^#events\?at=1&sel=1$/);
});

test("the first paint comes within 300 ms", async () => {
  service = await Service.start();
  let fastest = Infinity;
  for (let load = 0; load < 5; load += 1) {
    await browser.open(service.url);
    const paint = () => browser.run(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime);
    fastest = Math.min(fastest, await until("it is painted", paint));
  }
  assert.ok(fastest < 300, `${fastest} ms`);
});

test("a payload that is no JSON, and an event that is refused, are told in words", async () => {
  service = await Service.start();
  await browser.open(service.url);
  await browser.type(".send textarea", "{nothing");
  await browser.click(".send .primary");
  await browser.says(".results", /The payload is not JSON/);
  await browser.type(".send textarea", "[1]");
  await browser.click(".send .primary");
  await browser.says(".results", /\/payload/);
  assert.equal((await service.get("/stats")).received, 0);
  await browser.messages([/network: .*publish.*422/]);
});

test("the overview shows rates, totals, actors and where duplicates come from", async () => {
  service = await Service.start();
  await service.publish(events(30, (n) => event(n % 3 ? "orders" : "refunds", `id-${n % 20}`)));
  await browser.open(service.url);
  await browser.says("#figure-stored", /20\s+2 topics/);
  await browser.says("#figure-share", /33\.3 %\s+10 duplicates/);
  await browser.says(".actors", /running/);
  await browser.says(".store", /The database takes writes/);
  await browser.says(".bars", /orders\s+\d · /);
  const send = setInterval(() => service.publish([event("orders", `now-${Date.now()}`), event("orders", "id-0")]), 100);
  await browser.says("#figure-new", /New, now\s+[1-9]/).finally(() => clearInterval(send));
  await until("the plot has a line", () => browser.run(() => document.querySelector(".line.stored").getAttribute("d").includes("L")));
  await browser.assertAccessible("the overview");
});

test("the plot shows all since the page was opened, in a bounded number of points", async () => {
  service = await Service.start();
  await browser.open(service.url);
  await browser.says("#figure-new", /\/s/);
  const points = () => browser.run(() => (document.querySelector(".line.stored").getAttribute("d").match(/[ML]/g) ?? []).length);
  await until("some points", async () => (await points()) >= 3);
  const before = await points();
  await browser.press("2");
  await browser.says(".status", /^Live/);
  await service.publish(events(10, (n) => event("t", `id-${n}`)));
  await browser.press("1");
  await until("the same points and more", async () => (await points()) > before);
  await browser.says("#figure-new", /\/s/);
  // A day of samples, each second one more than in the second before.
  const [count, first, last, mean] = await browser.run(async () => {
    const { History } = await import(new URL("ui/plot.js", document.baseURI));
    const history = new History();
    for (let second = 1; second <= 86_400; second += 1) history.add(second, 0, second * 1000);
    const { points } = history;
    const samples = points.reduce((sum, point) => sum + point[3], 0);
    return [points.length, points[0][0], points.at(-1)[0], points.reduce((sum, point) => sum + point[1] * point[3], 0) / samples];
  });
  assert.ok(count >= 300 && count <= 600, String(count));
  assert.ok(first < 600_000, String(first));
  assert.equal(last, 86_400_000);
  assert.ok(Math.abs(mean - 43_200.5) < 0.01, String(mean));
});

test("the namespace switcher finds a namespace, and every view is of it", async () => {
  service = await Service.start();
  for (const name of ["shop", "shop-eu", "blog"]) await fetch(`${service.url}/namespaces/${name}`, { method: "PUT" });
  await service.publish([event("elsewhere", "a")]);
  await service.publish([event("carts", "b"), event("carts", "b")], "shop-eu");
  await browser.open(service.url);
  await browser.click("#namespace");
  await browser.says("dialog", /blog[\s\S]*default[\s\S]*shop-eu\s*1 event, 50 % duplicates/);
  await browser.assertAccessible("the switcher");
  await browser.type("dialog input", "shop-e");
  await browser.says("dialog", /1 namespace$/);
  await browser.press(KEYS.enter);
  await browser.says("#namespace", /shop-eu/);
  await browser.says("#figure-stored", /1\s+1 topic/);
  await browser.click('[data-view="events"]');
  await until("its one event", async () => (await rows()).length === 1 && /carts/.test((await rows())[0]));
  assert.equal(await browser.run(() => location.hash), "#events?ns=shop-eu");
});

test("events are filtered by the service, and the address tells all that was chosen", async () => {
  service = await Service.start();
  const levels = ["info", "error", "debug"];
  await service.publish(events(600, (n) => event(n % 2 ? "orders" : "logs", `id-${n}`, { level: levels[n % 3], deep: { n } })));
  await browser.open(`${service.url}/#events`);
  await until("events", async () => (await rows()).length > 10);
  await browser.assertAccessible("the events");
  await browser.type('[aria-label="Topic"]', `logs${KEYS.enter}`);
  await browser.type('[aria-label^="Field"]', `level=error${KEYS.enter}`);
  await browser.says(".count", /^100 shown/);
  await browser.click(".tools .menu summary");
  await browser.click(".column-list fieldset:last-child label:nth-of-type(2) input");
  await browser.press(KEYS.escape);
  await until("a column of the payload", async () => (await browser.text(".grid-head")).includes("deep/n"));
  await browser.click(".grid-row");
  await browser.says(".detail", /"level": "error"/);
  await browser.assertAccessible("an event beside the table");
  const url = await browser.run(() => location.href);
  for (const part of ["topic=logs", "where=%2Fpayload%2Flevel%3Derror", "col=%2Fpayload%2Fdeep%2Fn", "sel="]) assert.ok(url.includes(part), url);
  await browser.open(url);
  await browser.says(".count", /^100 shown/);
  await browser.says(".detail", /"level": "error"/);
  assert.ok((await rows()).every((row) => row.includes("logs")));
  await browser.click(".chip button");
  await browser.says(".count", /^200 shown/);
});

test("in context drops the filter and keeps the place", async () => {
  service = await Service.start();
  await service.publish(events(2_000, (n) => event(n === 700 ? "rare" : "common", `id-${n}`)));
  await browser.open(`${service.url}/#events?topic=rare`);
  await browser.says(".count", /^1 shown/);
  await browser.click(".grid-row");
  await browser.click('.detail a[href*="at="]');
  await until("its neighbours", async () => (await rows()).some((row) => row.includes("id-699")) && (await rows()).some((row) => row.includes("id-701")));
  assert.equal(await browser.run(() => document.querySelector('[aria-selected="true"]').innerText.includes("rare")), true);
  const isInSight = () => browser.run(() => {
    const row = document.querySelector('[aria-selected="true"]').getBoundingClientRect();
    return row.top > 100 && row.bottom < innerHeight;
  });
  assert.ok(await isInSight());
  // Upwards it reads on until the newest, and follows from there.
  await until("it is live", async () => {
    await browser.run(() => (document.querySelector(".grid").scrollTop = 0));
    return (await browser.text(".status")).startsWith("Live");
  });
  await service.publish([event("common", "the newest")]);
  await until("the newest event", async () => {
    await browser.run(() => (document.querySelector(".grid").scrollTop = 0));
    return (await rows())[0]?.includes("the newest");
  });
});

test("a search shows how far it is, can be stopped, and goes on", async () => {
  service = await Service.start();
  for (let at = 0; at < 30_000; at += 5_000) {
    await service.publish(events(5_000, (n) => event("t", `id-${at + n}`, { text: (at + n) % 10_000 === 77 ? "Néedle \"here\"" : "hay" })));
  }
  await browser.open(`${service.url}/#events`);
  await until("events", async () => (await rows()).length > 10);
  await browser.type("#search", `nÉEDLE "h${KEYS.enter}`);
  await browser.says(".count", /^3 shown$/);
  assert.deepEqual((await rows()).map((row) => /id-\d+/.exec(row)[0]), ["id-20077", "id-10077", "id-77"]);
  await browser.type("#search", `not there${KEYS.enter}`);
  await until("it is stopped in between", () => browser.run(() => {
    const button = [...document.querySelectorAll(".statusline button")].find((button) => button.innerText === "Stop search");
    button?.click();
    return !!button || /No event passes/.test(document.body.innerText);
  }));
  await until("it says where it is", async () => /Search on/.test(await browser.text(".statusline")) || /No event passes/.test(await browser.text(".empty")));
  if (/Search on/.test(await browser.text(".statusline"))) await browser.click(".statusline button");
  await browser.says(".empty", /No event passes these filters/);
});

test("one scrolls back into history without a jump while new events come", async () => {
  service = await Service.start();
  await service.publish(events(3_000, (n) => event("t", `id-${n}`)));
  await browser.open(`${service.url}/#events`);
  await until("events", async () => (await rows()).length > 10);
  await until("it holds older ones", async () => {
    await browser.run(() => (document.querySelector(".grid").scrollTop += 4_000));
    return (await rows()).some((row) => /id-1[0-4]\d\d/.test(row));
  });
  const place = () => browser.run(() => {
    const top = document.querySelector(".grid").getBoundingClientRect().top;
    const row = [...document.querySelectorAll(".grid-row")].find((row) => row.getBoundingClientRect().top > top + 100);
    return [/id-\d+/.exec(row.innerText)[0], Math.round(row.getBoundingClientRect().top)];
  });
  const before = await place();
  await service.publish(events(50, (n) => event("t", `later-${n}`)));
  await browser.says(".above", /50 new events/);
  assert.deepEqual(await place(), before);
  await browser.click(".above");
  await until("the newest on top", async () => (await rows())[0].includes("later-49"));
  await browser.run(() => (document.querySelector(".grid").scrollTop = 1e9));
  await until("the first event", async () => {
    await browser.run(() => (document.querySelector(".grid").scrollTop = 1e9));
    return (await rows()).some((row) => /id-0\b/.test(row));
  });
  await browser.says(".count", /^3,050 of 3,050 shown/);
});

test("stop stops, and what came meanwhile is there when one goes on", async () => {
  service = await Service.start();
  await service.publish([event("t", "first")]);
  await browser.open(`${service.url}/#events`);
  await browser.says(".status", /^Live/);
  await browser.click(".follow");
  await browser.says(".status", /^Stopped/);
  assert.match(await browser.run(() => location.hash), /live=0/);
  await service.publish([event("t", "second")]);
  await browser.says("#health", /Ready/);
  assert.equal((await rows()).length, 1);
  await browser.click(".follow");
  await until("the second event", async () => (await rows())[0].includes("second"));
  assert.equal((await rows()).length, 2);
});

test("a range of time is a range of the service, and is not live", async () => {
  service = await Service.start();
  await service.publish([event("t", "before")]);
  const { received_at: since } = (await service.get("/events"))[0];
  const from = new Date(new Date(since).getTime() + 1).toISOString();
  await until("a later millisecond", () => Date.now() > new Date(from).getTime() + 1);
  await service.publish([event("t", "after")]);
  await browser.open(`${service.url}/#events?since=${from}`);
  await until("one event", async () => (await rows()).length === 1 && (await rows())[0].includes("after"));
  await browser.open(`${service.url}/#events?until=${from}`);
  await until("the other event", async () => (await rows()).length === 1 && (await rows())[0].includes("before"));
  await browser.says(".status", /A range of the past/);
  await browser.click(".filters .menu summary");
  await browser.assertAccessible("the range");
  await browser.click(".quick .button");
  await until("both", async () => (await rows()).length === 2);
});

test("what is filtered is downloaded as lines, each as it was stored", async () => {
  service = await Service.start();
  await service.publish(events(2_500, (n) => event(n % 2 ? "a" : "b", `id-${n}`)));
  const exact = '{"topic":"a","event_id":"exact","timestamp":"2026-06-18T12:00:00Z","source":"s","payload":{ "n" :\\n12345678901234567890.10}}';
  await fetch(`${service.url}/publish`, { method: "POST", headers: { "content-type": "application/json" }, body: exact.replace("\\n", "\n") });
  await browser.open(`${service.url}/#events?topic=a`);
  await browser.says(".count", /shown/);
  await browser.run(() => {
    const create = URL.createObjectURL;
    URL.createObjectURL = (blob) => (window.saved = blob, create.call(URL, blob));
  });
  await browser.click(".tools > .button");
  await browser.says("dialog", /Saved 1,251 events/);
  await browser.assertAccessible("the download");
  const text = await browser.run(() => window.saved.text());
  const lines = text.trimEnd().split("\n");
  assert.equal(lines.length, 1_251);
  assert.deepEqual(lines.slice(0, 1250).map((line) => JSON.parse(line).event_id), events(1250, (n) => `id-${n * 2 + 1}`));
  assert.match(lines[1250], /12345678901234567890\.10/);
});

test("the keyboard reaches every event", async () => {
  service = await Service.start();
  await service.publish(events(300, (n) => event("t", `id-${n}`)));
  await browser.open(`${service.url}/#events`);
  await until("events", async () => (await rows()).length > 10);
  await browser.run(() => document.querySelector(".grid").focus());
  await browser.press(KEYS.down, KEYS.down, KEYS.enter);
  await browser.says(".detail", /id-298/);
  await browser.press(KEYS.down);
  await browser.says(".detail", /id-297/);
  await until("the oldest event", async () => {
    await browser.press(KEYS.end);
    return /id-0\b/.test(await browser.text(".detail"));
  });
  await browser.press(KEYS.escape);
  await browser.press("3");
  await browser.says("h1", /Topics/);
  await browser.press("?");
  await browser.says("dialog", /Help/);
  await browser.assertAccessible("the help");
  await browser.press(KEYS.escape);
  await browser.press("2");
  await browser.says("h1", /Events/);
  await browser.press("/");
  assert.equal(await browser.run(() => document.activeElement.id), "search");
});

test("thousands of topics are sorted and filtered as one types, and few rows exist", async () => {
  service = await Service.start();
  for (let at = 0; at < 5_000; at += 1_000) await service.publish(events(1_000, (n) => event(`topic-${at + n}`, `id-${at + n}`)));
  await service.publish([...events(7, (n) => event("topic-4321", `more-${n}`)), ...events(3, () => event("topic-17", "id-17"))]);
  await browser.open(`${service.url}/#topics`);
  await browser.says(".count", /^5,000 topics$/);
  await until("the largest first", async () => /^topic-4321\s+8/.test((await rows())[0]));
  assert.ok((await rows()).length < 60);
  await browser.assertAccessible("the topics");
  await browser.click('[role="columnheader"]:nth-child(4) button');
  await until("the most duplicates first", async () => /^topic-17\s+1\s+3\s+75 %/.test((await rows())[0]));
  const slowest = await browser.run(async () => {
    const input = document.querySelector("#search");
    let slowest = 0;
    for (const text of ["t", "to", "topic-4", "topic-43", "topic-432", "topic-4321"]) {
      const begun = performance.now();
      input.value = text;
      input.dispatchEvent(new Event("input"));
      await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
      slowest = Math.max(slowest, performance.now() - begun);
    }
    return slowest;
  });
  assert.ok(slowest < 500, `a keystroke took ${slowest} ms`);
  await browser.says(".count", /^1 of 5,000 topics$/);
  await browser.click(".grid-row");
  await browser.says(".count", /^8 shown/);
});

test("an event is found by its id, its seq and its time, and what is not there is said", async () => {
  service = await Service.start();
  await service.publish([...events(5, (n) => event("t", `id-${n}`)), event("t", "a/b?c#d%"), event("t", "..")]);
  await browser.open(`${service.url}/#find`);
  await browser.assertAccessible("the form");
  for (const id of ["id-3", "a/b?c#d%", ".."]) {
    await browser.type("#search", `${id}${KEYS.enter}`);
    await until(`${id} is found`, async () => (await browser.text(".facts")).split("\n").includes(id));
  }
  await browser.assertAccessible("what was found");
  await browser.type("#search", `nobody${KEYS.enter}`);
  await browser.says(".result", /No event with this id is stored in the namespace default/);
  await browser.click(".tabs label:nth-child(2)");
  await browser.type("#search", `2${KEYS.enter}`);
  await browser.says(".result", /Event 2[\s\S]*id-1/);
  await browser.type("#search", `99${KEYS.enter}`);
  await browser.says(".result", /There is no event 99: the newest is 7/);
  const { received_at: time } = (await service.get("/events?after=0&limit=1"))[0];
  await browser.open(`${service.url}/#find?time=${time}`);
  await browser.says(".result", /Event 1[\s\S]*id-0/);
  await browser.open(`${service.url}/#find?time=2999-01-01T00:00:00.000Z`);
  await browser.says(".result", /No event was received at this time or later/);
});

test("subscriptions show lag, leases and what is parked; retry and seek ask first", async () => {
  service = await Service.start();
  await service.publish(events(1_300, (n) => event("orders", n === 0 ? "<b>bad" : `id-${n}`, { n })));
  await service.send("PUT", "/subscriptions/billing", { topics: ["orders"], after: "earliest", max_deliveries: 1 });
  await service.send("PUT", "/subscriptions/idle", { after: "now" });
  const { lease } = await service.send("POST", "/subscriptions/billing/lease?limit=1");
  await service.send("POST", "/subscriptions/billing/ack", { lease, result: "reject" });
  await service.send("POST", "/subscriptions/billing/lease?limit=1000&worker=worker-1");
  await browser.open(`${service.url}/#subscriptions`);
  await browser.says("table", /billing\s+orders\s+1\s+1,299\s+1\s+1\s[\s\S]*idle\s+all\s+1,300\s+0\s+0\s+0/);
  await browser.click("tbody a");
  await browser.says("main", /worker-1\s+2\s+1,001\s+1\s+[23]\d s/);
  await browser.click(".parked summary");
  await browser.says(".parked", /1 orders <b>bad failed 1 time\s[\s\S]*"n": 0/);
  await browser.assertAccessible("subscriptions");
  await browser.click(".actions > .button");
  await browser.says("dialog", /1 parked event of billing will be delivered again/);
  await browser.assertAccessible("the confirmation");
  await browser.press(KEYS.escape);
  await until("it is closed", () => browser.run(() => !document.querySelector("dialog")));
  assert.equal((await service.get("/subscriptions/billing")).parked, 1);
  await browser.click(".actions > .button");
  await browser.click("dialog .danger");
  await until("it was retried", async () => (await service.get("/subscriptions/billing")).parked === 0);
  await browser.says("main", /0 parked events/);
  await browser.type(".seek input", "42");
  await browser.click(".seek .button");
  await browser.click("dialog .danger");
  await until("it was moved", async () => (await service.get("/subscriptions/billing")).acked === 42);
  await browser.says("table", /billing\s+orders\s+42\s+1,258/);
});

test("every view fits into 360 pixels", async () => {
  service = await Service.start();
  await service.publish(events(100, (n) => event(`topic-with-a-long-name-${n}`, `an-id-that-is-long-too-${n}`, { text: "x".repeat(200) })));
  await browser.size(360, 740);
  for (const view of ["overview", "events", "topics", "find", "subscriptions"]) {
    await browser.open(`${service.url}/#${view}`);
    await browser.says("#health span", /Ready/);
    await until("it is drawn", () => browser.run(() => !!document.querySelector(".grid-row, .actors td, .find-form, .empty:not([hidden]) h2")));
    const wide = await browser.run(() => document.documentElement.scrollWidth + Number(document.querySelector("main").scrollWidth > document.querySelector("main").clientWidth));
    assert.equal(wide, 360, view);
    await browser.assertAccessible(`${view} at 360 pixels`);
  }
});
