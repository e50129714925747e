// Two origins that are not the service's: the same page on two free ports of loopback.
//
// Prints `pages LISTED OTHER` once both listen; the script in front puts the first into `cors.allowed_origins`. A page has
// nothing but an import map, so that a browser loads the SDK exactly as it was published. Limits: serves files of
// node_modules and nothing else, ends with the process that started it.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { resolve, sep } from "node:path";

const modules = resolve("node_modules");

const page = `<!doctype html>
<title>a page of another origin</title>
<script type="importmap">
{ "imports": {
  "@upstash/redis": "/node_modules/@upstash/redis/nodejs.mjs",
  "uncrypto": "/node_modules/uncrypto/dist/crypto.web.mjs"
} }
</script>
`;

const answer = async (request, response) => {
  const path = new URL(request.url, "http://page").pathname;
  if (path === "/") return response.writeHead(200, { "Content-Type": "text/html" }).end(page);
  const file = resolve(`.${path}`);
  if (!file.startsWith(modules + sep) || !file.endsWith(".mjs")) return response.writeHead(404).end();
  response.writeHead(200, { "Content-Type": "text/javascript" }).end(await readFile(file));
};

const open = () =>
  new Promise((ready) => {
    const server = createServer((request, response) => answer(request, response).catch(() => response.destroy()));
    server.listen(0, "127.0.0.1", () => ready(`http://127.0.0.1:${server.address().port}`));
  });

console.log(`pages ${await open()} ${await open()}`);
