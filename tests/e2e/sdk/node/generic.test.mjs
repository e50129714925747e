import test from "node:test";
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { redis } from "./service.mjs";

test("keys are counted, typed, renamed, copied, touched and removed", async () => {
  await redis.mset({ a: 1, b: 2 });
  await redis.rpush("l", 1);
  equal(await redis.exists("a", "b", "absent", "a"), 3);
  equal(await redis.type("a"), "string");
  equal(await redis.type("l"), "list");
  equal(await redis.type("absent"), "none");
  equal(await redis.rename("a", "c"), "OK");
  equal(await redis.renamenx("c", "b"), 0);
  equal(await redis.copy("c", "d"), "COPIED");
  equal(await redis.copy("c", "d"), "NOT_COPIED");
  equal(await redis.copy("c", "c"), "NOT_COPIED");
  equal(await redis.touch("b", "c"), 2);
  equal(await redis.unlink("b", "absent"), 1);
  equal(await redis.del("c", "d", "l"), 3);
  equal(await redis.randomkey().then((key) => key === null || key.startsWith("collective:")), true);
});

test("times to live are set in every unit and lifted", async () => {
  await redis.set("k", "v");
  equal(await redis.ttl("k"), -1);
  equal(await redis.ttl("absent"), -2);
  equal(await redis.expire("k", 100), 1);
  ok((await redis.ttl("k")) > 95);
  equal(await redis.expire("k", 200, "NX"), 0);
  equal(await redis.pexpire("k", 50_000), 1);
  ok((await redis.pttl("k")) <= 50_000);
  equal(await redis.expireat("k", Math.floor(Date.now() / 1000) + 300), 1);
  equal(await redis.pexpireat("k", Date.now() + 300_000), 1);
  equal(await redis.persist("k"), 1);
  equal(await redis.expire("k", -1), 1);
  equal(await redis.exists("k"), 0);
});

test("the server says hello, repeats words and knows the time", async () => {
  equal(await redis.ping(), "PONG");
  equal(await redis.ping(["hey"]), "hey");
  equal(await redis.echo("hi there"), "hi there");
  const [seconds, micros] = await redis.time();
  ok(Math.abs(seconds * 1000 - Date.now()) < 5000 && micros >= 0);
});

test("all keys are counted, listed and removed", async () => {
  await redis.mset({ "u:1": 1, "u:2": 2, "v:1": 3 });
  deepEqual((await redis.keys("u:*")).sort(), ["u:1", "u:2"]);
  ok((await redis.dbsize()) >= 3);
  equal(await redis.flushall(), "OK");
  deepEqual(await redis.keys("u:*"), []);
  await redis.set("k", 1);
  equal(await redis.flushdb({ async: true }), "OK");
  equal(await redis.exists("k"), 0);
});

test("the key space is scanned by pattern and by type", async () => {
  const keys = Array.from({ length: 500 }, (_, n) => `scan:${n}`);
  await redis.mset(Object.fromEntries(keys.map((key) => [key, 1])));
  await redis.sadd("scan:set", 1);
  const all = async (options) => {
    const found = [];
    let cursor = "0";
    do {
      const [next, page] = await redis.scan(cursor, { count: 60, ...options });
      match(next, /^\d+$/);
      found.push(...page);
      cursor = next;
    } while (cursor !== "0");
    return found;
  };
  equal(new Set(await all({ match: "scan:*" })).size, 501);
  deepEqual(await all({ match: "scan:*", type: "set" }), ["scan:set"]);
  const typed = await all({ match: "scan:s*", withType: true });
  deepEqual(typed, [{ key: "scan:set", type: "set" }]);
});
