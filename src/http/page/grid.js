/**
 * A table of which only the rows in sight exist. All rows have one height. The keyboard moves a current row, which
 * screen readers are told by `aria-activedescendant`.
 */
import { h } from "./dom.js";

const BEYOND = 8;
let rows = 0;

export class Grid {
  #rows = new Map();
  #count = 0;
  #current = null;
  #frame = 0;

  /**
   * `options.key(index)` names the row, `options.row(index)` makes its cells, `options.open(index)` is called for the row
   * that was chosen, `options.move(index)` when the keyboard moved; `options.end(which)` when an end comes into sight.
   */
  constructor(label, options) {
    this.options = options;
    this.head = h("div.grid-head", { role: "row", "aria-rowindex": 1 });
    this.body = h("div.grid-body", { role: "rowgroup" });
    this.element = h("div.grid", {
      role: "grid", tabindex: 0, "aria-label": label, "aria-readonly": "true",
      onscroll: () => this.#later(),
      onkeydown: (event) => this.#key(event),
      onclick: (event) => this.#click(event),
    }, h("div.grid-top", { role: "rowgroup" }, this.head), this.body);
    this.observer = new ResizeObserver(() => this.#later());
    this.observer.observe(this.element);
  }

  close() {
    this.observer.disconnect();
    cancelAnimationFrame(this.#frame);
  }

  /** Sets the columns: `[{ name, width, end, content }]`. */
  columns(columns) {
    this.head.replaceChildren(...columns.map(({ name, content, end, sort }) =>
      h(end ? "span.end" : "span", { role: "columnheader", "aria-sort": sort ?? null }, content ?? name)));
    this.element.style.setProperty("--columns", columns.map(({ width }) => width).join(" "));
    this.redraw();
  }

  get rowHeight() {
    return Number.parseFloat(getComputedStyle(this.element).getPropertyValue("--row")) || 32;
  }

  get isAtTop() {
    return this.element.scrollTop < this.rowHeight / 2;
  }

  /** Sets the number of rows, of which `added` are new on top and `removed` gone there: what is in sight stays. */
  update(count, added = 0, removed = 0) {
    const height = this.rowHeight;
    const top = this.element.scrollTop;
    this.#count = count;
    this.element.setAttribute("aria-rowcount", count + 1);
    this.body.style.height = `${count * height}px`;
    if (added !== removed && !this.isAtTop) this.element.scrollTop = top + (added - removed) * height;
    this.draw();
  }

  /** Makes all rows anew. */
  redraw() {
    for (const element of this.#rows.values()) element.remove();
    this.#rows.clear();
    this.draw();
  }

  draw() {
    const height = this.rowHeight;
    // Rows are higher in a narrow table, which a table may become.
    this.body.style.height = `${this.#count * height}px`;
    const top = this.element.scrollTop;
    const first = Math.max(0, Math.floor(top / height) - BEYOND);
    const last = Math.min(this.#count, Math.ceil((top + this.element.clientHeight) / height) + BEYOND);
    const kept = new Map();
    for (let index = first; index < last; index += 1) {
      const key = this.options.key(index);
      const element = this.#rows.get(key) ?? this.#make(key, index);
      this.#rows.delete(key);
      kept.set(key, element);
      element.style.transform = `translateY(${index * height}px)`;
      element.setAttribute("aria-rowindex", index + 2);
    }
    for (const element of this.#rows.values()) element.remove();
    this.#rows = kept;
    this.body.role = this.#count ? "rowgroup" : "presentation";
    this.#mark();
    if (this.#count && top < height * 20) this.options.end?.("top");
    if (this.#count && top + this.element.clientHeight > (this.#count - 20) * height) this.options.end?.("bottom");
  }

  #make(key, index) {
    const element = h("div.grid-row", { role: "row", id: `row${(rows += 1)}` }, this.options.row(index));
    element.key = key;
    this.body.append(element);
    return element;
  }

  #later() {
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => this.draw());
  }

  /** The row with the focus; null for none. */
  set current(key) {
    this.#current = key;
    this.#mark();
  }

  #mark() {
    for (const [key, element] of this.#rows) {
      element.setAttribute("aria-selected", key === this.#current ? "true" : "false");
    }
    const active = this.#rows.get(this.#current);
    if (active) this.element.setAttribute("aria-activedescendant", active.id);
    else this.element.removeAttribute("aria-activedescendant");
  }

  /** Scrolls as little as it takes to have the row in sight, or to have it in the middle. */
  show(index, inTheMiddle = false) {
    const height = this.rowHeight;
    const room = this.element.clientHeight - this.head.offsetHeight;
    const top = index * height;
    if (inTheMiddle) this.element.scrollTop = top - room / 2;
    else if (top < this.element.scrollTop) this.element.scrollTop = top;
    else if (top + height > this.element.scrollTop + room) this.element.scrollTop = top + height - room;
    this.draw();
  }

  #index() {
    for (let index = 0; this.#current !== null && index < this.#count; index += 1) {
      if (this.options.key(index) === this.#current) return index;
    }
    return -1;
  }

  #key(event) {
    if (event.target !== this.element || event.ctrlKey || event.metaKey || event.altKey) return;
    const at = this.#index();
    const screen = Math.max(1, Math.floor(this.element.clientHeight / this.rowHeight) - 2);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: screen, PageUp: -screen };
    let to;
    if (event.key in steps) to = at < 0 ? Math.round(this.element.scrollTop / this.rowHeight) : at + steps[event.key];
    else if (event.key === "Home") to = 0;
    else if (event.key === "End") to = this.#count - 1;
    else if ((event.key === "Enter" || event.key === " ") && at >= 0) this.options.open?.(at);
    else return;
    event.preventDefault();
    if (to === undefined || this.#count === 0) return;
    to = Math.max(0, Math.min(this.#count - 1, to));
    this.#current = this.options.key(to);
    this.show(to);
    this.options.move?.(to);
  }

  #click(event) {
    const row = event.target.closest(".grid-row");
    if (!row || event.target.closest("a, button") || String(getSelection())) return;
    this.#current = row.key;
    this.#mark();
    const index = this.#index();
    if (index >= 0) this.options.open?.(index);
  }
}
