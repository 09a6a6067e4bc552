// Writes a picture of each view, dark and light, of a service with something to see:  scripts/screenshots FOLDER
import { mkdirSync, writeFileSync } from "node:fs";
import { Browser, until } from "./browser.mjs";
import { Service } from "./service.mjs";

const folder = process.argv[2] ?? "target/screenshots";
mkdirSync(folder, { recursive: true });

const TOPICS = ["orders", "payments", "shipments", "refunds", "logins", "stock", "mail", "invoices"];
const LEVELS = ["info", "info", "info", "warning", "error"];
let number = 0;
function batch(size) {
  return Array.from({ length: size }, () => {
    number += 1;
    const repeated = number % 7 < 2 && number > 50 ? number - 40 : number;
    const topic = TOPICS[(repeated * repeated) % 13 % TOPICS.length];
    return {
      topic, event_id: `${topic.slice(0, 3)}-${(repeated * 7919).toString(36)}-${repeated}`, timestamp: new Date().toISOString(), source: `shop-${(repeated % 3) + 1}`,
      payload: { level: LEVELS[repeated % 5], total: (repeated * 37) % 900 / 10, currency: "EUR", customer: { id: repeated % 411, country: ["DE", "ID", "US"][repeated % 3] }, items: ["book", "lamp"].slice(0, 1 + (repeated % 2)) },
    };
  });
}

const service = await Service.start();
const empty = await Service.start();
const locked = await Service.start({ keys: {
  all: ["--scope", "publish,read,admin"], reader: ["--scope", "read"], producer: ["--scope", "publish"], shop: ["--scope", "read", "--topic", "orders"],
} });
for (let round = 0; round < 40; round += 1) await service.publish(batch(100));
await locked.publish(batch(100));
for (const [name, settings] of [["billing", { topics: ["orders", "payments"], max_leases: 4, max_deliveries: 1 }], ["mailer", { topics: ["mail*", "invoices"] }], ["search-index", {}]]) {
  await service.send("PUT", `/subscriptions/${name}`, { after: name === "search-index" ? "now" : 2_000, lease_seconds: 600, ...settings });
}
const { lease } = await service.send("POST", "/subscriptions/billing/lease?limit=1");
await service.send("POST", "/subscriptions/billing/ack", { lease, result: "reject" });
for (const worker of ["worker-1", "worker-2"]) await service.send("POST", `/subscriptions/billing/lease?limit=60&worker=${worker}`);
const steady = setInterval(() => service.publish(batch(20 + Math.round(15 * Math.sin(Date.now() / 4000)))), 200);
const browser = await Browser.start({ width: 1280, height: 800 });

const [chosen] = await service.get("/events?where=/payload/customer/country=ID&where=/payload/level=error&limit=1");
const VIEWS = [
  ["first", empty.url, ".send-card"],
  ["overview", `${service.url}/#overview`, ".bars a"],
  ["events", `${service.url}/#events?where=/payload/customer/country=ID&col=/payload/level&col=/payload/total&sel=${chosen.seq}`, ".detail"],
  ["topics", `${service.url}/#topics`, ".grid-row"],
  ["find", `${service.url}/#find?seq=1203`, ".result .detail"],
  ["subscriptions", `${service.url}/#subscriptions?name=billing`, ".parked"],
  ["key-asked", `${locked.url}/#overview`, "dialog"],
  ["key-reader", `${locked.url}/#overview`, ".bars a", "reader"],
  ["key-producer", `${locked.url}/#overview`, ".notice", "producer"],
  ["key-denied", `${locked.url}/#events`, ".notice", "producer"],
  ["key-of-a-topic", `${locked.url}/#events`, ".empty h2", "shop"],
];
try {
  for (const [name, url, sign, key] of VIEWS) {
    await browser.open(url);
    if (key) {
      await browser.run((key) => sessionStorage.setItem("sekali-key", key), locked.keys[key]);
      await browser.open(url);
    }
    await browser.find(sign);
    await browser.says("#health span", /Ready/);
    if (name === "overview") await until("the plot has a history", () => browser.run(() => (document.querySelector(".line.stored").getAttribute("d").match(/L/g) ?? []).length > 25), 60_000);
    for (const [scheme, width, height] of [["light", 1120, 700], ["dark", 1120, 700], ["light", 360, 740], ["dark", 2560, 1080]]) {
      await browser.scheme(scheme);
      await browser.size(width, height);
      await browser.run(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
      writeFileSync(`${folder}/${name}-${scheme}-${width}.png`, await browser.screenshot());
    }
    await browser.size(1280, 800);
  }
} finally {
  clearInterval(steady);
  await browser.stop();
  await Promise.all([service.stop(), empty.stop(), locked.stop()]);
}
