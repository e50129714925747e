"""Pipelines, transactions, scripts, read-your-writes."""

import asyncio
import hashlib
import uuid

from upstash_redis.asyncio import Redis as AsyncRedis
from upstash_redis.errors import UpstashError

from service import TOKEN, URL, Suite


class Pipelines(Suite):
    def test_a_pipeline_answers_in_order(self):
        pipeline = self.redis.pipeline()
        pipeline.set("a", 1).incr("a").get("absent").zadd("z", {"m": 1.5}).zscore("z", "m")
        self.assertEqual(pipeline.exec(), [True, 2, None, 1, 1.5])

    def test_an_error_of_one_command_leaves_the_others_done(self):
        pipeline = self.redis.pipeline()
        pipeline.set("a", "word").incr("a").set("b", "2")
        with self.assertRaisesRegex(UpstashError, "ERR value is not an integer"):
            pipeline.exec()
        self.assertEqual(self.redis.get("b"), "2")

    def test_1_500_commands_are_one_pipeline(self):
        pipeline = self.redis.pipeline()
        for _ in range(1500):
            pipeline.incr("n")
        self.assertEqual(pipeline.exec(), list(range(1, 1501)))

    def test_a_transaction_is_all_or_nothing(self):
        transaction = self.redis.multi()
        transaction.set("a", 1).incr("a").lrange("l", 0, -1)
        self.assertEqual(transaction.exec(), [True, 2, []])


class Asynchronous(Suite):
    def test_fifty_transactions_at_once_see_only_themselves(self):
        async def one(redis, n):
            transaction = redis.multi()
            transaction.incr("n").echo(f"tx{n}").decr("n")
            return await transaction.exec()

        async def all_of_them():
            async with AsyncRedis(url=URL, token=TOKEN, rest_retries=0) as redis:
                return await asyncio.gather(*(one(redis, n) for n in range(50)))

        self.assertEqual(asyncio.run(all_of_them()), [[1, f"tx{n}", 0] for n in range(50)])


class Scripts(Suite):
    def test_a_script_is_run_loaded_and_called_by_its_name(self):
        redis = self.redis
        script = f"-- {uuid.uuid4()}\nreturn {{KEYS[1], ARGV[1], 3}}"
        name = hashlib.sha1(script.encode()).hexdigest()
        with self.assertRaisesRegex(UpstashError, "NOSCRIPT"):
            redis.evalsha(name, ["k"], ["a"])
        self.assertEqual(redis.eval(script, ["k"], ["a"]), ["k", "a", 3])
        self.assertEqual(redis.evalsha(name, ["k"], ["a"]), ["k", "a", 3])
        self.assertEqual(redis.script_load(script), name)
        self.assertEqual(redis.script_exists(name, "0" * 40), [True, False])

    def test_a_flag_of_the_hosted_service_is_accepted(self):
        script = "#!lua flags=allow-key-locking\nreturn redis.call('INCR', KEYS[1])"
        self.assertEqual(self.redis.eval(script, ["n"]), 1)
        self.assertEqual(self.redis.evalsha(hashlib.sha1(script.encode()).hexdigest(), ["n"]), 2)


class SyncTokens(Suite):
    def test_every_write_brings_a_new_sync_token(self):
        seen = set()
        for _ in range(3):
            self.redis.set("k", "same")
            seen.add(self.redis._sync_token)
            self.assertEqual(self.redis.get("k"), "same")
        self.assertEqual(len(seen), 3)
