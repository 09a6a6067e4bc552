// The page at /docs, which shows the description of the interface.
import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { Browser, KEYS, until } from "./browser.mjs";
import { Service } from "./service.mjs";

let browser, service;
before(async () => {
  browser = await Browser.start();
  service = await Service.start();
});
after(async () => {
  await browser.leave();
  assert.deepEqual(await browser.messages(), [], "the console has messages");
  await browser.stop();
  await service.stop();
});

const headings = () => browser.run(() => Array.from(document.querySelectorAll(".operation > h3"), (it) => it.innerText.split(/\s+/).slice(0, 2).join(" ")));

test("every operation is shown, those of a named namespace with those of `default`", async () => {
  await browser.open(service.url);
  await browser.click('a[href="/docs"]');
  await browser.says("h1", /^sekali \d/);
  const { paths } = await service.get("/openapi.json");
  const described = Object.entries(paths).filter(([path]) => !path.startsWith("/namespaces/{namespace}/"))
    .flatMap(([path, item]) => Object.keys(item).filter((name) => name !== "parameters").map((method) => `${method.toUpperCase()} ${path}`));
  assert.deepEqual((await headings()).sort(), described.sort());
  await browser.says("#publish", /Scope of the key: publish[\s\S]*event_id string required[\s\S]*"topic": "orders"/);
  await browser.says("#publish", /Also below a namespace: \/namespaces\/\{namespace\}\/publish/);
});

test("it can be read in the dark and in the light, wide and narrow, with answers open", async () => {
  await browser.open(`${service.url}/docs`);
  await browser.says("h1", /^sekali/);
  const opened = "#listEvents details, #readStats details:first-of-type";
  await browser.run((opened) => document.querySelectorAll(opened).forEach((it) => (it.open = true)), opened);
  await browser.says("#readStats details", /log_lines_lost/);
  for (const scheme of ["dark", "light"]) {
    await browser.scheme(scheme);
    await browser.assertAccessible(scheme);
  }
  await browser.size(360, 740);
  await browser.assertAccessible("narrow");
  assert.ok(await browser.run(() => document.getElementById("main").scrollWidth <= innerWidth), "it does not scroll sideways");
  await browser.size(1280, 800);
});

test("an operation is found and opened with keys alone, and by its address", async () => {
  await browser.open(`${service.url}/docs`);
  await browser.says("h1", /^sekali/);
  await browser.run(() => document.querySelector(".filter input").focus());
  await browser.press(..."parked/retry");
  await until("one is left", () => browser.run(() => Array.from(document.querySelectorAll("#operations a")).filter((it) => it.checkVisibility()).length === 1));
  await browser.press(KEYS.tab, KEYS.enter);
  await until("it has the focus", () => browser.run(() => document.activeElement.id === "retryParked"));
  await browser.press(KEYS.tab, KEYS.enter);
  await until("an answer is open", () => browser.run(() => document.activeElement.closest("details")?.open || document.activeElement.tagName === "PRE"));
  await browser.open(`${service.url}/docs#leaseEvents`);
  await until("it has the focus", () => browser.run(() => document.activeElement.id === "leaseEvents"));
});
