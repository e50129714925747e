import test from "node:test";
import { deepEqual, equal, ok } from "node:assert/strict";
import { redis } from "./service.mjs";

const abc = () => redis.zadd("z", { score: 1, member: "a" }, { score: 2, member: "b" }, { score: 3, member: "c" });

test("members are added with every option", async () => {
  equal(await abc(), 3);
  equal(await redis.zadd("z", { nx: true }, { score: 9, member: "a" }), 0);
  equal(await redis.zadd("z", { xx: true, ch: true }, { score: 1.5, member: "a" }), 1);
  equal(await redis.zadd("z", { incr: true }, { score: 1, member: "a" }), 2.5);
  equal(await redis.zincrby("z", 0.25, "a"), 2.75);
  equal(await redis.zscore("z", "a"), 2.75);
  equal(await redis.zscore("z", "absent"), null);
  deepEqual(await redis.zmscore("z", ["a", "absent"]), [2.75, null]);
});

test("ranges are read by rank, score and letter, forth and back", async () => {
  await abc();
  deepEqual(await redis.zrange("z", 0, -1), ["a", "b", "c"]);
  deepEqual(await redis.zrange("z", 0, 1, { rev: true, withScores: true }), ["c", 3, "b", 2]);
  deepEqual(await redis.zrange("z", "(1", "+inf", { byScore: true }), ["b", "c"]);
  deepEqual(await redis.zrange("z", "-inf", "+inf", { byScore: true, offset: 1, count: 1 }), ["b"]);
  deepEqual(await redis.zrange("z", "[a", "(c", { byLex: true }), ["a", "b"]);
  equal(await redis.zcount("z", 2, "+inf"), 2);
  equal(await redis.zlexcount("z", "-", "+"), 3);
  equal(await redis.zcard("z"), 3);
  equal(await redis.zrank("z", "b"), 1);
  equal(await redis.zrevrank("z", "c"), 0);
  equal(await redis.zrank("z", "absent"), null);
});

test("members are removed by name, rank, score and letter, and popped", async () => {
  await abc();
  equal(await redis.zrem("z", "a"), 1);
  equal(await redis.zremrangebyrank("z", 0, 0), 1);
  equal(await redis.zremrangebyscore("z", 3, 3), 1);
  await abc();
  equal(await redis.zremrangebylex("z", "[a", "[a"), 1);
  deepEqual(await redis.zpopmin("z"), ["b", 2]);
  deepEqual(await redis.zpopmax("z", 2), ["c", 3]);
});

test("sorted sets are combined", async () => {
  await abc();
  await redis.zadd("y", { score: 10, member: "b" });
  deepEqual(await redis.zunion(2, ["z", "y"], { withScores: true, weights: [1, 2] }), ["a", 1, "c", 3, "b", 22]);
  equal(await redis.zunionstore("u", 2, ["z", "y"], { aggregate: "max" }), 3);
  equal(await redis.zinterstore("i", 2, ["z", "y"]), 1);
  equal(await redis.zscore("i", "b"), 12);
  equal(await redis.zdiffstore("d", 2, "z", "y"), 2);
});

test("infinite and tiny scores are kept", async () => {
  await redis.exec(["ZADD", "z", "inf", "top", "-inf", "bottom", "1e-300", "tiny"]);
  equal(await redis.exec(["ZSCORE", "z", "top"]), "inf");
  equal(Number(await redis.zscore("z", "tiny")), 1e-300);
});

test("a sorted set is scanned to its end", async () => {
  const pairs = Array.from({ length: 600 }, (_, n) => ({ score: n, member: `m${n}` }));
  await redis.zadd("z", ...pairs);
  const seen = new Set();
  let cursor = "0";
  do {
    const [next, page] = await redis.zscan("z", cursor, { count: 40 });
    for (let at = 0; at < page.length; at += 2) seen.add(page[at]);
    cursor = next;
  } while (cursor !== "0");
  ok(pairs.every(({ member }) => seen.has(member)));
});
