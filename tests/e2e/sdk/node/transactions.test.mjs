import test from "node:test";
import { deepEqual, equal, ok } from "node:assert/strict";
import { redis, send } from "./service.mjs";

test("a transaction answers as a pipeline does", async () => {
  const answers = await redis.multi().set("a", 1).incr("a").lpush("l", "x", "y").lrange("l", 0, -1).get("absent").exec();
  deepEqual(answers, ["OK", 2, 2, ["y", "x"], null]);
});

test("an error while it runs is the item's own, the others are done", async () => {
  const answers = await redis.multi().set("a", "word").incr("a").set("b", 2).exec({ keepErrors: true });
  ok(answers[1].error.startsWith("ERR value is not an integer"));
  deepEqual(answers[2], { error: undefined, result: "OK" });
});

test("a transaction that cannot be queued is discarded as a whole", async () => {
  const answer = await send("/multi-exec", [["SET", "a", 1], ["SET", "a"]]);
  equal(answer.status, 400);
  ok((await answer.json()).error.startsWith("ERR wrong number of arguments"));
  equal(await redis.exists("a"), 0);
});

test("concurrent transactions never see each other's steps", async () => {
  const plain = Array.from({ length: 50 }, (_, n) => redis.set(`plain${n}`, n));
  const all = Array.from({ length: 100 }, (_, n) =>
    redis.multi().incr("n").incr("n").incr("n").echo(`tx${n}`).decrby("n", 3).exec());
  for (const [n, [first, second, third, word, last]] of (await Promise.all(all)).entries()) {
    deepEqual([first, second, third, word, last], [1, 2, 3, `tx${n}`, 0]);
  }
  deepEqual(await Promise.all(plain), plain.map(() => "OK"));
});
