"""Lists, sets, sorted sets, hashes, streams, places and counts of distinct values."""

from upstash_redis.errors import UpstashError

from service import Suite


class Lists(Suite):
    def test_a_list_grows_shrinks_and_is_cut(self):
        redis = self.redis
        self.assertEqual(redis.rpush("l", "a", "b", "c"), 3)
        self.assertEqual(redis.lpush("l", "z"), 4)
        self.assertEqual(redis.lrange("l", 0, -1), ["z", "a", "b", "c"])
        self.assertEqual(redis.lpop("l"), "z")
        self.assertEqual(redis.rpop("l", 1), ["c"])
        self.assertEqual(redis.lpos("l", "b"), 1)
        self.assertTrue(redis.lset("l", 0, "A"))
        self.assertEqual(redis.linsert("l", "BEFORE", "b", "x"), 3)
        self.assertEqual(redis.lrem("l", 0, "x"), 1)
        self.assertEqual(redis.lmove("l", "m"), "A")
        self.assertTrue(redis.ltrim("l", 1, 0))
        self.assertEqual(redis.llen("l"), 0)
        self.assertIsNone(redis.lpop("l"))


class Sets(Suite):
    def test_sets_are_filled_and_combined(self):
        redis = self.redis
        self.assertEqual(redis.sadd("x", "a", "b", "c"), 3)
        self.assertEqual(redis.sadd("y", "b", "d"), 2)
        self.assertEqual(sorted(redis.sunion("x", "y")), ["a", "b", "c", "d"])
        self.assertEqual(redis.sinter("x", "y"), ["b"])
        self.assertEqual(sorted(redis.sdiff("x", "y")), ["a", "c"])
        self.assertEqual(redis.sismember("x", "a"), 1)
        self.assertEqual(redis.smismember("x", "a", "z"), [1, 0])
        self.assertTrue(redis.smove("x", "y", "a"))
        self.assertEqual(redis.scard("x"), 2)
        self.assertIn(redis.spop("x"), ["b", "c"])
        self.assertIsNone(redis.spop("absent"))

    def test_a_set_is_scanned_to_its_end(self):
        members = {f"m{n}" for n in range(700)}
        self.redis.sadd("s", *members)
        seen, cursor = set(), 0
        while True:
            cursor, page = self.redis.sscan("s", cursor, count=50)
            seen.update(page)
            if cursor == 0:
                break
        self.assertEqual(seen, members)


class SortedSets(Suite):
    def test_members_have_scores_and_ranks(self):
        redis = self.redis
        self.assertEqual(redis.zadd("z", {"a": 1, "b": 2.5, "c": 3}), 3)
        self.assertEqual(redis.zscore("z", "b"), 2.5)
        self.assertIsNone(redis.zscore("z", "absent"))
        self.assertEqual(redis.zmscore("z", ["a", "absent"]), [1.0, None])
        self.assertEqual(redis.zincrby("z", 0.5, "b"), 3.0)
        self.assertEqual(redis.zrange("z", 0, -1, withscores=True), [("a", 1.0), ("b", 3.0), ("c", 3.0)])
        self.assertEqual(redis.zrange("z", "-inf", "(3", sortby="BYSCORE"), ["a"])
        self.assertEqual(redis.zrank("z", "c"), 2)
        self.assertEqual(redis.zcount("z", 2, "+inf"), 2)
        self.assertEqual(redis.zpopmin("z"), [("a", 1.0)])
        redis.zadd("y", {"b": 1})
        self.assertEqual(redis.zunion(["z", "y"], withscores=True), [("c", 3.0), ("b", 4.0)])
        self.assertEqual(redis.zdiff(["z", "y"]), ["c"])
        self.assertEqual(redis.zinterstore("i", ["z", "y"]), 1)
        self.assertEqual(redis.zrem("z", "b", "c"), 2)


class Hashes(Suite):
    def test_fields_are_written_and_read(self):
        redis = self.redis
        self.assertEqual(redis.hset("h", values={"name": "Ada", "age": 36}), 2)
        self.assertEqual(redis.hget("h", "name"), "Ada")
        self.assertEqual(redis.hgetall("h"), {"name": "Ada", "age": "36"})
        self.assertEqual(redis.hgetall("absent"), {})
        self.assertEqual(redis.hmget("h", "name", "absent"), ["Ada", None])
        self.assertEqual(redis.hincrby("h", "age", 1), 37)
        self.assertEqual(redis.hincrbyfloat("h", "f", 0.5), 0.5)
        self.assertEqual(sorted(redis.hkeys("h")), ["age", "f", "name"])
        self.assertEqual(redis.hstrlen("h", "name"), 3)
        self.assertTrue(redis.hexists("h", "age"))
        self.assertEqual(redis.hdel("h", "age", "f"), 2)
        self.assertEqual(redis.hrandfield("h", 1, withvalues=True), {"name": "Ada"})

    def test_what_the_server_does_not_know_is_its_own_error(self):
        redis = self.redis
        redis.hset("h", "f", "v")
        calls = {
            "hexpire": lambda: redis.hexpire("h", "f", 100),
            "httl": lambda: redis.httl("h", "f"),
            "hpersist": lambda: redis.hpersist("h", "f"),
            "hgetex": lambda: redis.hgetex("h", "f", ex=100),
            "hsetex": lambda: redis.hsetex("h", "f", "v", ex=100),
            "hgetdel": lambda: redis.hgetdel("h", "f"),
        }
        for name, call in calls.items():
            with self.subTest(name):
                if redis.execute(["COMMAND", "INFO", name])[0] is not None:
                    call()
                    continue
                with self.assertRaisesRegex(UpstashError, "(?i)ERR unknown command '" + name):
                    call()


class Streams(Suite):
    def test_a_group_reads_acknowledges_and_claims(self):
        redis = self.redis
        for n in range(1, 4):
            self.assertEqual(redis.xadd("s", f"{n}-0", {"n": n}), f"{n}-0")
        self.assertEqual(redis.xlen("s"), 3)
        self.assertEqual(redis.xrange("s", count=1), [["1-0", ["n", "1"]]])
        self.assertEqual(redis.xrevrange("s", count=1), [["3-0", ["n", "3"]]])
        self.assertEqual(redis.xread({"s": "2-0"}), [["s", [["3-0", ["n", "3"]]]]])
        redis.xgroup_create("s", "g", "0")
        self.assertEqual(redis.xreadgroup("g", "c", {"s": ">"}, count=1), [["s", [["1-0", ["n", "1"]]]]])
        self.assertEqual(redis.xpending("s", "g")[0], 1)
        self.assertEqual(redis.xclaim("s", "g", "d", 0, "1-0"), [["1-0", ["n", "1"]]])
        self.assertEqual(redis.xautoclaim("s", "g", "e", 0, "0-0")[1], [["1-0", ["n", "1"]]])
        self.assertEqual(redis.xack("s", "g", "1-0"), 1)
        self.assertEqual(redis.xdel("s", "1-0"), 1)
        self.assertEqual(redis.xtrim("s", maxlen=1, approximate=False), 1)


class Places(Suite):
    def test_places_are_stored_measured_and_found(self):
        redis = self.redis
        self.assertEqual(redis.geoadd("g", (13.361389, 38.115556, "Palermo"), (15.087269, 37.502669, "Catania")), 2)
        self.assertAlmostEqual(redis.geodist("g", "Palermo", "Catania", "KM"), 166.27, 1)
        self.assertEqual(redis.geohash("g", "Palermo"), ["sqc8b49rny0"])
        (position, absent) = redis.geopos("g", "Palermo", "Atlantis")
        self.assertAlmostEqual(position[0], 13.361389, 4)
        self.assertIsNone(absent)
        found = redis.geosearch("g", longitude=15, latitude=37, radius=200, unit="KM", order="ASC")
        self.assertEqual(found, ["Catania", "Palermo"])


class Distinct(Suite):
    def test_distinct_values_are_counted(self):
        self.assertEqual(self.redis.pfadd("p", "a", "b", "a"), 1)
        self.redis.pfadd("q", "c")
        self.assertEqual(self.redis.pfcount("p", "q"), 3)
        self.assertTrue(self.redis.pfmerge("r", "p", "q"))
