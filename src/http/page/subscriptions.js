/** The view of the consumers that the service remembers the place of: who lags, who holds what, and what failed. */
import { address, json, page, request } from "./api.js";
import { bdi, confirmed, h, say, toast } from "./dom.js";
import { counted, duration, number, time } from "./format.js";
import { StoredEvent, at, pieces } from "./json.js";
import { isOpen } from "./shell.js";

const INTERVAL = 2_000;
const PAYLOAD_SHOWN_MAX = 5_000;
const PARKED_SHOWN_MAX = 50;

export class SubscriptionsView {
  title = "Subscriptions";
  #timer = 0;
  #stop = new AbortController();
  #all = null;

  constructor(context) {
    this.context = context;
    this.status = h("p.status", { role: "status" }, "Reading…");
    this.rows = h("tbody");
    this.table = h("div.scroll", { hidden: true, tabindex: 0, role: "group", "aria-label": "Subscriptions" }, h("table", null, h("thead", null, h("tr", null,
      ["Name", "Topics", "Acknowledged", "Lag", "Leases", "Parked", "Status"].map((name, index) =>
        h(index >= 2 && index <= 5 ? "th.end" : "th", { scope: "col" }, name)))), this.rows));
    this.empty = h("div.empty", { hidden: true });
    this.one = h("section.card", { hidden: true, "aria-label": "The chosen subscription" });
    this.element = h("section.view.subscriptions", null, h("h1", null, "Subscriptions"), this.status,
      h("section.card", null, this.table, this.empty), this.one);
    this.#poll();
  }

  update(params) {
    this.params = params;
    this.detail = this.parkedOf = null;
    this.#show();
  }

  close() {
    this.#stop.abort();
    clearTimeout(this.#timer);
  }

  get #chosen() {
    return this.params?.get("name") ?? null;
  }

  async #poll() {
    await this.#refresh();
    if (!this.#stop.signal.aborted && !this.isRefused) this.#timer = setTimeout(() => this.#poll(), document.hidden ? INTERVAL * 5 : INTERVAL);
  }

  async #refresh() {
    const { signal } = this.#stop;
    try {
      const { texts, next } = await page(address(this.context.namespace, "subscriptions"), { signal });
      this.#all = texts.map((text) => JSON.parse(text));
      say(this.status, counted(this.#all.length, "subscription") + (next ? ", and more" : ""));
    } catch (problem) {
      if (signal.aborted) return;
      this.isRefused = problem.isDenied;
      say(this.status, problem.message);
    }
    this.#show();
    if (this.#chosen && this.#all) await this.#refreshOne(this.#chosen);
  }

  #show() {
    if (this.#all === null) return;
    const all = this.#all;
    this.table.hidden = all.length === 0;
    this.empty.hidden = all.length > 0;
    this.one.hidden = !this.#chosen || all.length === 0;
    if (!this.empty.hidden) this.#sayEmpty();
    const key = JSON.stringify([all, this.#chosen]);
    if (key === this.key) return;
    this.key = key;
    this.rows.replaceChildren(...all.map((subscription) => this.#row(subscription)));
  }

  #sayEmpty() {
    const url = address(this.context.namespace, "subscriptions/billing");
    const command = `curl -X PUT '${url}' -H 'Content-Type: application/json' -d '{"topics":["orders"],"after":"earliest"}'`;
    this.empty.replaceChildren(h("h2", null, "No subscriptions in this namespace."),
      h("p", null, "A subscription is a durable place in the log, for consumers that fail and come back. Create one with:"),
      h("pre", { tabindex: 0 }, command));
  }

  #row(subscription) {
    const { name, topics, acked, lag, leases, parked, status } = subscription;
    const isChosen = name === this.#chosen;
    return h("tr", { "aria-current": isChosen ? "true" : null },
      h("th", { scope: "row" }, h("a", { href: this.context.link("subscriptions", [["name", name]]) }, bdi(name))),
      h("td", null, bdi(topicsOf(topics))), h("td.end", null, figure(acked)), h("td.end", null, figure(lag)),
      h("td.end", null, figure(leases?.length ?? leases)), h("td.end", null, figure(parked)),
      h("td", null, h("span.pill", { "data-state": parked ? "warn" : "good" }, status ?? "–")));
  }

  async #refreshOne(name) {
    const { signal } = this.#stop;
    const base = `subscriptions/${encodeURIComponent(name)}`;
    try {
      const subscription = await json(address(this.context.namespace, base), { signal });
      // What is parked may be large: it is read again only where it can be other events.
      const parkedOf = JSON.stringify([name, subscription.parked, subscription.acked]);
      if (parkedOf !== this.parkedOf) {
        const url = address(this.context.namespace, `${base}/parked`, [["limit", PARKED_SHOWN_MAX]]);
        this.parked = subscription.parked ? (await page(url, { signal })).texts : [];
        this.parkedOf = parkedOf;
      }
      if (name === this.#chosen) this.#showOne(subscription, this.parked);
    } catch (problem) {
      if (!signal.aborted) this.one.replaceChildren(h("p.notice", null, problem.message));
    }
  }

  #showOne(subscription, parked) {
    const key = JSON.stringify([subscription, parked]);
    if (key === this.detail) return this.#tick();
    this.detail = key;
    const { name, head, acked, lag } = subscription;
    const leases = Array.isArray(subscription.leases) ? subscription.leases : [];
    this.one.replaceChildren(
      h("header", null, h("h2", null, bdi(name)), h("p.muted", null, `acknowledged ${figure(acked)} of ${figure(head)}, lag ${figure(lag)}`)),
      this.#actions(subscription),
      h("h3", null, counted(leases.length, "lease")), leases.length ? this.#leases(leases) : h("p.muted", null, "Nobody works on it now."),
      h("h3", null, counted(subscription.parked, "parked event") + (parked.length < subscription.parked ? `, the first ${parked.length}` : "")),
      parked.length ? h("ul.parked", null, parked.map((text) => this.#parked(name, text))) : h("p.muted", null, "No event has failed for good."));
    this.#tick();
  }

  #leases(leases) {
    const hasPartitions = leases.some(({ partition }) => partition !== undefined);
    const names = ["Holder", hasPartitions && "Partition", "From", "Through", "Deliveries", "Time left"].filter(Boolean);
    return h("div.scroll", { tabindex: 0, role: "group", "aria-label": "Leases" }, h("table", null,
      h("thead", null, h("tr", null, names.map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", null, leases.map((lease) => h("tr", null,
        h("td", null, lease.worker ? bdi(lease.worker) : h("span.muted", null, "without a name")),
        hasPartitions && h("td", null, figure(lease.partition)),
        h("td", null, figure(lease.from)), h("td", null, figure(lease.through)), h("td", null, figure(lease.deliveries)),
        h("td", null, h("span", { "data-until": lease.expires_at }, "–")))))));
  }

  /** The time that is left of each lease. */
  #tick() {
    for (const element of this.one.querySelectorAll("[data-until]")) {
      const left = (new Date(element.dataset.until) - Date.now()) / 1000;
      say(element, Number.isNaN(left) ? "–" : left > 0 ? duration(left) : "expired");
    }
  }

  #parked(name, text) {
    const { deliveries, parked_at: time_of } = JSON.parse(text);
    const event = new StoredEvent(at(text, "/event"));
    const payload = event.damage ?? Array.from(pieces(event.payload), ([, piece]) => piece).join("");
    const isAllowed = isOpen(this.context.access.admin);
    return h("li", null, h("details", null,
      h("summary", null, h("strong", null, number(event.seq)), " ", bdi(event.topic ?? "damaged"), " ", bdi(event.event_id),
        h("small.muted", null, ` failed ${counted(deliveries, "time")}`)),
      h("p.muted", null, "Parked ", time(time_of)),
      h("pre", { tabindex: 0, "aria-label": "Payload" }, payload.slice(0, PAYLOAD_SHOWN_MAX)),
      h("div.actions", null,
        h("button.button.small", { type: "button", disabled: !isAllowed, onclick: () => this.#retry(name, 1, { seqs: [event.seq] }) }, "Retry this one"),
        h("a.button.small", { href: this.context.link("events", [["at", event.seq], ["sel", event.seq]]) }, "In context"))));
  }

  #actions({ name, parked, acked, head }) {
    const place = h("input", { type: "number", min: 0, max: head ?? null, required: true, value: acked ?? 0, "aria-label": "Seq behind which it goes on" });
    const isAllowed = isOpen(this.context.access.admin);
    return h("div.actions", null,
      h("button.button", { type: "button", disabled: !parked || !isAllowed, onclick: () => this.#retry(name, parked) }, "Retry parked events"),
      h("form.seek", {
        onsubmit: (event) => {
          event.preventDefault();
          this.#seek(name, place.valueAsNumber);
        },
      }, h("label.field", null, h("span", null, "Go on behind"), place), h("button.button", { disabled: !isAllowed }, "Seek")));
  }

  async #retry(name, parked, which = {}) {
    const text = `${counted(parked, "parked event")} of ${name} will be delivered again.`;
    if (!await confirmed("Retry parked events?", text, "Retry")) return;
    await this.#do(name, "parked/retry", which, "The parked events are delivered again.");
  }

  async #seek(name, after) {
    const text = `${name} goes on behind event ${number(after)}. Its consumers get everything from there on, also what they have done already.`;
    if (!await confirmed("Seek?", text, "Seek")) return;
    await this.#do(name, "seek", { after }, `${name} goes on behind ${number(after)}.`);
  }

  async #do(name, path, body, done) {
    try {
      await request(address(this.context.namespace, `subscriptions/${encodeURIComponent(name)}/${path}`), { method: "POST", json: body });
      toast(done);
      this.parkedOf = null;
    } catch (problem) {
      toast(problem.message);
    }
    this.#refresh();
  }
}

const figure = (value) => (typeof value === "number" ? number(value) : "–");

function topicsOf(topics) {
  return Array.isArray(topics) && topics.length ? topics.join(", ") : "all";
}
