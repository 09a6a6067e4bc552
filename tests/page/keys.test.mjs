// What the page does where keys are in force.
import { after, afterEach, before, test } from "node:test";
import assert from "node:assert/strict";
import { Browser, KEYS, until } from "./browser.mjs";
import { Service, event } from "./service.mjs";

const scope = (...scopes) => ["--scope", scopes.join(",")];
const ALL = scope("publish", "read", "admin");

let browser, service;
before(async () => {
  browser = await Browser.start();
});
after(() => browser.stop());
afterEach(async () => {
  await browser.run(() => sessionStorage.clear());
  await browser.leave();
  // The browser names each refusal; anything else is a fault of the page.
  const messages = await browser.messages([/network: .*40[13]/, /network: .*422/]);
  await service.stop();
  assert.deepEqual(messages, [], "the console has messages");
});

async function start(keys) {
  service = await Service.start({ keys: { all: ALL, ...keys } });
  await service.publish([event("orders", "order-1"), event("logs", "log-1")]);
}
const enter = (text) => browser.type("dialog input", `${text}${KEYS.enter}`);
async function openWith(name, view = "overview") {
  await browser.open(`${service.url}/#${view}`);
  await browser.says("dialog", /A key is needed/);
  await enter(service.keys[name]);
}
const allowed = async () => {
  await browser.click("#access");
  const [, ...found] = await browser.says("dialog", /To send events\s+(.+)\s+To read events and figures\s+(.+)\s+To change [^\n]*\s+(yes|no|in part)/);
  await browser.press(KEYS.escape);
  await until("it is closed", () => browser.run(() => !document.querySelector("dialog")));
  return found;
};
const links = () => browser.run(() => Array.from(document.querySelectorAll("#views li:not([hidden])"), (link) => link.innerText));
const mayNotSend = () => browser.run(() => document.querySelector(".send .primary").disabled);

test("a key is asked for, a wrong one is refused, and the tab alone keeps it", async () => {
  await start();
  await browser.open(service.url);
  await browser.says("dialog", /A key is needed[\s\S]*This service asks for a key/);
  await browser.assertAccessible("the question for a key");
  await enter("wrong");
  await browser.says("dialog", /This key is not accepted: this key is not known here/);
  await enter(service.keys.all);
  await browser.says("#figure-stored", /2\s+2 topics/);
  assert.deepEqual(await allowed(), ["yes", "yes", "yes"]);
  await browser.click(".send .primary");
  await browser.says(".results", /stored 3[\s\S]*duplicate of 3/);
  await browser.says(".command", /-H "Authorization: Bearer \$SEKALI_KEY"/);
  await browser.open(`${service.url}/#events`);
  await browser.says(".status", /^Live/);
  await service.publish([event("orders", "order-2")]);
  await browser.says(".status", /1 event came/);
  const kept = await browser.run(() => [localStorage.length, document.cookie, sessionStorage.length, location.href.includes("key")]);
  assert.deepEqual(kept, [0, "", 1, false]);
  const tab = await browser.call("GET", "/window");
  const { handle } = await browser.call("POST", "/window/new", { type: "tab" });
  await browser.call("POST", "/window", { handle });
  await browser.open(service.url);
  await browser.says("dialog", /A key is needed/);
  await browser.call("DELETE", "/window");
  await browser.call("POST", "/window", { handle: tab });
  await browser.click("#access");
  await browser.click("dialog .danger");
  await browser.click("dialog .danger");
  await browser.says("dialog", /A key is needed/);
});

test("with a key to read, nothing can be sent or changed", async () => {
  await start({ reader: scope("read") });
  await service.send("PUT", "/subscriptions/billing", { after: "earliest", max_deliveries: 1 });
  const { lease } = await service.send("POST", "/subscriptions/billing/lease?limit=1");
  await service.send("POST", "/subscriptions/billing/ack", { lease, result: "reject" });
  await openWith("reader");
  await browser.says("#figure-stored", /2\s+2 topics/);
  assert.equal(await mayNotSend(), true);
  await browser.says(".send-card", /Your key does not allow to send events here/);
  await browser.assertAccessible("the overview of a reader");
  assert.deepEqual(await allowed(), ["no", "yes", "no"]);
  // What the button does not do, the service would not do either.
  const { status } = await fetch(`${service.url}/publish`, { method: "POST", headers: { authorization: `Bearer ${service.keys.reader}` }, body: "[]" });
  assert.equal(status, 403);
  await browser.open(`${service.url}/#events`);
  await browser.says(".status", /^Live/);
  await service.publish([event("orders", "order-2")]);
  await browser.says(".status", /1 event came/);
  await browser.open(`${service.url}/#subscriptions?name=billing`);
  await browser.says("main", /1 parked event/);
  const buttons = await browser.run(() => Array.from(document.querySelectorAll(".actions button"), ({ disabled }) => disabled));
  assert.ok(buttons.length >= 3 && buttons.every(Boolean), String(buttons));
});

test("with a key to publish, one can send and see nothing", async () => {
  await start({ producer: scope("publish") });
  await openWith("producer");
  await browser.says(".overview", /The figures cannot be shown: the key producer lacks the scope read/);
  assert.deepEqual(await links(), ["Overview"]);
  assert.deepEqual(await allowed(), ["yes", "no", "no"]);
  await browser.click(".send .primary");
  await browser.says(".results", /stored 3[\s\S]*duplicate of 3/);
  assert.equal(await browser.run(() => document.querySelectorAll(".results a").length), 0);
  await browser.assertAccessible("the overview of a producer");
  await browser.open(`${service.url}/#events`);
  await browser.says("main", /Your key does not allow to read events/);
  await browser.assertAccessible("what a producer may not see");
});

test("a key for some topics sees these, and is told what it has to name", async () => {
  await start({ orders: [...scope("read", "publish"), "--topic", "orders"] });
  await openWith("orders", "events");
  await browser.says(".status", /limited to the topics orders: name topics/);
  assert.deepEqual(await allowed(), ["yes", "in part", "no"]);
  await browser.type('.filters input[aria-label="Topic"]', `orders${KEYS.enter}`);
  await browser.says(".count", /^1 shown/);
  await browser.says(".status", /^Live/);
  await service.publish([event("logs", "log-2"), event("orders", "order-2")]);
  await browser.says(".status", /1 event came/);
  await browser.open(`${service.url}/#find?id=order-2&topic=orders`);
  await browser.says(".result", /Event 4/);
  await browser.open(service.url);
  await browser.says(".overview", /The figures cannot be shown: the key orders is limited to the topics orders/);
});

test("a key for one namespace is good in that one", async () => {
  await start({ shop: [...ALL, "--namespace", "shop"] });
  await service.send("PUT", "/namespaces/shop", {});
  await service.publish([event("orders", "order-1")], "shop");
  await openWith("shop");
  await browser.says(".overview", /The figures cannot be shown: the key shop is limited to the namespaces shop/);
  assert.equal(await mayNotSend(), true);
  await browser.click("#namespace");
  await browser.says("dialog", /limited to the namespaces shop/);
  await browser.type("dialog input", `shop${KEYS.enter}`);
  await browser.says("#figure-stored", /1\s+1 topic/);
  assert.equal(await mayNotSend(), false);
  assert.deepEqual(await allowed(), ["yes", "yes", "yes"]);
});

test("a key that is revoked is no longer good, and another one is asked for", async () => {
  await start({ reader: scope("read"), other: scope("read") });
  await openWith("reader");
  await browser.says("#figure-stored", /2\s+2 topics/);
  await service.revoke("reader");
  await browser.says("dialog", /This key is not accepted: this key is not known here/);
  await enter(service.keys.other);
  await browser.says("#figure-stored", /2\s+2 topics/);
  await browser.open(`${service.url}/#events`);
  await browser.says(".status", /^Live/);
  // A stream that is open ends, too.
  await service.revoke("other");
  await browser.says("dialog", /This key is not accepted/);
  await enter(service.keys.all);
  await browser.says(".status", /^Live/);
});
