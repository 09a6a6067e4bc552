/** Sends one event twice, and shows what the service says to each copy: what this service is for. */
import { address, curl, json } from "./api.js";
import { bdi, copy, h, say } from "./dom.js";
import { number, quoted } from "./format.js";

export class SendBox {
  /** `context`: namespace, `link(view, params)`; `sent()` is called when the service has taken it. */
  constructor(context, sent) {
    Object.assign(this, { context, sent });
    const field = (label, name, value) => {
      this[name] = h("input", { type: "text", value, required: true, autocomplete: "off", spellcheck: "false", oninput: () => this.#show() });
      return h("label", null, h("span", null, label), this[name]);
    };
    this.payload = h("textarea", { rows: 3, spellcheck: "false", value: '{"total": 42, "currency": "EUR"}', oninput: () => this.#show() });
    this.button = h("button.button.primary", null, "Send it twice");
    this.results = h("ol.results", { "aria-label": "What the service said", "aria-live": "polite" });
    this.command = h("code");
    this.element = h("form.send", {
      onsubmit: (event) => {
        event.preventDefault();
        this.#send();
      },
    },
    h("div.send-fields", null,
      field("Topic", "topic", "orders"), field("Event id", "eventId", newId()),
      h("button.button", { type: "button", onclick: () => this.#renew() }, "New id"),
      h("label.wide", null, h("span", null, "Payload, a JSON object"), this.payload)),
    h("div.send-end", null, this.button, this.results),
    h("div.command", null, h("pre", { tabindex: 0, "aria-label": "The same from a shell" }, this.command),
      h("button.button.small", { type: "button", onclick: () => copy(this.command.textContent, "the command") }, "Copy")));
    this.timestamp = new Date().toISOString();
    this.#show();
  }

  /** Whether the key allows it. */
  set isAllowed(isAllowed) {
    this.button.disabled = !isAllowed;
  }

  #renew() {
    this.eventId.value = newId();
    this.timestamp = new Date().toISOString();
    this.results.replaceChildren();
    this.#show();
  }

  /** The payload goes as it was written, with every digit. */
  #body() {
    const known = { topic: this.topic.value, event_id: this.eventId.value, timestamp: this.timestamp, source: "page" };
    return `${JSON.stringify(known).slice(0, -1)},"payload":${this.payload.value.trim()}}`;
  }

  #show() {
    say(this.command, curl(address(this.context.namespace, "publish"), { method: "POST", body: this.#body() }, quoted));
  }

  async #send() {
    this.button.disabled = true;
    this.results.replaceChildren();
    try {
      JSON.parse(this.payload.value);
      for (let copies = 0; copies < 2; copies += 1) this.#tell(await this.#publish());
      this.sent();
    } catch (problem) {
      const faults = (problem.document?.errors ?? []).map(({ pointer, detail }) => `${pointer} ${detail}`);
      const text = problem instanceof SyntaxError ? "The payload is not JSON." : [problem.message, ...faults].join(" ");
      this.results.append(h("li.failed", null, text));
    }
    this.button.disabled = false;
  }

  async #publish() {
    const url = address(this.context.namespace, "publish");
    const { results } = await json(url, { method: "POST", body: this.#body() });
    return results[0];
  }

  #tell({ status, seq, event_id }) {
    const isNew = status === "stored";
    this.results.append(h(`li.${status}`, null,
      h("strong", null, isNew ? `stored ${number(seq)}` : `duplicate of ${number(seq)}`),
      this.context.access.read === false ? bdi(event_id)
        : h("a", { href: this.context.link("events", [["at", seq], ["sel", seq]]) }, "Show ", bdi(event_id))));
  }
}

function newId() {
  const letters = crypto.getRandomValues(new Uint32Array(2));
  return `order-${letters[0].toString(36)}${letters[1].toString(36)}`.slice(0, 14);
}
