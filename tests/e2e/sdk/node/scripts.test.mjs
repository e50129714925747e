import test from "node:test";
import { createHash } from "node:crypto";
import { deepEqual, equal, match, rejects } from "node:assert/strict";
import { redis } from "./service.mjs";

const sha1 = (text) => createHash("sha1").update(text).digest("hex");
const unique = (text) => `-- ${Math.random()}\n${text}`;

test("a script sees its keys and arguments and answers in every shape", async () => {
  deepEqual(await redis.eval("return {KEYS[1], ARGV[1], ARGV[2]}", ["k"], ["a", 2]), ["k", "a", 2]);
  equal(await redis.eval("return redis.call('INCRBY', KEYS[1], ARGV[1])", ["n"], [5]), 5);
  equal(await redis.eval("return nil", [], []), null);
  equal(await redis.eval("return 3.99", [], []), 3);
  equal(await redis.eval("return true", [], []), 1);
  equal(await redis.eval("return redis.status_reply('FINE')", [], []), "FINE");
  deepEqual(await redis.eval("return {1, 'two', {3, {'four'}}, 'OK'}", [], []), [1, "two", [3, ["four"]], "OK"]);
  equal(await redis.evalRo("return redis.call('GET', KEYS[1])", ["n"], []), 5);
});

test("an error raised by a script is an error of the command", async () => {
  await rejects(redis.eval("return redis.error_reply('MY own words')", [], []), /MY own words/);
  await rejects(redis.eval("return redis.call('LPUSH', 'a')", [], []), /Wrong number of args/i);
  await rejects(redis.eval("this is no lua", [], []), /ERR Error compiling script/);
});

test("a script is loaded, known and called by its name", async () => {
  const script = unique("return ARGV[1]");
  equal(await redis.scriptLoad(script), sha1(script));
  deepEqual(await redis.scriptExists(sha1(script), sha1("none")), [1, 0]);
  equal(await redis.evalsha(sha1(script), [], ["hi"]), "hi");
  equal(await redis.evalshaRo(sha1(script), [], ["hi"]), "hi");
  equal(await redis.scriptFlush({ sync: true }), "OK");
  await rejects(redis.evalsha(sha1(script), [], []), /NOSCRIPT No matching script. Please use EVAL./);
});

test("createScript tries the name first and sends the text when it is unknown", async () => {
  const script = redis.createScript(unique("return redis.call('INCR', KEYS[1])"));
  equal(await script.exec(["n"], []), 1);
  equal(await script.exec(["n"], []), 2);
  equal(await script.eval(["n"], []), 3);
  equal(await script.evalsha(["n"], []), 4);
  const reader = redis.createScript(unique("return redis.call('GET', KEYS[1])"), { readonly: true });
  equal(await reader.exec(["n"], []), 4);
});

test("flags that only the hosted service knows are accepted under the script's own name", async () => {
  const script = `#!lua flags=allow-key-locking\n${unique("return redis.call('INCR', KEYS[1])")}`;
  await rejects(redis.evalsha(sha1(script), ["n"], []), /NOSCRIPT/);
  equal(await redis.eval(script, ["n"], []), 1);
  equal(await redis.evalsha(sha1(script), ["n"], []), 2);
  equal(await redis.scriptLoad(script), sha1(script));
  deepEqual(await redis.scriptExists(sha1(script)), [1]);
});

test("a library of functions is loaded, listed, called and deleted", async () => {
  const code = `#!lua name=shelf
    redis.register_function('put', function(keys, args) return redis.call('SET', keys[1], args[1]) end)
    redis.register_function{function_name='look', callback=function(keys) return redis.call('GET', keys[1]) end,
      flags={'no-writes', 'allow-key-locking'}}`;
  equal(await redis.functions.load({ code, replace: true }), "shelf");
  equal(await redis.functions.call("put", ["book"], ["Dune"]), "OK");
  equal(await redis.functions.callRo("look", ["book"], []), "Dune");
  await rejects(redis.functions.callRo("put", ["book"], ["x"]), /ERR/);
  const [library] = await redis.functions.list({ libraryName: "shelf" });
  equal(library.libraryName, "shelf");
  deepEqual(library.functions.map(({ name }) => name).sort(), ["look", "put"]);
  match(JSON.stringify(await redis.functions.stats()), /engines/i);
  equal(await redis.functions.delete("shelf"), "OK");
  await rejects(redis.functions.call("put", ["book"], ["x"]), /ERR Function not found/);
});
