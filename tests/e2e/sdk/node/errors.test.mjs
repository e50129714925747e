import test from "node:test";
import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { errors } from "@upstash/redis";
import { client, readOnlyToken, redis, send, url } from "./service.mjs";

const is = (start) => (error) => {
  equal(error.name, "UpstashError");
  ok(error instanceof errors.UpstashError);
  ok(error.message.replace("Command failed: ", "").startsWith(start), error.message);
  return true;
};

test("an error of Redis reaches the caller as an UpstashError, word for word", async () => {
  await redis.rpush("l", 1);
  await rejects(redis.incr("l"), is("WRONGTYPE Operation against a key holding the wrong kind of value"));
  await rejects(redis.exec(["NO-SUCH-COMMAND", "x"]), is("ERR"));
  await rejects(redis.exec(["GET"]), is("ERR wrong number of arguments for 'get' command"));
});

test("a command that cannot work over HTTP is refused with a reason", async () => {
  for (const command of [["BLPOP", "l", "0"], ["MULTI"], ["WATCH", "k"], ["SELECT", "1"], ["SUBSCRIBE", "c"], ["MONITOR"]]) {
    await rejects(redis.exec(command), is("ERR"));
  }
});

test("a wrong token is WRONGPASS", async () => {
  const stranger = client({ token: "nobody", enableAutoPipelining: false });
  await rejects(stranger.get("k"), is("WRONGPASS"));
  const answer = await fetch(`${url}/get/k`);
  equal(answer.status, 401);
  ok((await answer.json()).error.startsWith("WRONGPASS invalid or missing auth token"));
});

test("a read-only token reads, and anything else is NOPERM", async () => {
  await redis.set("k", "v");
  const reader = client({ token: readOnlyToken });
  equal(await reader.get("k"), "v");
  deepEqual(await reader.mget("k", "absent"), ["v", null]);
  for (const call of [
    () => reader.set("k", 1),
    () => reader.del("k"),
    () => reader.eval("return 1", [], []),
    () => reader.keys("*"),
    () => reader.scan("0"),
    () => reader.flushdb(),
  ]) {
    await rejects(call, is("NOPERM this user has no permissions to run the '"));
  }
  const [read, written] = await reader.pipeline().get("k").set("k", 1).exec({ keepErrors: true });
  equal(read.result, "v");
  ok(written.error.startsWith("NOPERM"));
  equal(await redis.get("k"), "v");
});

test("malformed bodies are 400 with an error, never 5xx", async () => {
  for (const path of ["/", "/pipeline", "/multi-exec"]) {
    for (const body of ["", "{}", "[", "[[", "null", "[null]", '"GET"', "[[]]", "[{}]", "[1,2", "\u0000", "[[\"GET\",\"k\"],", "[]]"]) {
      const answer = await send(path, body);
      ok(answer.status < 500, `${path} ${body}: ${answer.status}`);
      const told = await answer.json();
      ok(Array.isArray(told) ? told.every((item) => item.error) : told.error, `${path} ${body}`);
    }
  }
});
