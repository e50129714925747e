// Asks a Prometheus for every recording rule and every query of the dashboard, over a stretch of time in which all had data:
// `node queries.mjs http://127.0.0.1:9090 BEGIN END` (seconds since 1970). Exit code 1 names those that had none.
//
// Grafana's variables are filled in as Grafana would: all jobs, all instances, and a rate interval of four scrapes.
import { readFileSync } from "node:fs";

const [prometheus, begin, end] = process.argv.slice(2);
const root = new URL("../../../", import.meta.url);
const text = (path) => readFileSync(new URL(path, root), "utf8");
const fill = (query) =>
  query
    .replaceAll("$__rate_interval", "4s")
    .replaceAll("$__range", "60s")
    .replaceAll("$job", "collective")
    .replaceAll("$instance", ".*");

const asked = [];
for (const [, name] of text("deploy/prometheus/rules/collective.rules.yml").matchAll(/- record: (\S+)/g))
  asked.push([`rule ${name}`, name]);
const dashboard = JSON.parse(text("deploy/grafana/dashboards/collective.json"));
for (const panel of dashboard.panels)
  for (const target of panel.targets ?? []) asked.push([`panel ${panel.title} ${target.refId}`, target.expr]);
for (const note of dashboard.annotations.list) asked.push([`annotation ${note.name}`, note.expr]);

const silent = [];
for (const [what, expression] of asked) {
  const query = fill(expression);
  if (query.includes("$")) throw new Error(`${what}: a variable nobody fills in: ${query}`);
  const answer = await fetch(`${prometheus}/api/v1/query_range`, {
    method: "POST",
    body: new URLSearchParams({ query, start: begin, end, step: "1s" }),
  });
  const { status, error, data } = await answer.json();
  const points = status === "success" ? data.result.flatMap(({ values }) => values) : [];
  const numbers = points.filter(([, value]) => Number.isFinite(Number(value)));
  if (numbers.length === 0) silent.push(`${what}: ${error ?? "no data"}: ${query}`);
}
for (const variable of dashboard.templating.list.filter(({ type }) => type === "query")) {
  const [, selector, label] = fill(variable.query.query).match(/^label_values\((.*), (\w+)\)$/);
  const parameters = new URLSearchParams({ "match[]": selector, start: begin, end });
  const { data } = await (await fetch(`${prometheus}/api/v1/label/${label}/values?${parameters}`)).json();
  asked.push(variable.name);
  if (!data?.length) silent.push(`variable ${variable.name} has no values`);
}
console.log(`${asked.length - silent.length} of ${asked.length} had data`);
for (const line of silent) console.log(line);
process.exit(silent.length ? 1 : 0);
