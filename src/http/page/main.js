/** Starts the page: the address says which view is shown, of which namespace, and how. */
import { json, key, service } from "./api.js";
import { h } from "./dom.js";
import { EventsView } from "./events.js";
import { FindView } from "./find.js";
import { OverviewView } from "./overview.js";
import { Health, access, askForKey, chooseNamespace, learnAccess, shortcutsAreOn, showHelp, showKey } from "./shell.js";
import { SubscriptionsView } from "./subscriptions.js";
import { TopicsView } from "./topics.js";

const VIEWS = { overview: OverviewView, events: EventsView, topics: TopicsView, find: FindView, subscriptions: SubscriptionsView };
const main = document.getElementById("main");
let shown = { name: null, namespace: null, view: null };
/** The namespace for which it is known what the key allows. */
let known = null;

/** What stands in place of a view that the key does not allow. */
class DeniedView {
  title = "Not allowed";
  element = h("section.view", null, h("h1", null, this.title), h("p.notice", null, "Your key does not allow to read events."));
  update() {}
  close() {}
}

/** `#events?topic=a` is the view `events` with its parameters; `ns` is the namespace. */
function place() {
  const [name, query] = location.hash.slice(1).split(/\?(.*)/s);
  const params = new URLSearchParams(query ?? "");
  return { name: name in VIEWS ? name : "overview", params, namespace: params.get("ns") || "default" };
}

function link(name, params = []) {
  const query = String(own(params));
  return `#${name}${query && `?${query}`}`;
}

/** Parameters of the namespace that is shown. */
function own(params = []) {
  const all = new URLSearchParams([...params].filter(([name]) => name !== "ns"));
  const { namespace } = place();
  if (namespace !== "default") all.set("ns", namespace);
  return all;
}

function go(name, params, replace = false) {
  const to = link(name, params);
  if (to === location.hash) return;
  if (replace) {
    history.replaceState(null, "", to);
    show();
  } else location.hash = to;
}

function show() {
  const { name, params, namespace } = place();
  if (namespace !== known) return restart();
  if (name !== shown.name || namespace !== shown.namespace) mount(name, namespace);
  shown.view.update(params);
}

function mount(name, namespace) {
  shown.view?.close();
  const scope = json(new URL(`namespaces/${encodeURIComponent(namespace)}`, document.baseURI)).then((found) => found.dedup_scope, () => undefined);
  const view = new (access.read === false && name !== "overview" ? DeniedView : VIEWS[name])({ namespace, scope, access, go, link, own });
  const isOther = shown.name !== null && shown.name !== name;
  shown = { name, namespace, view };
  main.replaceChildren(view.element);
  document.title = `${view.title} · ${namespace} · sekali`;
  document.querySelector("#namespace bdi").textContent = namespace;
  document.getElementById("brand").href = link("overview");
  for (const anchor of document.querySelectorAll("#views a")) {
    anchor.href = link(anchor.dataset.view);
    anchor.parentElement.hidden = access.read === false && anchor.dataset.view !== "overview";
    if (anchor.dataset.view === name) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
  if (isOther) main.focus({ preventScroll: true });
}

/** Begins anew, as after another key or in another namespace. */
async function restart() {
  document.getElementById("access").hidden = key.get() === null;
  const { namespace } = place();
  await learnAccess(namespace);
  known = namespace;
  shown.view?.close();
  shown = { name: null, namespace: null, view: null };
  show();
}

/** Whether the reader is asked for a key, or does not want to be. */
let isAsking = false;
async function ask(reason) {
  if (isAsking) return;
  isAsking = true;
  document.getElementById("access").hidden = false;
  if (!await askForKey(reason)) return;
  isAsking = false;
  restart();
}
service.addEventListener("unauthorized", ({ detail: problem }) => ask(key.get() ? `This key is not accepted: ${problem.message}.` : "This service asks for a key."));

function switchNamespace() {
  chooseNamespace(place().namespace, (name) => {
    const params = new URLSearchParams(name === "default" ? [] : [["ns", name]]);
    location.hash = `#${place().name}${params.size ? `?${params}` : ""}`;
  });
}

const SINGLE_KEYS = {
  "/": () => document.getElementById("search")?.focus(),
  "?": showHelp,
  n: switchNamespace,
  s: () => shown.view.toggle?.(),
};
Object.keys(VIEWS).forEach((name, index) => (SINGLE_KEYS[index + 1] = () => go(name, own())));

document.addEventListener("keydown", (event) => {
  const isTyping = event.target.matches("input:not([type=radio], [type=checkbox]), textarea, select");
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]") || !shortcutsAreOn()) return;
  const action = SINGLE_KEYS[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

document.getElementById("skip").addEventListener("click", () => main.focus());
document.getElementById("namespace").addEventListener("click", switchNamespace);
document.getElementById("help").addEventListener("click", showHelp);
document.getElementById("access").addEventListener("click", () => {
  if (!isAsking) return showKey(place().namespace, restart);
  isAsking = false;
  ask("The key for this service:");
});
window.addEventListener("hashchange", show);
window.addEventListener("error", () => main.prepend(h("p.notice", { role: "alert" }, "Something in this page failed. Loading it again may help.")));

new Health();
restart();
