import test, { beforeEach } from "node:test";
import { deepEqual, equal, ok } from "node:assert/strict";
import { Ratelimit } from "@upstash/ratelimit";
import { redis, until } from "./service.mjs";

const limiter = (algorithm, options = {}) =>
  new Ratelimit({ redis, limiter: algorithm, prefix: `limit${Math.random()}`, ephemeralCache: false, ...options });

// Windows begin at full hours: a test that crosses one would rightly see more calls pass.
beforeEach(() => until(() => Date.now() % 3_600_000 < 3_585_000, "the hour has fifteen seconds left", 20));

const algorithms = {
  "fixed window": Ratelimit.fixedWindow(5, "1 h"),
  "sliding window": Ratelimit.slidingWindow(5, "1 h"),
  "token bucket": Ratelimit.tokenBucket(5, "1 h", 5),
};
for (const [name, algorithm] of Object.entries(algorithms)) {
  test(`${name}: five of twelve concurrent calls pass, and the books agree`, async () => {
    const limit = limiter(algorithm);
    const answers = await Promise.all(Array.from({ length: 12 }, () => limit.limit("ada")));
    equal(answers.filter(({ success }) => success).length, 5);
    ok(answers.every(({ limit, reset }) => limit === 5 && reset > Date.now()));
    deepEqual([...answers.filter(({ success }) => success).map(({ remaining }) => remaining)].sort(), [0, 1, 2, 3, 4]);
    equal((await limit.getRemaining("ada")).remaining, 0);
    equal((await limit.limit("bob")).success, true);
    await limit.resetUsedTokens("ada");
    equal((await limit.limit("ada")).success, true);
  });

  test(`${name}: a call may cost more than one`, async () => {
    const limit = limiter(algorithm);
    equal((await limit.limit("ada", { rate: 4 })).remaining, 1);
    equal((await limit.limit("ada", { rate: 4 })).success, false);
  });
}

test("a limit is open again when its window is over", async () => {
  const limit = limiter(Ratelimit.fixedWindow(1, "300 ms"));
  await until(async () => !(await limit.limit("ada")).success, "the window is full");
  await until(async () => (await limit.limit("ada")).success, "the next window opens");
  const bucket = limiter(Ratelimit.tokenBucket(1, "300 ms", 1));
  equal((await bucket.limit("ada")).success, true);
  await until(async () => (await bucket.limit("ada")).success, "the bucket is refilled");
  const waited = await limiter(Ratelimit.slidingWindow(3, "1 s")).blockUntilReady("ada", 5_000);
  equal(waited.success, true);
});

test("analytics are recorded and the deny list is honoured", async () => {
  const limit = limiter(Ratelimit.fixedWindow(5, "1 h"), { analytics: true, enableProtection: true });
  // Else the library would fetch a public list of addresses.
  await redis.set(`${limit.prefix}:denyList:ipDenyListStatus`, "valid", { ex: 3600 });
  await redis.set(`${limit.prefix}:ipDenyListStatus`, "valid", { ex: 3600 });
  const allowed = await limit.limit("ada", { ip: "10.0.0.1" });
  await allowed.pending;
  equal(allowed.success, true);
  await redis.sadd(`${limit.prefix}:denyList:all`, "mallory");
  const denied = await limit.limit("mallory");
  await denied.pending;
  equal(denied.success, false);
  equal(denied.reason, "denyList");
});

test("a limit can be changed while it runs", async () => {
  const limit = limiter(Ratelimit.fixedWindow(5, "1 h"), { dynamicLimits: true });
  await limit.setDynamicLimit({ limit: 2 });
  const answers = await Promise.all(Array.from({ length: 4 }, () => limit.limit("ada")));
  equal(answers.filter(({ success }) => success).length, 2);
});
