/** A plot of new and duplicate events since the page was opened, drawn as it comes. */
import { h, say, svg } from "./dom.js";
import { duration, localTime, measure } from "./format.js";

const POINTS_MAX = 600;
const WIDTH = 1000;
const HEIGHT = 200;

/** Rates over any time in a bounded number of points: where there are too many, each stands for twice as much. */
export class History {
  /** `[time in ms, new a second, duplicates a second, samples]` */
  points = [];
  #each = 1;

  add(stored, duplicates, time = Date.now()) {
    const sample = [time, stored, duplicates, 1];
    if (this.points.at(-1)?.[3] < this.#each) this.points.push(mean(this.points.pop(), sample));
    else this.points.push(sample);
    if (this.points.length <= POINTS_MAX) return;
    this.#each *= 2;
    this.points = this.points.flatMap((point, index, all) => (index % 2 ? [mean(all[index - 1], point)] : index + 1 < all.length ? [] : [point]));
  }
}

function mean(earlier, later) {
  const samples = earlier[3] + later[3];
  const of = (field) => (earlier[field] * earlier[3] + later[field] * later[3]) / samples;
  return [later[0], of(1), of(2), samples];
}

export class Plot {
  constructor(history) {
    this.history = history;
    this.stored = svg("path", { class: "line stored" });
    this.storedArea = svg("path", { class: "area stored" });
    this.duplicate = svg("path", { class: "line duplicate" });
    this.duplicateArea = svg("path", { class: "area duplicate" });
    this.cursor = svg("line", { class: "cursor", y1: 0, y2: HEIGHT, visibility: "hidden" });
    const grid = [0, 0.5, 1].map((y) => svg("line", { class: "rule", x1: 0, x2: WIDTH, y1: y * HEIGHT, y2: y * HEIGHT }));
    this.drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" },
      ...grid, this.storedArea, this.duplicateArea, this.stored, this.duplicate, this.cursor);
    this.top = h("span.plot-top");
    this.middle = h("span.plot-middle");
    this.at = h("span.plot-at");
    this.begin = h("span");
    this.frame = h("div.plot-frame", {
      onpointermove: (event) => this.#point(event),
      onpointerleave: () => this.#point(null),
    }, this.drawing, this.top, this.middle, this.at);
    this.element = h("div.plot", null, this.frame, h("div.plot-axis", { "aria-hidden": "true" }, this.begin, h("span", null, "now")));
  }

  get #points() {
    return this.history.points;
  }

  draw() {
    const now = this.#points.at(-1)?.[0] ?? Date.now();
    const begin = this.#points[0]?.[0] ?? now;
    // A minute at first, so that the first points do not jump; then what there is.
    const span = Math.max(60_000, now - begin);
    const largest = Math.max(1, ...this.#points.map(([, stored, duplicates]) => Math.max(stored, duplicates)));
    const top = roundUp(largest);
    this.scale = (time) => WIDTH * (1 - (now - time) / span);
    const height = (value) => HEIGHT * (1 - value / top);
    for (const [line, area, field] of [[this.stored, this.storedArea, 1], [this.duplicate, this.duplicateArea, 2]]) {
      const steps = this.#points.map((point) => `${this.scale(point[0]).toFixed(1)},${height(point[field]).toFixed(1)}`);
      const path = steps.length ? `M${steps.join("L")}` : "";
      line.setAttribute("d", path);
      const x = this.#points.length ? this.scale(begin).toFixed(1) : 0;
      area.setAttribute("d", path && `${path}L${WIDTH},${HEIGHT}L${x},${HEIGHT}Z`);
    }
    say(this.top, `${measure(top)}/s`);
    say(this.middle, `${measure(top / 2)}/s`);
    say(this.begin, `${duration(span / 1000).replace(/ 0 .*/, "")} ago`);
    const last = this.#points.at(-1);
    this.drawing.setAttribute("aria-label", last
      ? `Plot of events a second: now ${measure(last[1])} new and ${measure(last[2])} duplicates`
      : "Plot of events a second: no data yet");
  }

  /** Shows the figures under the pointer. */
  #point(event) {
    const box = this.frame.getBoundingClientRect();
    const x = event && ((event.clientX - box.left) / box.width) * WIDTH;
    const near = event && nearest(this.#points, (point) => Math.abs(this.scale(point[0]) - x));
    this.cursor.setAttribute("visibility", near ? "visible" : "hidden");
    if (!near) return say(this.at, "");
    const place = this.scale(near[0]);
    this.cursor.setAttribute("x1", place);
    this.cursor.setAttribute("x2", place);
    say(this.at, `${localTime(new Date(near[0]))}  ${measure(near[1])} new/s  ${measure(near[2])} duplicates/s`);
  }
}

function nearest(points, distance) {
  return points.reduce((best, point) => (best && distance(best) <= distance(point) ? best : point), null);
}

/** The next of 1, 2, 5, 10, 20, 50, … */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
}
