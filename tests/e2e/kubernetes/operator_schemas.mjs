// Rendered manifests on standard input: every object of the Prometheus operator against its own schema.
//
// kubernetes-validate knows no custom kinds. Each object is also broken once, so that a schema that accepts everything is
// found out. Run from a copy beside its node_modules. Limits: the kinds listed below; another kind of that group is a failure, so that none goes unchecked.
import { readFileSync } from "node:fs";
import { loadAll } from "js-yaml";
import { PodMonitor, PrometheusRule } from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";

const KINDS = {
  PodMonitor: [PodMonitor, (spec) => { spec.podMetricsEndpoints = "ops"; }],
  PrometheusRule: [PrometheusRule, (spec) => { spec.groups = [{ rules: [] }]; }],
};

const refused = (Kind, object) => {
  try {
    new Kind(object).validate();
    return null;
  } catch (error) {
    return error.message;
  }
};

let failed = false;
let seen = 0;
for (const object of loadAll(readFileSync(0, "utf8"))) {
  if (!object?.apiVersion?.startsWith("monitoring.coreos.com/")) continue;
  const name = `${object.kind}/${object.metadata.name}`;
  const known = KINDS[object.kind];
  if (!known) {
    console.log(`violation: no schema for ${name}`);
    failed = true;
    continue;
  }
  const [Kind, damage] = known;
  const complaint = refused(Kind, object);
  const broken = structuredClone(object);
  damage(broken.spec);
  if (complaint) console.log(`violation: ${name}: ${complaint}`);
  if (!refused(Kind, broken)) console.log(`violation: the schema of ${name} accepts anything`);
  failed ||= Boolean(complaint) || !refused(Kind, broken);
  seen += 1;
}
if (seen !== Object.keys(KINDS).length) {
  console.log(`violation: ${seen} objects of the operator, expected ${Object.keys(KINDS).length}`);
  failed = true;
}
console.log(`${seen} objects of the operator obey their schemas`);
process.exit(failed ? 1 : 0);
