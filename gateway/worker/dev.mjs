// The edge on this machine, in front of a running `edgepulse up`: the Worker in
// workerd, keys kept in step, the spill drained. Ctrl+C stops it.
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { root, start, startEdge, stop, until } from "./test/harness.mjs";

const { values } = parseArgs({ options: { port: { type: "string", default: "8788" }, data: { type: "string", default: "data" } } });
const data = resolve(root, values.data);
if (!existsSync(data + "/dev.env")) {
	console.error(`no ${data}/dev.env: start the service first (go tool task up), or name its folder with --data`);
	process.exit(1);
}
const env = Object.fromEntries((await readFile(data + "/dev.env", "utf8")).matchAll(/^([A-Z_]+)='(.*)'$/gm).map((m) => [m[1], m[2]]));
const { execFileSync } = await import("node:child_process");
const world = { data, env, origin: env.EDGEPULSE_URL, cli: async (...args) => execFileSync(resolve(root, "bin/edgepulse"), [...args, "--data", data], { encoding: "utf8", env: { ...process.env, ...world.cloudflare } }) };
const edge = await startEdge(world, { port: Number(values.port), r2Persist: resolve(data, "edge-r2"), bindings: { ORIGIN_TIMEOUT_MS: "4000" } });
const children = [start(["edge", "sync", "--watch", "--data", data], world.cloudflare), edge.startDrain()];
for (const c of children) c.stderr.on("data", (b) => process.stderr.write(b));
await until("the first key at the edge", async () => (await edge.kv.list()).keys.length > 0, 20_000).catch(() => console.error("no key known to the edge yet"));
console.log(`The edge is at ${edge.url}, in front of ${world.origin}.
  curl ${edge.url}/v1/health
Stop the service and send a request: it is kept, answered 202 "spilled", and in the log when the service is back.
Ctrl+C stops the edge.`);
process.removeAllListeners("SIGINT");
process.on("SIGINT", async () => {
	await Promise.all(children.map((c) => stop(c)));
	await edge.close();
	process.exit(0);
});
