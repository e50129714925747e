import test from "node:test";
import { deepEqual, equal, ok } from "node:assert/strict";
import { redis } from "./service.mjs";

const sicily = () =>
  redis.geoadd(
    "g",
    { longitude: 13.361389, latitude: 38.115556, member: "Palermo" },
    { longitude: 15.087269, latitude: 37.502669, member: "Catania" },
  );

test("places are stored, measured and found again", async () => {
  equal(await sicily(), 2);
  equal(Math.round(await redis.geodist("g", "Palermo", "Catania", "KM")), 166);
  equal(await redis.geodist("g", "Palermo", "Atlantis"), null);
  deepEqual(await redis.geohash("g", "Palermo", "Atlantis"), ["sqc8b49rny0", null]);
  const [palermo, atlantis] = await redis.geopos("g", "Palermo", "Atlantis");
  ok(Math.abs(palermo.lng - 13.361389) < 1e-4 && Math.abs(palermo.lat - 38.115556) < 1e-4);
  equal(atlantis ?? null, null);
});

test("places are searched around a point and a member, and the result stored", async () => {
  await sicily();
  const around = { type: "FROMLONLAT", coordinate: { lon: 15, lat: 37 } };
  const near = await redis.geosearch("g", around, { type: "BYRADIUS", radius: 200, radiusType: "KM" }, "ASC", {
    withDist: true,
    withCoord: true,
  });
  deepEqual(near.map(({ member }) => member), ["Catania", "Palermo"]);
  ok(near[0].dist > 56 && near[0].dist < 57 && near[0].coord);
  const member = { type: "FROMMEMBER", member: "Palermo" };
  equal(await redis.geosearchstore("near", "g", member, { type: "BYBOX", rect: { width: 10, height: 10 }, rectType: "KM" }, "ASC"), 1);
});
