import test from "node:test";
import { deepEqual, equal } from "node:assert/strict";
import { client, redis } from "./service.mjs";

test("bits are set, read, counted and found", async () => {
  equal(await redis.setbit("b", 7, 1), 0);
  equal(await redis.setbit("b", 7, 1), 1);
  equal(await redis.getbit("b", 7), 1);
  equal(await redis.getbit("b", 8), 0);
  equal(await redis.setbit("b", 15, 1), 0);
  equal(await redis.bitcount("b"), 2);
  equal(await redis.bitcount("b", 0, 0), 1);
  equal(await redis.bitpos("b", 1), 7);
  equal(await redis.bitpos("b", 1, 1, 1), 15);
});

test("bit strings are combined", async () => {
  await redis.set("x", "a");
  await redis.set("y", "b");
  equal(await redis.bitop("and", "z", "x", "y"), 1);
  equal(await redis.get("z"), "`");
  equal(await redis.bitop("or", "z", "x", "y"), 1);
  equal(await redis.get("z"), "c");
  equal(await redis.bitop("xor", "z", "x", "y"), 1);
  equal(await redis.getrange("z", 0, -1), "\u0003");
  equal(await redis.bitop("not", "z", "x"), 1);
});

test("bit fields are read, written and counted in one command", async () => {
  // Auto-pipelining would take the command before it is complete.
  const plain = client({ enableAutoPipelining: false });
  const answers = await plain.bitfield("f").set("u8", 0, 250).overflow("SAT").incrby("u8", 0, 10).get("u8", 0).exec();
  deepEqual(answers, [0, 255, 255]);
  const failed = await plain.bitfield("f").overflow("FAIL").incrby("u8", 0, 1).exec();
  deepEqual(failed, [null]);
});
