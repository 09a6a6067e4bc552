/** The view of what is going on: rates, totals, this node's actors and its store. */
import { address, json } from "./api.js";
import { bdi, h, say } from "./dom.js";
import { counted, duration, measure, number, percent } from "./format.js";
import { History, Plot } from "./plot.js";
import { SendBox } from "./send.js";
import { isOpen } from "./shell.js";

const INTERVAL = 1_000;
/** The shares of duplicates of so many topics are shown. */
const TOPICS = 6;

/** What was seen of the namespace that was shown last: another view in between makes no gap. */
let seen = { namespace: null };

export class OverviewView {
  title = "Overview";
  #timer = 0;
  #closed = false;
  #lostSince = null;

  constructor(context) {
    this.context = context;
    if (seen.namespace !== context.namespace) seen = { namespace: context.namespace, history: new History(), last: null };
    this.plot = new Plot(seen.history);
    this.figures = new Figures([
      ["stored", "Stored events"], ["head", "Head"], ["new", "New, now"], ["duplicates", "Duplicates, now"],
      ["share", "Duplicate share"], ["latency", "Commit, median"],
    ]);
    this.send = new SendBox(context, () => this.#refresh());
    this.maySend = this.send.isAllowed = isOpen(context.access.publish);
    this.sendTitle = h("h2");
    this.sendText = h("p.muted");
    this.sendBox = h("section.card.send-card", { "aria-label": "Send an event" }, this.sendTitle, this.sendText, this.send.element);
    this.topics = h("ul.bars");
    this.store = h("p.store");
    this.node = h("p.muted");
    this.actors = h("tbody");
    this.figuresBox = h("section.card.figures-card", { "aria-label": "Figures" }, this.figures.element);
    this.plotBox = h("section.card.plot-card", { "aria-label": "Events a second" },
      h("header", null, h("h2", null, "Events a second"),
        h("p.legend", null, h("span.stored", null, "new"), h("span.duplicate", null, "duplicates"))), this.plot.element);
    this.topicsBox = h("section.card", { "aria-label": "Duplicates by topic" },
      h("header", null, h("h2", null, "Duplicates by topic"), h("a", { href: context.link("topics") }, "All topics")), this.topics);
    this.nodeBox = h("section.card.wide", { "aria-label": "This node" },
      h("header", null, h("h2", null, "This node"), this.node), this.store,
      h("div.scroll", { tabindex: 0, role: "group", "aria-label": "Actors" }, h("table.actors", null, h("thead", null, h("tr", null,
        ["Actor", "State", "Queue", "Ids in the window", "Restarts", "Last ending"].map((name, index) =>
          h(index >= 2 && index <= 4 ? "th.end" : "th", { scope: "col" }, name)))), this.actors)));
    this.element = h("section.view.overview", { "data-empty": "unknown" }, h("h1", null, "Overview"),
      this.sendBox, this.figuresBox, this.plotBox, this.topicsBox, this.nodeBox);
    this.#poll();
  }

  update() {}

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  async #poll() {
    await this.#refresh();
    if (this.#closed) return;
    this.#timer = setTimeout(() => this.#poll(), document.hidden ? INTERVAL * 5 : INTERVAL);
  }

  async #refresh() {
    try {
      const stats = await json(address(this.context.namespace, "stats"), { timeout: 8_000 });
      if (!this.#closed) this.#show(stats);
    } catch (problem) {
      if (this.#closed) return;
      if (problem.isDenied) this.#deny(problem);
      else this.#showProblem(problem);
    }
  }

  #show(stats) {
    if (this.element.dataset.empty === "unknown") this.#arrange(stats.received === 0);
    this.figures.set("stored", number(stats.unique_processed), counted(stats.topics_total, "topic"));
    this.figures.set("head", number(stats.unique_processed), "the newest seq");
    this.figures.set("share", percent(stats.duplicate_rate), counted(stats.duplicate_dropped, "duplicate"));
    const { p50, p99 } = stats.node.commit_latency_ms;
    const hasCommits = stats.node.commits > 0;
    this.figures.set("latency", hasCommits ? `${measure(p50)} ms` : "–", hasCommits ? `p99 ${measure(p99)} ms` : "no commit yet");
    this.#showRates(stats);
    this.#showTopics(stats);
    this.#showNode(stats);
  }

  /** Nothing is left but to send events. */
  #deny(problem) {
    this.close();
    this.#arrange(false);
    const notice = h("p.notice", null, `The figures cannot be shown: ${problem.message}.`);
    this.element.replaceChildren(this.element.firstChild, notice, this.sendBox);
  }

  /** The send box stands first where there is nothing else to see, and then stays there. */
  #arrange(isEmpty) {
    this.element.dataset.empty = isEmpty ? "yes" : "no";
    say(this.sendTitle, isEmpty ? "Send the first event, twice" : "Send an event twice");
    say(this.sendText, !this.maySend ? "Your key does not allow to send events here." : isEmpty
      ? "sekali stores every event once. A producer that got no answer sends it again, and is told that it is a duplicate. Try it:"
      : "The first copy is stored. The second is a duplicate, and is told of which event.");
  }

  #showRates(stats) {
    const now = performance.now();
    const { last } = seen;
    const { unique_processed: stored, duplicate_dropped: duplicates } = stats;
    seen.last = { now, stored, duplicates };
    // The first answer has nothing to compare with, nor has one after the database was put back to an older copy.
    if (!last || stored < last.stored || duplicates < last.duplicates) return this.plot.draw();
    const seconds = (now - last.now) / 1000;
    if (seconds < 0.3) {
      seen.last = last;
      return this.plot.draw();
    }
    const rates = [(stored - last.stored) / seconds, (duplicates - last.duplicates) / seconds];
    seen.history.add(...rates);
    this.plot.draw();
    this.figures.set("new", `${measure(rates[0])}/s`, "stored events");
    this.figures.set("duplicates", `${measure(rates[1])}/s`, "not stored again");
  }

  #showTopics(stats) {
    const topics = Object.entries(stats.by_topic).filter(([, { duplicates }]) => duplicates > 0)
      .sort(([, a], [, b]) => b.duplicates - a.duplicates).slice(0, TOPICS);
    const largest = topics[0]?.[1].duplicates ?? 1;
    const key = JSON.stringify(topics);
    if (key === this.topicsKey) return;
    this.topicsKey = key;
    this.topics.replaceChildren(...topics.map(([topic, { unique, duplicates }]) => {
      const bar = h("i", { "aria-hidden": "true" });
      bar.style.width = `${(duplicates / largest) * 100}%`;
      return h("li", null, h("a", { href: this.context.link("events", [["topic", topic]]) }, bdi(topic)),
        h("span", null, `${number(duplicates)} · ${percent(duplicates / (unique + duplicates))}`), bar);
    }), topics.length ? "" : h("li.muted", null, "No duplicates so far."));
  }

  #showNode({ node, uptime_seconds: uptime }) {
    say(this.node, `version ${node.version} · up ${duration(uptime)} · ${counted(node.in_flight.events, "event")} in flight`);
    this.#showStore(node.store, node.namespace_trouble);
    const rows = [...node.shards, ...node.writers, node.stats];
    const key = JSON.stringify(rows);
    if (key === this.actorsKey) return;
    this.actorsKey = key;
    this.actors.replaceChildren(...rows.map((actor) => h("tr", null,
      h("th", { scope: "row" }, actor.name),
      h("td", null, h("span.pill", { "data-state": actor.running ? "good" : "bad" }, actor.running ? "running" : "restarting")),
      h("td.end", null, number(actor.queue)),
      h("td.end", null, actor.window_ids === undefined ? "–" : number(actor.window_ids)),
      h("td.end", null, number(actor.restarts)),
      h("td", null, actor.last_ending ?? "–"))));
  }

  #showStore(store, trouble) {
    if (!store.lost) this.#lostSince = null;
    else this.#lostSince ??= Date.now();
    const losses = store.losses ? ` It was lost ${counted(store.losses, "time")} since this node started; the last time it took ${duration((store.last_recovery_ms ?? 0) / 1000)} to come back.` : "";
    const text = store.lost
      ? `The database has not taken a write for ${duration((Date.now() - this.#lostSince) / 1000)} or longer; publishes are told to try again.`
      : `The database takes writes.${losses}`;
    say(this.store, trouble ? `${text} This namespace has trouble: ${trouble}` : text);
    this.store.dataset.state = store.lost || trouble ? "bad" : "good";
  }

  #showProblem(problem) {
    if (this.element.dataset.empty === "unknown") this.#arrange(false);
    seen.last = null;
    this.store.dataset.state = "bad";
    say(this.store, problem.status === 0 ? problem.message : `The service does not tell its figures: ${problem.message}`);
    this.figures.set("new", "–", "stored events");
    this.figures.set("duplicates", "–", "not stored again");
  }
}

/** Large figures with a name above and a word below. */
class Figures {
  #cells = new Map();

  constructor(names) {
    this.element = h("dl.figures", null, names.map(([id, name]) => {
      const value = h("strong", null, "–");
      const note = h("small", null, "\u00a0");
      this.#cells.set(id, [value, note]);
      return h("div", { id: `figure-${id}` }, h("dt", null, name), h("dd", null, value, note));
    }));
  }

  set(id, text, note) {
    const cells = this.#cells.get(id);
    say(cells[0], text);
    say(cells[1], note);
  }
}
