// Chromium without a window, driven over WebDriver (https://www.w3.org/TR/webdriver2/).
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import assert from "node:assert/strict";

const LIMIT = 20_000;
const ELEMENT = "element-6066-11e4-a52e-4f735466cecf";
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export const KEYS = { enter: "\uE007", escape: "\uE00C", tab: "\uE004", down: "\uE015", up: "\uE013", end: "\uE010", home: "\uE011" };

/** Waits until `condition` returns something, and returns that. */
export async function until(what, condition, limit = LIMIT) {
  const end = Date.now() + limit;
  let failure;
  do {
    try {
      const found = await condition();
      if (found) return found;
    } catch (error) {
      failure = error;
    }
    await new Promise((resolve) => setTimeout(resolve, 40));
  } while (Date.now() < end);
  throw new Error(`not within ${limit / 1000} s: ${what}`, { cause: failure });
}

export class Browser {
  static async start({ width = 1280, height = 800 } = {}) {
    const driver = spawn("chromedriver", ["--port=0"], { stdio: ["ignore", "pipe", "inherit"] });
    const port = await new Promise((resolve, reject) => {
      let text = "";
      driver.on("error", reject);
      driver.on("exit", (code) => reject(new Error(`chromedriver ended with ${code}`)));
      driver.stdout.on("data", (data) => {
        text += data;
        const found = /successfully on port (\d+)/.exec(text);
        if (found) resolve(found[1]);
      });
    });
    const browser = new Browser();
    Object.assign(browser, { driver, base: `http://127.0.0.1:${port}` });
    const { sessionId } = await browser.call("POST", "/session", { capabilities: { alwaysMatch: {
      browserName: "chrome",
      "goog:chromeOptions": { args: ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--lang=en-US", `--window-size=${width},${height}`] },
      "goog:loggingPrefs": { browser: "ALL" },
    } } });
    browser.base += `/session/${sessionId}`;
    await browser.size(width, height);
    return browser;
  }

  async stop() {
    await this.call("DELETE", "").catch(() => {});
    this.driver.removeAllListeners("exit");
    this.driver.kill();
  }

  async call(method, path, body) {
    const response = await fetch(this.base + path, {
      method, body: method === "POST" ? JSON.stringify(body ?? {}) : undefined, signal: AbortSignal.timeout(60_000),
    });
    const { value } = await response.json();
    if (!response.ok) throw new Error(`${method} ${path}: ${value.error}: ${value.message}`);
    return value;
  }

  /** Closes the page, so that it asks for nothing any more. */
  leave() {
    return this.call("POST", "/url", { url: "about:blank" });
  }

  /** Loads an address, anew even where only its fragment differs. */
  async open(url) {
    await this.leave();
    await this.call("POST", "/url", { url });
  }

  /** Runs a function in the page; it may be asynchronous. */
  run(script, ...args) {
    return this.call("POST", "/execute/sync", { script: `return (${script}).apply(null, arguments)`, args });
  }

  protocol(cmd, params) {
    return this.call("POST", "/goog/cdp/execute", { cmd, params });
  }

  size(width, height) {
    return this.protocol("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: false });
  }

  scheme(value) {
    return this.protocol("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value }] });
  }

  /** The element that a selector finds, as soon as it is there and shown. */
  find(selector) {
    return until(`${selector} is shown`, async () => {
      const element = await this.call("POST", "/element", { using: "css selector", value: selector });
      return (await this.call("GET", `/element/${element[ELEMENT]}/displayed`)) && element[ELEMENT];
    });
  }

  async click(selector) {
    await this.call("POST", `/element/${await this.find(selector)}/click`);
  }

  async type(selector, text) {
    const id = await this.find(selector);
    await this.call("POST", `/element/${id}/clear`);
    await this.call("POST", `/element/${id}/value`, { text });
  }

  /** Presses keys where the focus is. */
  async press(...keys) {
    const actions = keys.flatMap((value) => [{ type: "keyDown", value }, { type: "keyUp", value }]);
    await this.call("POST", "/actions", { actions: [{ type: "key", id: "keyboard", actions }] });
  }

  text(selector) {
    return this.run((selector) => document.querySelector(selector)?.innerText ?? "", selector);
  }

  /** Waits until the text of an element matches, and returns the match. */
  says(selector, pattern) {
    return until(`${selector} says ${pattern}`, async () => {
      const text = await this.text(selector);
      const found = pattern.exec(text);
      if (!found) throw new Error(`it says: ${text.slice(0, 500)}`);
      return found;
    });
  }

  async screenshot() {
    return Buffer.from(await this.call("GET", "/screenshot"), "base64");
  }

  /** What was written to the console since the last time, without the addresses that are expected to fail. */
  async messages(expected = []) {
    const entries = await this.call("POST", "/se/log", { type: "browser" });
    return entries.map(({ source, message }) => `${source}: ${message}`)
      .filter((message) => !expected.some((pattern) => pattern.test(message)));
  }

  /** Holds the page to the rules of accessibility. */
  async assertAccessible(what) {
    await this.call("POST", "/execute/sync", { script: AXE, args: [] });
    const { violations } = await this.run(() => axe.run(document, { resultTypes: ["violations"] }));
    const found = violations.flatMap(({ id, help, nodes }) => nodes.map(({ target, failureSummary }) => `${id}: ${help}: ${target}: ${failureSummary}`));
    assert.deepEqual(found, [], what);
  }
}
