/** Makes elements. What is stored reaches the page only as text nodes and attribute values, never as markup. */

/** `h("a.button", { href: "#x", onclick }, "text", child)`. Attributes that are null or false are left out. */
export function h(name, attributes, ...children) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "value" || key === "checked") element[key] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  append(element, children);
  return element;
}

function append(element, children) {
  for (const child of children) {
    if (Array.isArray(child)) append(element, child);
    else if (child !== null && child !== undefined && child !== false) element.append(child);
  }
}

/** The same for SVG, without children that are text. */
export function svg(name, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes ?? {})) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** Sets a text only where it differs, so that nothing is drawn anew or read out again without need. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A text of unknown origin: whichever direction it is written in, what stands beside it keeps its place. */
export function bdi(text, attributes) {
  return h("bdi", attributes, text);
}

/** A button that opens a small panel below itself. It closes with Escape, or when the focus or a click goes elsewhere. */
export function menu(label, panel, attributes) {
  const summary = h("summary.button", null, label);
  const box = h("div.panel", null, panel);
  const details = h("details.menu", attributes, summary, box);
  details.addEventListener("toggle", () => {
    const { left } = details.getBoundingClientRect();
    box.classList.toggle("leftwards", left + box.offsetWidth > document.documentElement.clientWidth);
  });
  details.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !details.open) return;
    details.open = false;
    summary.focus();
    event.stopPropagation();
  });
  details.addEventListener("focusout", (event) => {
    if (event.relatedTarget && !details.contains(event.relatedTarget)) details.open = false;
  });
  return details;
}

document.addEventListener("pointerdown", (event) => {
  for (const details of document.querySelectorAll("details.menu[open]")) {
    if (!details.contains(event.target)) details.open = false;
  }
});

/** Opens a modal dialog, and returns it. It leaves the document when it closes. */
export function dialog(title, ...children) {
  const element = h("dialog", { "aria-label": title },
    h("header", null, h("h2", null, title),
      h("button.icon", { type: "button", "aria-label": "Close", onclick: () => element.close() }, "✕")),
    ...children);
  element.addEventListener("close", () => element.remove());
  element.addEventListener("pointerdown", (event) => {
    if (event.target === element && outside(element, event)) element.close();
  });
  document.body.append(element);
  element.showModal();
  return element;
}

function outside(element, event) {
  const box = element.getBoundingClientRect();
  return event.clientX < box.left || event.clientX > box.right
    || event.clientY < box.top || event.clientY > box.bottom;
}

/** Asks before something is done that cannot be undone. Resolves to whether it was confirmed. */
export function confirmed(title, text, action) {
  return new Promise((resolve) => {
    const form = h("form", { method: "dialog" },
      h("p", null, text),
      h("div.actions", null,
        h("button.button", { value: "no", autofocus: true }, "Cancel"),
        h("button.button.danger", { value: "yes" }, action)));
    const element = dialog(title, form);
    element.addEventListener("close", () => resolve(element.returnValue === "yes"));
  });
}

/** Says shortly that something was done. */
export function toast(text) {
  const element = document.getElementById("toast");
  element.textContent = text;
  element.classList.add("shown");
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => element.classList.remove("shown"), 4_000);
}

/** Puts a text into the clipboard, also where the page came without TLS and browsers hide the clipboard. */
export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea.offscreen", { value: text, "aria-hidden": "true" });
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) return toast("The browser does not let this page copy.");
  }
  toast(`Copied ${what}.`);
}
