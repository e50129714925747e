import test from "node:test";
import { deepEqual, equal } from "node:assert/strict";
import { redis } from "./service.mjs";

test("a list grows and shrinks at both ends", async () => {
  equal(await redis.rpush("l", "a", "b", "c"), 3);
  equal(await redis.lpush("l", "z", "y"), 5);
  deepEqual(await redis.lrange("l", 0, -1), ["y", "z", "a", "b", "c"]);
  equal(await redis.llen("l"), 5);
  equal(await redis.lpop("l"), "y");
  deepEqual(await redis.lpop("l", 2), ["z", "a"]);
  equal(await redis.rpop("l"), "c");
  deepEqual(await redis.rpop("l", 9), ["b"]);
  equal(await redis.rpop("l"), null);
  equal(await redis.lpushx("l", "a"), 0);
  equal(await redis.rpushx("l", "a"), 0);
});

test("elements are found, replaced, inserted, removed and cut", async () => {
  await redis.rpush("l", "a", "b", "a", "c", "a");
  equal(await redis.lindex("l", 1), "b");
  equal(await redis.lindex("l", -1), "a");
  equal(await redis.lpos("l", "a", { rank: 2 }), 2);
  deepEqual(await redis.lpos("l", "a", { count: 0 }), [0, 2, 4]);
  equal(await redis.lset("l", 1, "B"), "OK");
  equal(await redis.linsert("l", "before", "B", "x"), 6);
  equal(await redis.linsert("l", "after", "absent", "x"), -1);
  equal(await redis.lrem("l", 2, "a"), 2);
  equal(await redis.ltrim("l", 0, 1), "OK");
  deepEqual(await redis.lrange("l", 0, -1), ["x", "B"]);
});

test("elements move between lists", async () => {
  await redis.rpush("from", "a", "b", "c");
  equal(await redis.lmove("from", "to", "left", "right"), "a");
  equal(await redis.lmove("from", "to", "right", "left"), "c");
  deepEqual(await redis.lrange("to", 0, -1), ["c", "a"]);
  deepEqual(await redis.lmpop(2, ["absent", "to"], "LEFT", 5), ["to", ["c", "a"]]);
});

test("elements are objects, numbers and words", async () => {
  await redis.rpush("l", { id: 1 }, 2, "three", [4], true);
  deepEqual(await redis.lrange("l", 0, -1), [{ id: 1 }, 2, "three", [4], true]);
});
