import test from "node:test";
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { redis } from "./service.mjs";

test("entries are added, counted, read and removed", async () => {
  match(await redis.xadd("s", "*", { n: 1 }), /^\d+-\d+$/);
  equal(await redis.xadd("absent", "*", { n: 1 }, { nomkStream: true }), null);
  await redis.del("s");
  for (let n = 1; n <= 4; n += 1) equal(await redis.xadd("s", `${n}-0`, { n, word: "w" }), `${n}-0`);
  equal(await redis.xlen("s"), 4);
  deepEqual(await redis.xrange("s", "-", "+", 1), { "1-0": { n: 1, word: "w" } });
  deepEqual(Object.keys(await redis.xrevrange("s", "+", "-")), ["4-0", "3-0", "2-0", "1-0"]);
  deepEqual(await redis.xread("s", "3-0"), [["s", [["4-0", ["n", 4, "word", "w"]]]]]);
  equal(await redis.xdel("s", "1-0"), 1);
  equal(await redis.xtrim("s", { strategy: "MAXLEN", threshold: 2, exactness: "=" }), 1);
});

test("a group reads, acknowledges and claims", async () => {
  await redis.xadd("s", "1-0", { n: 1 });
  await redis.xadd("s", "2-0", { n: 2 });
  equal(await redis.xgroup("s", { type: "CREATE", group: "g", id: "0" }), "OK");
  equal(await redis.xgroup("s", { type: "CREATECONSUMER", group: "g", consumer: "c" }), 1);
  const read = await redis.xreadgroup("g", "c", "s", ">", { count: 2 });
  deepEqual(read, [["s", [["1-0", ["n", 1]], ["2-0", ["n", 2]]]]]);
  equal(await redis.xack("s", "g", "1-0"), 1);
  deepEqual(await redis.xpending("s", "g", "-", "+", 5).then((all) => all.map(([id, owner]) => [id, owner])), [["2-0", "c"]]);
  deepEqual(await redis.xclaim("s", "g", "d", 0, "2-0"), [["2-0", ["n", 2]]]);
  deepEqual((await redis.xautoclaim("s", "g", "e", 0, "0-0"))[1], [["2-0", ["n", 2]]]);
  const [group] = await redis.xinfo("s", { type: "GROUPS" });
  ok(group.includes("g"));
  equal((await redis.xinfo("s", { type: "CONSUMERS", group: "g" })).length, 3);
  equal(await redis.xgroup("s", { type: "DESTROY", group: "g" }), 1);
});

test("an unknown group is the server's own NOGROUP", async () => {
  await redis.xadd("s", "1-0", { n: 1 });
  await rejects(redis.xreadgroup("none", "c", "s", ">"), /NOGROUP/);
});

test("a blocking read is refused with a reason", async () => {
  await rejects(redis.exec(["XREAD", "BLOCK", "0", "STREAMS", "s", "$"]), (error) => {
    equal(error.name, "UpstashError");
    ok(error.message.startsWith("ERR"), error.message);
    return true;
  });
});
