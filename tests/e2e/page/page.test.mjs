// The operator's page as people see it, in Chromium: calm, in an outage, after it, and when the service goes away.
//
// `tests/e2e/page.sh` starts the service and names it in the environment. The tests tell one story in order: each begins
// in the state the one before left. Every wait is for a condition; screenshots are kept for people to look at.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const { PUBLIC, OPERATOR, TOKEN, SHOTS, CHROMIUM } = process.env;
const redis = Number(process.env.REDIS_PID);
const gateway = Number(process.env.GATEWAY_PID);
const address = `http://${OPERATOR}/`;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const SIZES = { wide: { width: 1200, height: 900 }, narrow: { width: 390, height: 844 } };

let browser;
let traffic = true;
const complaints = [];

/// Callers who go on whatever happens: without them a frozen Redis would be noticed by the probes alone.
const callers = async () => {
  const headers = { Authorization: `Bearer ${TOKEN}` };
  const ask = (path, options = {}) =>
    fetch(`http://${PUBLIC}${path}`, { headers, ...options }).then((answer) => answer.arrayBuffer(), () => {});
  for (let n = 0; traffic; n += 1) {
    ask(`/v1/keys/page:${n % 9}`, n % 3 ? {} : { method: "PUT", body: `value ${n}` });
    await new Promise((go) => setTimeout(go, 20));
  }
};

const open = async (options = {}) => {
  const context = await browser.newContext({ viewport: SIZES.wide, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(15000);
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(error.message));
  await page.goto(address);
  return page;
};

const live = async (page) => page.waitForSelector("html[data-link=live]");
const word = (page, n) => page.textContent(`[data-live="text:b${n}_word"]`);
const becomes = (page, n, state) =>
  page.waitForFunction(
    ([n, state]) => document.querySelector(`[data-live="text:b${n}_word"]`).textContent === state,
    [n, state],
    { polling: 20 },
  );

/// Notes in the page when a breaker's word changes.
const watch = (page) =>
  page.evaluate(() => {
    window.seen = [];
    const word = document.querySelector('[data-live="text:b0_word"]');
    new MutationObserver(() => window.seen.push([word.textContent, Date.now()])).observe(word, {
      childList: true,
      characterData: true,
      subtree: true,
    });
  });

/// An empty page that notes every 20 ms that it had a turn: while the machine pauses it has none. Not the page itself, which may
/// have none because it is at work, and that is its own fault.
const TURN = 20;
const bystander = async () => {
  const page = await browser.newPage();
  await page.evaluate((turn) => {
    window.turns = [];
    setInterval(() => window.turns.push(Date.now()), turn);
  }, TURN);
  return page;
};

/// From a change of redis.read to its word in the page, by the clock that both have.
const delay = (page, state, sentence) =>
  page.evaluate(
    ([state, sentence]) => {
      const [, shown] = window.seen.find(([word]) => word === state);
      const entries = [...document.querySelectorAll("ol li")];
      const entry = entries.find((li) => li.textContent.includes("redis.read") && li.textContent.includes(sentence));
      return { shown, changed: Date.parse(entry.querySelector("time").dateTime) };
    },
    [state, sentence],
  );

/// Pictures by day and by night, wide and narrow, and what axe has to say about each.
const look = async (label) => {
  for (const colorScheme of ["light", "dark"])
    for (const [size, viewport] of Object.entries(SIZES)) {
      const page = await open({ colorScheme, viewport });
      await live(page);
      await page.screenshot({ path: `${SHOTS}/${label}-${colorScheme}-${size}.png`, fullPage: true });
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      assert.ok(overflow <= 0, `${label} ${colorScheme} ${size} is ${overflow} px too wide`);
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => window.axe.run());
      const bad = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
      assert.deepEqual(bad.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]), [], `${label} ${colorScheme} ${size}`);
      await page.context().close();
    }
};

before(async () => {
  browser = await chromium.launch({
    executablePath: CHROMIUM,
    timeout: 90_000,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync"],
  });
  callers();
});

after(async () => {
  traffic = false;
  await browser?.close();
});

test("without a script the page is a complete snapshot", async () => {
  const page = await open({ javaScriptEnabled: false });
  assert.equal(await page.textContent("h1"), "Healthy");
  assert.equal(await page.textContent("#link"), "snapshot");
  assert.equal(await word(page, 0), "closed");
  assert.ok(await page.isVisible("text=Take another"));
  await page.context().close();
});

test("with its script it is live, and the numbers move", async () => {
  const page = await open();
  await live(page);
  await page.waitForFunction(() => parseFloat(document.querySelector('[data-live="text:rate"]').textContent) > 5);
  await page.waitForFunction(() => document.querySelector(".all").getAttribute("d").length > 40);
  assert.equal(await page.textContent("#said"), "Healthy.");
  await page.context().close();
});

test("the policy lets no other script run", async () => {
  const page = await open();
  await live(page);
  const told = complaints.length;
  const ran = await page.evaluate(() => {
    const script = document.createElement("script");
    try {
      script.textContent = "window.intruder = true";
      document.head.append(script);
    } catch { /* trusted types say no */ }
    try { document.body.innerHTML = "<p>x</p>"; } catch { return window.intruder ?? "refused"; }
    return "markup was made from text";
  });
  assert.equal(ran, "refused");
  await page.context().close();
  // Only now has the browser said all it had to say about this.
  complaints.length = told;
});

test("calm, it looks as it should", async () => look("calm"));

test("a breaker that opens and closes is on the page within a second", async () => {
  const page = await open();
  await live(page);
  await watch(page);
  const beside = await bystander();
  process.kill(redis, "SIGSTOP");
  try {
    await becomes(page, 0, "open");
    await page.waitForFunction(() => document.querySelector("#said").textContent.includes("redis.read is open"));
    await page.waitForFunction(() => document.querySelector("h1").textContent === "Degraded, refusing calls");
    assert.equal(await page.title(), "Degraded, refusing calls · The Collective");
    await page.waitForFunction(() => document.querySelector(".refuses").getAttribute("d") !== "");
    await page.waitForFunction(() => document.querySelector(".lost").getAttribute("d").split("L").length > 4);
    await look("outage");
    const halves = await page.evaluate(() => window.seen.filter(([state]) => state === "half-open").map(([, at]) => at));
    const all = await beside.evaluate(() => window.turns);
    // What has lasted 600 ms is shown, rightly; a failing probe lasts so long where the machine paused, and nobody had a turn then.
    const flickers = halves.filter((at) => all.filter((turn) => at - 600 < turn && turn <= at).length * TURN > 300);
    assert.deepEqual(flickers, [], "failing probes must not make the page flicker");
  } finally {
    process.kill(redis, "SIGCONT");
  }
  await becomes(page, 0, "closed");
  await page.waitForFunction(() => document.querySelector("h1").textContent === "Healthy");
  for (const [state, sentence] of [["open", "open:"], ["closed", "closed:"]]) {
    const { shown, changed } = await delay(page, state, sentence);
    const all = await beside.evaluate(() => window.turns);
    const [took, turns] = [shown - changed, all.filter((at) => changed < at && at <= shown).length];
    // In turns, so that a machine that paused for a second is not taken for a page that was late.
    assert.ok(turns * TURN < 1000, `${state} took ${took} ms and ${turns} turns to the page`);
    assert.ok(all.length > 50, `the page beside it had ${all.length} turns in all`);
    console.log(`${state} was on the page after ${took} ms`);
  }
  await beside.close();
  await page.context().close();
});

test("after an outage it tells what happened", async () => look("after"));

test("whoever wants no motion gets none", async () => {
  const page = await open({ reducedMotion: "reduce" });
  await live(page);
  const motion = await page.evaluate(() =>
    [".beat", ".blade"].map((name) => getComputedStyle(document.querySelector(name))).flatMap((style) => [
      style.animationName, style.transitionDuration,
    ]));
  assert.deepEqual(motion, ["none", "0s", "none", "0s"]);
  await page.context().close();
});

test("when the service goes away the page says so and shows nothing old as new", async () => {
  const page = await open();
  await live(page);
  assert.deepEqual(complaints, [], "the browser had nothing to complain about so far");
  process.kill(gateway, "SIGTERM");
  await page.waitForSelector("html[data-link=lost]");
  assert.equal(await page.textContent("#link"), "connection lost");
  assert.match(await page.textContent("#said"), /Connection to the service lost/);
  await page.screenshot({ path: `${SHOTS}/lost.png`, fullPage: true });
  await page.context().close();
});
