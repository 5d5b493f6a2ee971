// The world of the tests: the real binary (broker, Postgres, stages), a gateway of
// its own that can be killed, and the Worker in real workerd in front of it.
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, statfsSync } from "node:fs";
import { chmod, mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { build } from "esbuild";
import { Miniflare } from "miniflare";
import * as bridges from "./bridges.mjs";

const run = promisify(execFile);

// The simulated R2 writes to disk with every object, slower than the real one by far
// where the disk is busy. These tests kill processes, they cut no power: memory will do.
if (!process.env.TMPDIR && existsSync("/dev/shm")) {
	const { bavail, bsize } = statfsSync("/dev/shm");
	if (bavail * bsize > 2 * 2 ** 30) process.env.TMPDIR = "/dev/shm";
}

export const folder = resolve(import.meta.dirname, "..");
export const root = resolve(folder, "../..");

/** Gone ends a wait for something that can't come any more. */
class Gone extends Error {}

/** until waits for a state, in ms; the reason stands in the error when it does not come. */
export async function until(what, check, patience = 60_000, every = 50) {
	const end = Date.now() + patience;
	let last;
	for (;;) {
		try {
			const got = await check();
			if (got) return got;
		} catch (e) {
			if (e instanceof Gone) throw e;
			last = e;
		}
		if (Date.now() > end) throw new Error(`${what}: not within ${patience} ms${last ? ": " + last.message : ""}`);
		await new Promise((r) => setTimeout(r, every));
	}
}

export async function freePort() {
	const s = createServer().listen(0, "127.0.0.1");
	await once(s, "listening");
	const { port } = s.address();
	s.close();
	await once(s, "close");
	return port;
}

export async function bundle(entry, outfile) {
	const r = await build({ entryPoints: [join(folder, entry)], bundle: true, format: "esm", target: "es2024", minify: true, outfile: join(folder, outfile), metafile: true, logLevel: "error" });
	return Object.values(r.metafile.outputs)[0].bytes;
}

const children = new Set();
for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"]) process.once(signal, () => process.exit(1));
process.on("exit", () => { for (const c of children) c.kill("SIGKILL"); });

/** start runs our binary; what it says is kept for when something goes wrong. */
export function start(args, env = {}) {
	const child = spawn(join(root, "bin/edgepulse"), args, { env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] });
	child.said = "";
	const keep = (b) => { child.said = (child.said + b).slice(-20_000); };
	child.stdout.on("data", keep);
	child.stderr.on("data", keep);
	children.add(child);
	child.gone = new Promise((r) => child.on("exit", (code, signal) => { children.delete(child); r({ code, signal }); }));
	return child;
}

export async function stop(child, signal = "SIGTERM") {
	if (!child || child.exitCode !== null || child.signalCode !== null) return;
	child.kill(signal);
	await child.gone;
}

/** World is everything up to the gateway; Edge puts the Worker in front. */
export async function startWorld() {
	if (!process.env.EDGEPULSE_TEST_BUILT) await run("go", ["build", "-o", "bin/edgepulse", "./cmd/edgepulse"], { cwd: root });
	if (!process.env.EDGEPULSE_TEST_BUILT) await run("go", ["build", "-o", "bin/ingestdump", "./gateway/worker/test/ingestdump"], { cwd: root });
	const dir = await mkdtemp(join(tmpdir(), "edgepulse-edge-"));
	await chmod(dir, 0o755); // PostgreSQL runs as another user where we are root
	const data = join(dir, "data");
	const up = start(["up", "--data", data, "--addr", "127.0.0.1:0"], { EDGEPULSE_SPILL_URL: "file://" + join(dir, "nothing") });
	const env = await until("edgepulse up", async () => {
		if (!up.said.includes("is ready")) return up.exitCode === null && up.signalCode === null ? null : Promise.reject(new Gone(up.said));
		return Object.fromEntries((await readFile(join(data, "dev.env"), "utf8")).split("\n").filter((l) => /^[A-Z]/.test(l)).map((l) => {
			const at = l.indexOf("=");
			return [l.slice(0, at), l.slice(at + 1).replace(/^'|'$/g, "")];
		}));
	}, 180_000);
	const port = await freePort();
	const world = {
		dir, data, env, up, port, origin: `http://127.0.0.1:${port}`, key: env.EDGEPULSE_API_KEY,
		cli: async (...args) => (await run(join(root, "bin/edgepulse"), [...args, "--data", data], { env: { ...process.env, ...world.cloudflare } })).stdout,
		startGateway: async (...flags) => {
			world.gateway = start(["gateway", "--data", data, "--gateway-addr", `127.0.0.1:${port}`, "--no-gateway-ticks", ...flags]);
			await until("gateway", async () => (await fetch(world.origin + "/v1/ready")).ok);
		},
		newKey: async (...args) => (await world.cli("key", "create", "dev", ...args)).trim(),
		log: async () => {
			const { stdout } = await run(join(root, "bin/ingestdump"), [], { env: { ...process.env, ...env }, maxBuffer: 1 << 30 });
			return stdout.split("\n").filter(Boolean).map((l) => JSON.parse(l));
		},
		close: async () => {
			await stop(world.gateway, "SIGKILL");
			await stop(up);
			await rm(dir, { recursive: true, force: true });
		},
	};
	return world;
}

/** startEdge runs the Worker; bindings change what it is given. */
export async function startEdge(world, change = {}) {
	await bundle("src/index.ts", "dist/worker.js");
	const secrets = JSON.parse(await world.cli("edge", "secrets"));
	const { bindings, ...more } = change;
	const mf = new Miniflare({
		modules: true, scriptPath: join(folder, "dist/worker.js"), compatibilityDate: "2026-07-01", cf: false, host: "127.0.0.1", port: 0,
		kvNamespaces: ["KEYS"], r2Buckets: { SPILL: { id: "spill", s3Credentials: bridges.s3Credentials } },
		ratelimits: {
			KEY_LIMIT: { namespace_id: "1001", simple: { limit: 1_000_000, period: 60 } }, STRANGER_LIMIT: { namespace_id: "1002", simple: { limit: 1_000_000, period: 60 } },
		},
		bindings: { ...secrets, ORIGIN_URL: world.origin, ORIGIN_TIMEOUT_MS: "2000", ...bindings }, ...more,
	});
	const url = (await mf.ready).href.replace(/\/$/, "");
	// A test may take one of them away.
	const kv = await mf.getKVNamespace("KEYS").catch(() => null);
	const r2 = await mf.getR2Bucket("SPILL").catch(() => null);
	const calls = [];
	const api = await bridges.cloudflareAPI(kv, calls);
	const s3 = await bridges.s3Bridge(url);
	world.cloudflare ??= { CLOUDFLARE_API_TOKEN: bridges.token, CLOUDFLARE_ACCOUNT_ID: bridges.account, EDGEPULSE_KV_NAMESPACE_ID: bridges.namespace,
		EDGEPULSE_CLOUDFLARE_API: api.url + "/client/v4", EDGEPULSE_SPILL_URL: `s3://spill?endpoint=${s3.url}&region=auto`,
		EDGEPULSE_SPILL_ACCESS_KEY: bridges.s3Credentials.accessKeyId, EDGEPULSE_SPILL_SECRET_KEY: bridges.s3Credentials.secretAccessKey };
	return {
		mf, url, kv, r2, calls, secrets,
		// By way of S3: the simulator's own list makes its caller wait for each object.
		spilled: () => s3.list("spill", "spill/"),
		startDrain: () => start(["edge", "drain", "--data", world.data, "--drain-gateway", world.origin, "--drain-every", "300ms"], world.cloudflare),
		close: async () => { await api.close(); await s3.close(); await mf.dispose(); },
	};
}

export { device, post, sha256, unique } from "./http.mjs";
