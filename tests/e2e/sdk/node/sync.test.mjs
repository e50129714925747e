import test from "node:test";
import { equal, notEqual, ok } from "node:assert/strict";
import { client, send } from "./service.mjs";

test("every write brings a new sync token, also the same write again", async () => {
  const own = client();
  let last = own.client.upstashSyncToken;
  for (const _ of [1, 2, 3]) {
    await own.set("k", "same");
    notEqual(own.client.upstashSyncToken, last);
    last = own.client.upstashSyncToken;
    ok(last);
  }
  await own.multi().set("k", 1).exec();
  notEqual(own.client.upstashSyncToken, last);
  last = own.client.upstashSyncToken;
  await own.pipeline().set("k", 1).exec();
  notEqual(own.client.upstashSyncToken, last);
  last = own.client.upstashSyncToken;
  await own.eval("return redis.call('SET', KEYS[1], 'x')", ["k"], []);
  notEqual(own.client.upstashSyncToken, last);
});

test("a client sees what it wrote", async () => {
  const own = client();
  for (let n = 0; n < 100; n += 1) {
    await own.set("k", n);
    equal(await own.get("k"), n);
  }
});

test("any sync token is accepted, and none at all", async () => {
  for (const sent of ["", "my-new-sync-token", "x".repeat(200)]) {
    const answer = await send("/", ["SET", "k", "v"], { "upstash-sync-token": sent });
    equal(answer.status, 200);
    ok(answer.headers.get("upstash-sync-token"));
  }
  const off = client({ readYourWrites: false });
  equal(await off.set("k", "v"), "OK");
  equal(await off.get("k"), "v");
});
