// /docs/ in Chromium: it shows the document, takes a token, sends a request, and loads nothing its policy forbids.
//
// `tests/e2e/openapi.sh` starts the service and names it in the environment. Limits: one browser; what the page looks like is
// Swagger UI's affair.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const { PUBLIC, TOKEN, CHROMIUM } = process.env;
const complaints = [];
const elsewhere = [];
let browser;
let page;

before(async () => {
  // Inside a container there is no user namespace to build the sandbox from; the page is our own.
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"], timeout: 90_000 });
  page = await browser.newPage();
  page.setDefaultTimeout(20000);
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(`http://${PUBLIC}/`) && !url.startsWith("data:")) elsewhere.push(url);
  });
  // Counted by the browser itself, also where it says nothing on the console.
  await page.addInitScript(() => {
    globalThis.violations = [];
    addEventListener("securitypolicyviolation", (event) => {
      globalThis.violations.push(`${event.violatedDirective}: ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`);
    });
  });
});
after(() => browser?.close());

const operation = (id) => page.locator(`.opblock[id$="-${id}"]`);

/// Sends an operation's example with the page's own buttons; gives the status and the body it shows.
const tryOut = async (id) => {
  await operation(id).locator(".opblock-summary-control").click();
  await operation(id).getByRole("button", { name: "Try it out" }).click();
  await operation(id).getByRole("button", { name: "Execute" }).click();
  const told = operation(id).locator(".live-responses-table .response");
  await told.waitFor();
  const status = await told.locator(".response-col_status").innerText();
  return { status: Number.parseInt(status, 10), text: await told.locator(".response-col_description").innerText() };
};

test("the page shows the document", async () => {
  const answer = await page.goto(`http://${PUBLIC}/docs`);
  assert.equal(answer.status(), 200);
  assert.equal(page.url(), `http://${PUBLIC}/docs/`);
  await operation("incrementCounter").waitFor();
  assert.match(await page.locator(".info .title").innerText(), /The Collective/);
  assert.ok((await page.locator(".opblock").count()) > 50);
});

test("without a token a request is refused, and the page shows why", async () => {
  const { status, text } = await tryOut("readCounter");
  assert.equal(status, 401, text);
  assert.match(text, /unauthenticated/);
});

test("with a token an example works against the service", async () => {
  await page.locator(".auth-wrapper .authorize").first().click();
  await page.locator(".auth-container input").fill(TOKEN);
  await page.locator(".auth-container button[type=submit]").click();
  await page.locator(".btn-done").click();
  const { status, text } = await tryOut("incrementCounter");
  assert.equal(status, 200, text);
  assert.match(text, /"value": 5/);
  assert.match(text, /x-request-id/);
  const stored = await fetch(`http://${PUBLIC}/v1/counters/visits`, { headers: { Authorization: `Bearer ${TOKEN}` } });
  assert.deepEqual(await stored.json(), { value: 5 });
});

test("the token is not kept, nothing is loaded from elsewhere, and the policy was never broken", async () => {
  const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]));
  assert.ok(!kept.includes(TOKEN), kept);
  assert.deepEqual(elsewhere, []);
  assert.deepEqual(await page.evaluate(() => globalThis.violations), []);
  // The 401 above is on the console; nothing else may be.
  assert.deepEqual(complaints.filter((text) => !text.includes("401")), []);
});
