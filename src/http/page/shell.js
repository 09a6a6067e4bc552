/** What stands around every view: the namespace, the key, the state of the service, and help. */
import { Problem, address, key, page, request } from "./api.js";
import { bdi, confirmed, dialog, h, say, toast } from "./dom.js";
import { counted, duration, percent } from "./format.js";

const PROBE_INTERVAL = 2_000;
const PROBE_TIMEOUT = 5_000;
const NAMESPACES = 100;
const SHORTCUTS = "sekali-shortcuts";

/** What the key allows: true, false, "in part" (of other namespaces or some topics), or undefined where that is not known. */
export const access = { publish: undefined, read: undefined, admin: undefined };
export const isOpen = (allowed) => allowed === true || allowed === undefined;

/** Asks for the state of the service again and again, and says it wherever one looks. */
export class Health {
  #since = null;

  constructor() {
    this.element = document.getElementById("health");
    this.banner = document.getElementById("banner");
    this.text = h("span");
    this.time = h("span", { "aria-hidden": "true" });
    this.banner.append(this.text, this.time);
    this.#probe();
    setInterval(() => this.#tick(), 1_000);
  }

  async #probe() {
    let trouble = null;
    try {
      await request(new URL("readyz", document.baseURI), { timeout: PROBE_TIMEOUT });
    } catch (problem) {
      trouble = problem;
    }
    this.#show(trouble);
    setTimeout(() => this.#probe(), document.hidden ? PROBE_INTERVAL * 5 : PROBE_INTERVAL);
  }

  #show(trouble) {
    const state = trouble === null ? "good" : trouble.status === 0 ? "away" : "bad";
    this.element.dataset.state = state;
    say(this.element.lastElementChild, { good: "Ready", away: "No answer", bad: "Not ready" }[state]);
    if (trouble === null) {
      if (this.#since !== null) toast("The service is ready again.");
      this.#since = null;
    } else this.#since ??= Date.now();
    this.banner.hidden = trouble === null;
    if (trouble) say(this.text, sentence(trouble));
    this.#tick();
  }

  #tick() {
    if (this.#since !== null) say(this.time, ` For ${duration((Date.now() - this.#since) / 1000)}.`);
  }
}

function sentence(trouble) {
  if (trouble.status === 0) return "The service does not answer. This page tries again until it does.";
  const reason = trouble.document.reason ?? trouble.message;
  if (reason.includes("database")) return `Not ready: ${reason}. Publishes are told to try again.`;
  return `Not ready: ${reason}.`;
}

/** Has the reader choose a namespace. */
export function chooseNamespace(current, choose) {
  const input = h("input", { type: "search", placeholder: "Begin of a name", "aria-label": "Search namespaces", autocomplete: "off", spellcheck: "false", autofocus: true });
  const list = h("ul.choices");
  const status = h("p.muted", { role: "status" });
  const element = dialog("Namespaces", input, list, status);
  const take = (name) => {
    element.close();
    choose(name);
  };
  const show = async () => {
    const prefix = input.value.trim();
    try {
      const found = await page(new URL(`namespaces?limit=${NAMESPACES}${prefix && `&prefix=${encodeURIComponent(prefix)}`}`, document.baseURI));
      if (prefix !== input.value.trim()) return;
      const all = found.texts.map((text) => JSON.parse(text));
      list.replaceChildren(...all.map((namespace) => choice(namespace, current, take)));
      say(status, `${counted(all.length, "namespace")}${found.next ? ", and more: type the begin of a name" : ""}`);
    } catch (problem) {
      list.replaceChildren();
      say(status, problem.message);
    }
  };
  input.addEventListener("input", show);
  element.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const stops = [input, ...list.querySelectorAll("button")];
    stops[Math.max(0, Math.min(stops.length - 1, stops.indexOf(document.activeElement) + step))].focus();
    event.preventDefault();
  });
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    // Else the button that gets the focus back would take this key for a click.
    event.preventDefault();
    // A key that is limited to some namespaces cannot list them; a name that one knows is taken as it is.
    if (list.firstChild) list.querySelector("button").click();
    else if (input.value.trim()) take(input.value.trim());
  });
  show();
}

function choice({ name, unique, received, duplicates, dedup_scope: scope }, current, take) {
  const share = received ? `, ${percent(duplicates / received)} duplicates` : "";
  return h("li", null, h("button", { type: "button", "aria-current": name === current ? "true" : null, onclick: () => take(name) },
    bdi(name), h("small", null, `${counted(unique, "event")}${share}${scope === "topic" ? ", ids by topic" : ""}`)));
}

/** Asks for a key; resolves to whether one was given. */
export function askForKey(reason) {
  return new Promise((resolve) => {
    const input = h("input", { type: "password", required: true, autocomplete: "off", "aria-label": "Key", autofocus: true });
    let isGiven = false;
    const form = h("form", {
      method: "dialog",
      onsubmit: () => {
        key.set(input.value.trim());
        isGiven = true;
      },
    },
    h("p", null, reason), input,
    h("p.muted", null, "It is kept for this tab alone, and forgotten with it."),
    h("div.actions", null, h("button.button.primary", null, "Use this key")));
    dialog("A key is needed", form).addEventListener("close", () => resolve(isGiven));
  });
}

/** Finds out what the key allows, with requests that change nothing whatever the answer. */
export async function learnAccess(namespace) {
  if (key.get() === null) return Object.assign(access, { publish: undefined, read: undefined, admin: undefined });
  const isAllowed = async (url, options) => {
    try {
      await request(url, { timeout: PROBE_TIMEOUT, ...options });
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (problem.status === 403) return problem.message.includes("lacks the scope") ? false : "in part";
      if (problem.status !== 422) return undefined;
    }
    return true;
  };
  const own = new URL(`namespaces/${encodeURIComponent(namespace)}`, document.baseURI);
  [access.publish, access.read, access.admin] = await Promise.all([
    isAllowed(address(namespace, "publish"), { method: "POST", json: { events: [] } }), // 422: there is no event in it
    isAllowed(address(namespace, "stats")),
    isAllowed(own, { method: "DELETE" }), // 422: a deletion has to be confirmed
  ]);
}

/** Shows what the key allows, and forgets it if that is wanted. */
export async function showKey(namespace, forgotten) {
  await learnAccess(namespace);
  const words = { publish: "send events", read: "read events and figures", admin: "change namespaces and subscriptions" };
  const known = (allowed) => ({ true: "yes", false: "no", undefined: "not known" })[allowed] ?? allowed;
  const element = dialog("Key",
    h("dl.facts", null, Object.entries(words).map(([scope, text]) => [h("dt", null, `To ${text}`), h("dd", null, known(access[scope]))])),
    h("div.actions", null, h("button.button.danger", { type: "button", onclick: async () => {
      element.close();
      if (!await confirmed("Forget the key?", "This tab has to be given it again.", "Forget")) return;
      key.forget();
      forgotten();
    } }, "Forget the key")));
}

export const shortcutsAreOn = () => localStorage.getItem(SHORTCUTS) !== "off";

export function showHelp() {
  const keys = [["/", "to the search field"], ["1 – 5", "to a view"], ["n", "choose a namespace"], ["s", "stop, or go live"], ["?", "this help"],
    ["↑ ↓ Page Home End", "move in a table"], ["Enter", "open the row"], ["Esc", "close what is open"]];
  dialog("Help",
    h("p", null, "sekali stores every event once, however often it is sent, and numbers them: seq 1, 2, 3, … in the order in which they were stored. A copy that comes later is counted as a duplicate."),
    h("dl.facts.keys", null, keys.map(([name, text]) => [h("dt", null, h("kbd", null, name)), h("dd", null, text)])),
    h("label.check", null, h("input", { type: "checkbox", checked: shortcutsAreOn(), onchange: (event) =>
      localStorage.setItem(SHORTCUTS, event.target.checked ? "on" : "off") }), "Single keys are shortcuts"),
    h("p.muted", null, "What you choose stands in the address: a link shows a colleague the same. Whatever this page does, a program can do over the same HTTP addresses."));
}
