import test from "node:test";
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { client, redis, send } from "./service.mjs";

test("fields are written, read, counted and removed", async () => {
  equal(await redis.hset("h", { name: "Ada", age: 36, tags: ["a", "b"] }), 3);
  equal(await redis.hget("h", "name"), "Ada");
  equal(await redis.hget("h", "absent"), null);
  deepEqual(await redis.hgetall("h"), { name: "Ada", age: 36, tags: ["a", "b"] });
  equal(await redis.hgetall("absent"), null);
  deepEqual(await redis.hmget("h", "name", "absent"), { name: "Ada", absent: null });
  deepEqual((await redis.hkeys("h")).sort(), ["age", "name", "tags"]);
  equal((await redis.hvals("h")).length, 3);
  equal(await redis.hlen("h"), 3);
  equal(await redis.hexists("h", "name"), 1);
  equal(await redis.hstrlen("h", "name"), 3);
  equal(await redis.hsetnx("h", "name", "Bob"), 0);
  equal(await redis.hmset("h", { x: 1 }), "OK");
  equal(await redis.hdel("h", "x", "absent"), 1);
});

test("fields count", async () => {
  equal(await redis.hincrby("h", "n", 5), 5);
  equal(await redis.hincrby("h", "n", -7), -2);
  equal(await redis.hincrbyfloat("h", "f", 1.5), 1.5);
});

test("random fields come alone, many, and with values", async () => {
  await redis.hset("h", { a: 1, b: 2 });
  ok(["a", "b"].includes(await redis.hrandfield("h")));
  deepEqual((await redis.hrandfield("h", 2)).sort(), ["a", "b"]);
  deepEqual(await redis.hrandfield("h", 2, true), { a: 1, b: 2 });
});

test("a hash is scanned to its end", async () => {
  const fields = Object.fromEntries(Array.from({ length: 700 }, (_, n) => [`field${n}`, n]));
  await redis.hset("h", fields);
  const seen = {};
  let cursor = "0";
  do {
    const [next, page] = await redis.hscan("h", cursor, { match: "field*", count: 50 });
    equal(typeof next, "string");
    for (let at = 0; at < page.length; at += 2) seen[page[at]] = page[at + 1];
    cursor = next;
  } while (cursor !== "0");
  deepEqual(seen, fields);
});

// Redis before 7.4 has no time to live of fields, before 8.0 no HGETEX: its own words are passed on, or they work.
// Not auto-pipelined: there the SDK itself stumbles over some of these errors.
const plain = client({ enableAutoPipelining: false });
const newer = {
  hexpire: () => plain.hexpire("h", "f", 100),
  hpexpire: () => plain.hpexpire("h", "f", 100_000),
  hexpireat: () => plain.hexpireat("h", "f", Math.floor(Date.now() / 1000) + 100),
  hpexpireat: () => plain.hpexpireat("h", "f", Date.now() + 100_000),
  httl: () => plain.httl("h", "f"),
  hpttl: () => plain.hpttl("h", "f"),
  hexpiretime: () => plain.hexpiretime("h", "f"),
  hpexpiretime: () => plain.hpexpiretime("h", "f"),
  hpersist: () => plain.hpersist("h", "f"),
  hgetex: () => plain.hgetex("h", { ex: 100 }, "f"),
  hsetex: () => plain.hsetex("h", { expiration: { ex: 100 } }, { f: "v" }),
  hgetdel: () => plain.hgetdel("h", "f"),
};
for (const [name, call] of Object.entries(newer)) {
  test(`${name} works, or the server says itself that it does not know it`, async () => {
    await redis.hset("h", { f: "v" });
    const works = (await redis.exec(["COMMAND", "INFO", name]))[0] !== null;
    if (works) return void (await call());
    await rejects(call, (error) => {
      equal(error.name, "UpstashError");
      ok(error.message.toLowerCase().includes(`err unknown command '${name}'`), error.message);
      return true;
    });
    const answer = await send("/", [name, "h", "f"]);
    equal(answer.status, 400);
    ok((await answer.json()).error.startsWith("ERR unknown command"));
  });
}
