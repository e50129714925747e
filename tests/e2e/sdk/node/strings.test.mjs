import test from "node:test";
import { deepEqual, equal, ok } from "node:assert/strict";
import { redis } from "./service.mjs";

test("a string is set and read with every option of SET", async () => {
  equal(await redis.set("k", "v"), "OK");
  equal(await redis.get("k"), "v");
  equal(await redis.get("absent"), null);
  equal(await redis.set("k", "w", { nx: true }), null);
  equal(await redis.set("k", "w", { xx: true, ex: 100 }), "OK");
  equal(await redis.set("k", "x", { get: true, keepTtl: true }), "w");
  ok((await redis.ttl("k")) > 90);
  equal(await redis.set("k", "x", { pxat: Date.now() + 50_000 }), "OK");
  ok((await redis.pttl("k")) <= 50_000);
  equal(await redis.setex("k", 20, "y"), "OK");
  equal(await redis.psetex("k", 20_000, "z"), "OK");
  equal(await redis.setnx("k", "z"), 0);
  equal(await redis.setnx("fresh", "z"), 1);
});

test("parts of a string are read and changed", async () => {
  equal(await redis.append("k", "Hello"), 5);
  equal(await redis.append("k", " World"), 11);
  equal(await redis.getrange("k", -5, -1), "World");
  equal(await redis.setrange("k", 6, "Redis"), 11);
  equal(await redis.strlen("k"), 11);
  equal(await redis.getset("k", "new"), "Hello Redis");
  equal(await redis.getex("k", { ex: 30 }), "new");
  ok((await redis.ttl("k")) > 20);
  equal(await redis.getex("k", { persist: true }), "new");
  equal(await redis.ttl("k"), -1);
  equal(await redis.getdel("k"), "new");
  equal(await redis.getdel("k"), null);
});

test("many keys are written and read at once", async () => {
  equal(await redis.mset({ a: 1, b: "two", c: { three: 3 } }), "OK");
  deepEqual(await redis.mget("a", "b", "c", "d"), [1, "two", { three: 3 }, null]);
  deepEqual(await redis.mget(["b", "a"]), ["two", 1]);
  equal(await redis.msetnx({ d: 1, a: 2 }), 0);
  equal(await redis.msetnx({ d: 1, e: 2 }), 1);
});

test("numbers count up and down", async () => {
  equal(await redis.incr("n"), 1);
  equal(await redis.incrby("n", 41), 42);
  equal(await redis.decr("n"), 41);
  equal(await redis.decrby("n", 11), 30);
  equal(await redis.incrbyfloat("n", 0.5), 30.5);
  equal(await redis.incrbyfloat("n", -0.25), 30.25);
});

test("the word OK, an empty string and whatever looks like base64 are values as any other", async () => {
  for (const value of ["OK", "", "T0s=", "Tk8=", " ", "\n", "QUEUED", "PONG"]) {
    await redis.set("k", value);
    equal(await redis.get("k"), value);
    deepEqual(await redis.mget("k", "k"), [value, value]);
  }
});
