import test from "node:test";
import { equal, ok } from "node:assert/strict";
import { Lock } from "@upstash/lock";
import { redis, until } from "./service.mjs";

const impatient = { attempts: 1, delay: 10 };
const lock = (id, options = {}) => new Lock({ id, redis, lease: 20_000, retry: impatient, ...options });

test("a lock is acquired, extended and released by its holder", async () => {
  const held = lock("door");
  equal(await held.getStatus(), "FREE");
  equal(await held.acquire(), true);
  equal(await held.getStatus(), "ACQUIRED");
  const before = await redis.pttl("door");
  ok(before > 15_000);
  equal(await held.extend(30_000), true);
  ok((await redis.pttl("door")) > before);
  equal(await held.release(), true);
  equal(await held.getStatus(), "FREE");
});

test("another holder's lock is neither taken, extended nor released", async () => {
  const held = lock("door");
  const other = lock("door");
  equal(await held.acquire(), true);
  equal(await other.acquire(), false);
  equal(await other.release(), false);
  equal(await other.extend(1000), false);
  equal(await held.release(), true);
  equal(await other.acquire(), true);
});

test("of twenty who ask at once, one gets the lock", async () => {
  const answers = await Promise.all(Array.from({ length: 20 }, () => lock("door").acquire()));
  equal(answers.filter(Boolean).length, 1);
});

test("whoever waits gets the lock when its lease is over", async () => {
  equal(await lock("door", { lease: 200 }).acquire(), true);
  const patient = lock("door", { retry: { attempts: 100, delay: 20 } });
  equal(await patient.acquire(), true);
});

test("what the lock guards is done by one at a time", async () => {
  let inside = 0;
  let done = 0;
  const work = async () => {
    const guard = lock("door", { retry: { attempts: 500, delay: 10 } });
    equal(await guard.acquire(), true);
    inside += 1;
    equal(inside, 1);
    await redis.ping();
    inside -= 1;
    done += 1;
    await guard.release();
  };
  await Promise.all(Array.from({ length: 10 }, work));
  await until(() => done === 10, "all have worked");
});
