import test from "node:test";
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { deepEqual, equal } from "node:assert/strict";
import worker from "../examples/worker/index.mjs";
import { token, until, url } from "./service.mjs";

const run = promisify(execFile);
const example = (path) => fileURLToPath(new URL(`../examples/${path}`, import.meta.url));
const output = async (program, path) => (await run(program, [example(path)], { timeout: 20_000 })).stdout.trim().split("\n");
const env = { UPSTASH_REDIS_REST_URL: url, UPSTASH_REDIS_REST_TOKEN: token };
const visit = (from, settings = env) =>
  worker.fetch(new Request("https://example.test/page", { headers: { "cf-connecting-ip": from } }), settings);

test("the Node guest book counts its visits", async () => {
  deepEqual(await output(process.execPath, "node/guestbook.mjs"), ["Ada: visit 1, last guest Grace, I tidy up"]);
  deepEqual(await output(process.execPath, "node/guestbook.mjs").then(([line]) => line.slice(0, 12)), "Ada: visit 2");
});

test("the Node chat hears itself and ends", async () => {
  deepEqual(await output(process.execPath, "node/chat.mjs"), ["chat:lobby Ada: hello"]);
});

test("the curl guest book needs no SDK", async () => {
  deepEqual(await output("sh", "curl/guestbook.sh"), [
    '{"result":"OK"}',
    '{"result":"OK"}',
    '{"result":"Be brief / be kind"}',
    '[{"result":0},{"result":2},{"result":2}]',
    '[{"result":"Grace"},{"result":["Alan"]}]',
  ]);
});

test("the worker counts visits and limits each caller", async () => {
  // The ten seconds are those of the clock: crossing into the next ones would let one more call pass.
  await until(() => Date.now() % 10_000 < 5_000, "a window has just begun");
  for (let n = 1; n <= 5; n += 1) deepEqual(await (await visit("192.0.2.1")).json(), { visits: n });
  const limited = await visit("192.0.2.1");
  equal(limited.status, 429);
  equal(Number(limited.headers.get("Retry-After")) >= 1, true);
  deepEqual(await (await visit("192.0.2.2")).json(), { visits: 6 });
});

test("the worker shows its page when the service refuses", async () => {
  const answer = await visit("192.0.2.3", { ...env, UPSTASH_REDIS_REST_TOKEN: "wrong" });
  equal(answer.status, 200);
  deepEqual(await answer.json(), { visits: null });
});
