import test from "node:test";
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { client, redis, send } from "./service.mjs";

test("a pipeline answers in order", async () => {
  const answers = await redis.pipeline().set("a", 1).incr("a").get("a").get("absent").hgetall("absent").ping().exec();
  deepEqual(answers, ["OK", 2, 2, null, null, "PONG"]);
});

test("an error of one command names it and leaves the others done", async () => {
  const p = redis.pipeline().set("a", "word").incr("a").set("b", 2);
  await rejects(p.exec(), (error) => {
    equal(error.name, "UpstashError");
    ok(error.message.startsWith("Command 2 [ incr ] failed: ERR value is not an integer"), error.message);
    return true;
  });
  equal(await redis.get("b"), 2);
});

test("keepErrors gives result or error for each command, never both", async () => {
  const answers = await redis.pipeline().set("a", "word").incr("a").evalsha("0".repeat(40), [], []).get("a").exec({ keepErrors: true });
  deepEqual(answers[0], { error: undefined, result: "OK" });
  ok(answers[1].error.startsWith("ERR value is not an integer"));
  equal(answers[1].result, undefined);
  equal(answers[2].error, "NOSCRIPT No matching script. Please use EVAL.");
  deepEqual(answers[3], { error: undefined, result: "word" });
});

test("what cannot be sent is refused alone, and the status stays 200", async () => {
  const answer = await send("/pipeline", [["SET", "k", null], ["SET", "k", "v"], ["SET", "k", ["x"]], ["SUBSCRIBE", "c"], [], ["GET", "k"]]);
  equal(answer.status, 200);
  const items = await answer.json();
  deepEqual(items.map((item) => Object.keys(item)), [["error"], ["result"], ["error"], ["error"], ["error"], ["result"]]);
  equal(items[0].error, "ERR null args are not supported");
  equal(items[5].result, "v");
});

test("a pipeline of ten thousand commands is one answer, one more is refused as a whole", async () => {
  const many = redis.pipeline();
  for (let n = 0; n < 10_000; n += 1) many.incr("n");
  const answers = await many.exec();
  equal(answers.length, 10_000);
  equal(answers[9_999], 10_000);
  const answer = await send("/pipeline", Array.from({ length: 10_001 }, () => ["INCR", "n"]));
  equal(answer.status, 413);
  ok((await answer.json()).error.startsWith("ERR"));
  equal(await redis.get("n"), 10_000);
});

test("1 500 commands of one tick are sent as two pipelines and each gets its own answer", async () => {
  const own = client();
  const before = own.pipelineCounter ?? 0;
  const answers = await Promise.all(Array.from({ length: 1500 }, (_, n) => own.set(`k${n}`, n, { get: true })));
  ok(answers.every((answer) => answer === null));
  const read = await Promise.all(Array.from({ length: 1500 }, (_, n) => own.get(`k${n}`)));
  deepEqual(read, Array.from({ length: 1500 }, (_, n) => n));
  equal(own.pipelineCounter - before, 4);
});

test("a failing command of an auto-pipeline fails alone", async () => {
  await redis.set("word", "x");
  const settled = await Promise.allSettled([redis.set("a", 1), redis.incr("word"), redis.set("b", 2)]);
  deepEqual(settled.map(({ status }) => status), ["fulfilled", "rejected", "fulfilled"]);
  ok(settled[1].reason.message.startsWith("Command failed: ERR value is not an integer"));
});

test("without auto-pipelining every command is a request of its own", async () => {
  const plain = client({ enableAutoPipelining: false });
  equal(await plain.set("k", "v"), "OK");
  equal(await plain.get("k"), "v");
  await rejects(plain.incr("k"), (error) => {
    equal(error.name, "UpstashError");
    ok(error.message.includes("ERR value is not an integer") && error.message.includes("command was"), error.message);
    return true;
  });
});
