import test from "node:test";
import { equal, ok } from "node:assert/strict";
import { redis } from "./service.mjs";

test("distinct values are counted and merged", async () => {
  equal(await redis.pfadd("p", "a", "b", "c", "a"), 1);
  equal(await redis.pfadd("p", "a"), 0);
  equal(await redis.pfcount("p"), 3);
  await redis.pfadd("q", "c", "d");
  equal(await redis.pfcount("p", "q"), 4);
  equal(await redis.pfmerge("r", "p", "q"), "OK");
  equal(await redis.pfcount("r"), 4);
});

test("ten thousand values are counted within two per cent", async () => {
  for (let at = 0; at < 10_000; at += 1000) {
    await redis.pfadd("p", ...Array.from({ length: 1000 }, (_, n) => `v${at + n}`));
  }
  const counted = await redis.pfcount("p");
  ok(Math.abs(counted - 10_000) < 200, String(counted));
});
