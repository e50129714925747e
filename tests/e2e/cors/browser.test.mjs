// Pages of other origins in a real Chromium: a listed origin works with the published SDK, every other does not.
//
// Each test runs its code *in the page*; what is returned is what the page's author would see. The service, the two page
// origins and the id of its Redis come from `tests/e2e/cors.sh`. Limits: one browser, HTTP on loopback.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const { SERVICE, SERVICE_OFF, LISTED, OTHER, TOKEN, REDIS_PID, CHROMIUM } = process.env;

let browser;
before(async () => {
  // Inside a container there is no user namespace to build the sandbox from; the pages are our own.
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"], timeout: 90_000 });
});
after(() => browser?.close());

/// Runs `code` in a fresh page of `origin`; its argument knows where the service is.
const inPage = async (origin, code, more = {}) => {
  const context = await browser.newContext();
  try {
    const page = await context.newPage();
    await page.goto(origin);
    return await page.evaluate(code, { url: SERVICE, token: TOKEN, ...more });
  } finally {
    await context.close();
  }
};

/// What a page gets from a fetch: the answer, or that the browser withheld it.
const look = async ({ url, token, path, init = {}, headers = ["etag"] }) => {
  const authorization = token ? { Authorization: `Bearer ${token}` } : {};
  try {
    const response = await fetch(url + path, { ...init, headers: { ...authorization, ...init.headers } });
    const seen = Object.fromEntries(headers.map((name) => [name, response.headers.get(name)]));
    return { status: response.status, text: await response.text(), seen };
  } catch (error) {
    return { withheld: error.name };
  }
};

/// The same asked by this process, which no browser holds back: what is really stored.
const stored = async (key) => {
  const response = await fetch(`${SERVICE}/get/${key}`, { headers: { Authorization: `Bearer ${TOKEN}` } });
  return (await response.json()).result;
};

const withheld = { withheld: "TypeError" };

/// Everything a visitor's page does with the SDK.
const visit = async ({ url, token }) => {
  const { Redis } = await import("@upstash/redis");
  const redis = new Redis({ url, token, retry: { retries: 0 } });
  try {
    await redis.set("visitor", { name: "Ada" });
    const [count, list] = await redis.pipeline().incr("visits").rpush("names", "Ada").exec();
    const both = await redis.multi().get("visitor").get("visits").exec();
    return { value: await redis.get("visitor"), count, list, both, scan: (await redis.scan(0, { match: "vis*" }))[1].length };
  } catch (error) {
    return { failed: `${error.name}: ${error.message}` };
  }
};

test("a page of a listed origin uses the published SDK", async () => {
  const seen = await inPage(LISTED, visit);
  assert.deepEqual(seen, { value: { name: "Ada" }, count: 1, list: 1, both: [{ name: "Ada" }, 1], scan: 2 });
});

test("a page of another origin gets nothing through the SDK, and nothing it wanted to write is written", async () => {
  const before = await stored("visits");
  const seen = await inPage(OTHER, visit);
  assert.match(seen.failed ?? JSON.stringify(seen), /TypeError: Failed to fetch/);
  assert.equal(await stored("visits"), before);
});

test("while cross-origin use is off no page of another origin gets anything", async () => {
  assert.match((await inPage(LISTED, visit, { url: SERVICE_OFF })).failed, /TypeError: Failed to fetch/);
  assert.deepEqual(await inPage(LISTED, look, { url: SERVICE_OFF, path: "/problems", token: "" }), withheld);
});

test("a page of a listed origin hears messages through the SDK", async () => {
  const heard = await inPage(LISTED, async ({ url, token }) => {
    const { Redis } = await import("@upstash/redis");
    const redis = new Redis({ url, token, retry: { retries: 0 } });
    const subscriber = redis.subscribe("room");
    const message = new Promise((heard) => subscriber.on("message", (event) => heard(event.message)));
    await new Promise((confirmed) => subscriber.on("subscribe", confirmed));
    await redis.publish("room", "hello");
    const text = await message;
    await subscriber.unsubscribe();
    return text;
  });
  assert.equal(heard, "hello");
});

test("a page of a listed origin uses the resources and reads the headers it needs", async () => {
  const put = { method: "PUT", body: "v", headers: { "Content-Type": "text/plain", "X-Request-Timeout-Ms": "9000" } };
  const path = "/v1/keys/from-a-page";
  const written = await inPage(LISTED, look, { path, init: put });
  assert.equal(written.status, 201);
  assert.match(written.seen.etag, /^"[0-9a-f]{40}"$/);
  const read = await inPage(LISTED, look, { path, headers: ["etag", "x-request-id"] });
  assert.deepEqual([read.status, read.text, read.seen.etag], [200, "v", written.seen.etag]);
  assert.ok(read.seen["x-request-id"]);
  assert.equal((await inPage(LISTED, look, { path, init: { method: "DELETE" } })).status, 204);
  assert.deepEqual(await inPage(OTHER, look, { path, init: put }), withheld);
  assert.equal(await stored("from-a-page"), null);
});

test("a page of a listed origin can read why it was refused", async () => {
  const problem = await inPage(LISTED, look, { path: "/v1/keys/a", token: "wrong" });
  assert.deepEqual([problem.status, JSON.parse(problem.text).code], [401, "unauthenticated"]);
  const missing = await inPage(LISTED, look, { path: "/v1/keys/none", headers: ["collective-outcome"] });
  assert.deepEqual([missing.status, missing.seen["collective-outcome"]], [404, "not_executed"]);
  const told = await inPage(LISTED, async ({ url }) => {
    const { Redis } = await import("@upstash/redis");
    return new Redis({ url, token: "wrong", retry: { retries: 0 } }).get("a").catch((error) => error.message);
  });
  assert.match(told, /WRONGPASS/);
});

test("a page of another origin cannot read what it may ask without a preflight either", async () => {
  const path = `/get/visitor?_token=${TOKEN}`;
  assert.equal((await inPage(LISTED, look, { path, token: "" })).status, 200);
  assert.deepEqual(await inPage(OTHER, look, { path, token: "" }), withheld);
});

test("a page that asks with cookies reads nothing, of whatever origin it is", async () => {
  const path = `/get/visitor?_token=${TOKEN}`;
  const init = { credentials: "include" };
  assert.deepEqual(await inPage(LISTED, look, { path, token: "", init }), withheld);
});

test("a sandboxed page, whose origin is null, reads nothing", async () => {
  const seen = await inPage(LISTED, async ({ url, token }) => {
    const frame = document.createElement("iframe");
    frame.sandbox = "allow-scripts";
    frame.srcdoc = `<script>fetch("${url}/get/visitor?_token=${token}").then((r) => r.text(), (e) => e.name)
      .then((text) => parent.postMessage([origin, text], "*"))</script>`;
    const heard = new Promise((ready) => addEventListener("message", (event) => ready(event.data), { once: true }));
    document.body.append(frame);
    return heard;
  });
  assert.deepEqual(seen, ["null", "TypeError"]);
});

test("a page of a listed origin is told of an outage, and when to come back", async () => {
  process.kill(Number(REDIS_PID), "SIGSTOP");
  try {
    const told = { path: "/v1/keys/a", headers: ["retry-after", "collective-outcome"] };
    let seen;
    // The first calls wait for their attempt; then the breaker is open and says when to come back.
    for (let tries = 0; tries < 20 && !seen?.seen?.["retry-after"]; tries++) seen = await inPage(LISTED, look, told);
    assert.deepEqual([seen.status, seen.seen["collective-outcome"]], [503, "not_executed"]);
    assert.match(seen.seen["retry-after"], /^[0-9]+$/);
  } finally {
    process.kill(Number(REDIS_PID), "SIGCONT");
  }
});
