import test from "node:test";
import { deepEqual, equal, ok } from "node:assert/strict";
import { redis } from "./service.mjs";

const sorted = (members) => [...members].sort();

test("members come and go", async () => {
  equal(await redis.sadd("s", "a", "b", "c"), 3);
  equal(await redis.sadd("s", "a"), 0);
  equal(await redis.scard("s"), 3);
  equal(await redis.sismember("s", "a"), 1);
  deepEqual(await redis.smismember("s", ["a", "x"]), [1, 0]);
  deepEqual(sorted(await redis.smembers("s")), ["a", "b", "c"]);
  equal(await redis.srem("s", "c", "x"), 1);
  ok(["a", "b"].includes(await redis.srandmember("s")));
  equal((await redis.srandmember("s", -5)).length, 5);
  equal(await redis.smove("s", "t", "a"), 1);
  equal(await redis.spop("s"), "b");
  equal(await redis.spop("s"), null);
});

test("sets are united, intersected and subtracted", async () => {
  await redis.sadd("x", "a", "b", "c");
  await redis.sadd("y", "b", "c", "d");
  deepEqual(sorted(await redis.sunion("x", "y")), ["a", "b", "c", "d"]);
  deepEqual(sorted(await redis.sinter("x", "y")), ["b", "c"]);
  deepEqual(await redis.sdiff("x", "y"), ["a"]);
  equal(await redis.sintercard(["x", "y"], { limit: 1 }), 1);
  equal(await redis.sunionstore("z", "x", "y"), 4);
  equal(await redis.sinterstore("z", "x", "y"), 2);
  equal(await redis.sdiffstore("z", "x", "y"), 1);
});

test("a set is scanned to its end", async () => {
  const members = Array.from({ length: 900 }, (_, n) => `m${n}`);
  await redis.sadd("s", ...members);
  const seen = new Set();
  let cursor = "0";
  do {
    const [next, page] = await redis.sscan("s", cursor, { count: 40 });
    page.forEach((member) => seen.add(member));
    cursor = next;
  } while (cursor !== "0");
  deepEqual(sorted(seen), sorted(members));
});
