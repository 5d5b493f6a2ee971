// The Worker in real workerd, in front of the real gateway with its real log.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { crc32, gzipSync } from "node:zlib";
import { bundle, device, post, root, sha256, start, startEdge, startWorld, stop, unique, until } from "./harness.mjs";
import { outage } from "./outage.mjs";

let world, edge, keys;

before(async () => {
	world = await startWorld();
	await world.startGateway();
	edge = await startEdge(world);
	keys = {
		"": world.key, none: "", garbage: "ep_live_hello", read: await world.newKey("--scope", "read"), ingest: await world.newKey("--scope", "ingest"),
		revoked: await world.newKey("--scope", "ingest"), expired: await world.newKey("--scope", "ingest", "--expires", "1ms"),
	};
	keys.forged = reseal(keys.ingest, (secret) => secret.slice(0, 40) + (secret.endsWith("000") ? "111" : "000"));
	keys.unknown = reseal(keys.ingest.replace(id(keys.ingest), "aaaaaaaaaaaa"), (secret) => secret);
	await world.cli("key", "revoke", "dev", id(keys.revoked));
	assert.match(await world.cli("edge", "sync", "--dry-run"), /^0 current, 3 to write, 0 to delete/);
	assert.match(await world.cli("edge", "sync"), /^0 current, 3 written/);
});

after(async () => {
	await edge?.close();
	await world?.close();
});

const id = (key) => key.split("_")[2];

/** reseal changes the secret of a key and mends its checksum. */
function reseal(key, change) {
	const at = key.lastIndexOf("_") + 1;
	const body = key.slice(0, at) + change(key.slice(at, -6));
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	let sum = "";
	for (let n = crc32(body), i = 0; i < 6; i++, n = Math.floor(n / 62)) sum = alphabet[n % 62] + sum;
	return body + sum;
}

async function code(response, status, want) {
	const p = await response.json();
	assert.equal(response.status, status, JSON.stringify(p));
	assert.equal(p.code, want);
	assert.equal(response.headers.get("content-type"), "application/problem+json");
	assert.equal(p.request_id, response.headers.get("x-request-id"));
	assert.ok(p.detail && p.title && p.type.endsWith(want) && p.status === status && p.instance);
	return p;
}

test("only hashes leave for KV", async () => {
	const written = edge.calls.filter((c) => c.what === "PUT bulk").map((c) => c.body).join();
	assert.ok(written.includes(id(keys.ingest)));
	for (const key of Object.values(keys).filter((k) => k.length > 40)) assert.ok(!written.includes(key.slice(-49)), "a key left");
	assert.ok(!written.includes(world.env.EDGEPULSE_PEPPER) && !written.includes(edge.secrets.EDGE_PEPPER));
});

function bytesOf(v) {
	let raw = Buffer.alloc(0);
	if (v.body !== undefined) raw = Buffer.from(v.body);
	else if (v.base64) raw = Buffer.from(v.base64, "base64");
	else if (v.repeat) raw = Buffer.from(v.repeat.prefix + v.repeat.unit.repeat(v.repeat.count) + v.repeat.suffix);
	if (v.encoding === "gzip") raw = gzipSync(raw);
	if (v.corrupt === "cut") raw = raw.subarray(0, -6);
	if (v.corrupt === "flip") raw[raw.length - 6] ^= 0xff;
	return raw;
}

test("every vector of the ingest endpoint: the edge answers as the gateway does", async (t) => {
	const dir = join(root, "schemas/testdata/ingest");
	let n = 0;
	for (const name of readdirSync(dir).filter((f) => f.endsWith(".json"))) {
		for (const v of JSON.parse(readFileSync(join(dir, name), "utf8")).cases) {
			if (v.encoding === "zstd" || v.key === "disabled") continue; // no encoder here; no command disables a tenant
			const method = v.method ?? "POST";
			const headers = { "Content-Type": "application/json", ...v.headers };
			if (keys[v.key ?? ""]) headers["X-API-Key"] = keys[v.key ?? ""];
			if (v.encoding) headers["Content-Encoding"] = v.encoding;
			for (const [k, h] of Object.entries(headers)) if (h === "") delete headers[k];
			const ask = async (base) => {
				const res = await fetch(base + (v.path ?? "/v1/ingest"), { method, headers, ...(method === "POST" ? { body: bytesOf(v) } : {}) });
				const a = await res.json();
				return { status: res.status, code: a.code, errors: a.errors?.map((e) => [e.pointer, e.code]), accepted: a.accepted, rejected: a.rejected };
			};
			const [direct, through] = [await ask(world.origin), await ask(edge.url)];
			assert.deepEqual(through, direct, `${name}: ${v.name}`);
			if (v.want.code && name === "envelope.json") assert.deepEqual([through.status, through.code], [v.want.status, v.want.code], v.name);
			n++;
		}
	}
	assert.ok(n >= 40, `${n} vectors`);
	t.diagnostic(`${n} vectors, the same answer directly and through the Worker`);
});

test("the payload is in the log byte for byte", async () => {
	const a = unique(), b = unique();
	const now = Date.now();
	const bodies = [
		`\t{ "device_external_id" : "${a}" ,\n "metrics":[ {"name":"caf\u00e9 \ud83c\udf21","ts":${now}, "value":1.0e0} ]}  \n`,
		`{"batches":[{"device_external_id":"${a}","metrics":[{"name":"x","ts":${now},"value":-0.10}]}, {"device_external_id":"${b}","metrics":[{"name":"x","ts":${now},"value":2}]}]}`,
	];
	for (const body of bodies) {
		for (const packed of [false, true]) {
			const res = await post(edge.url, keys.ingest, packed ? gzipSync(body) : Buffer.from(body), packed ? { "Content-Encoding": "gzip" } : {});
			const answer = await res.json();
			assert.equal(res.status, 202, JSON.stringify(answer));
			assert.equal(answer.batch_id, res.headers.get("x-request-id"));
			const parts = (await world.log()).filter((e) => e.request_id === answer.batch_id);
			assert.ok(parts.length > 0);
			for (const p of parts) {
				assert.equal(p.source, "edge");
				assert.equal(p.key_id, id(keys.ingest));
				assert.equal(p.body_sha256, sha256(body));
				assert.ok(Math.abs(p.accepted_at - p.received_at) < 60e6 && p.accepted_at > 0);
				for (const s of p.slices) {
					const json = Buffer.from(s.json, "base64");
					assert.ok(Buffer.from(body).subarray(s.offset, s.offset + json.length).equals(json));
				}
			}
		}
	}
});

test("a retry with the same Idempotency-Key is one request", async () => {
	const body = device(unique());
	const key = { "Idempotency-Key": "order-" + unique() };
	const first = await (await post(edge.url, keys.ingest, body, key)).json();
	const again = await (await post(edge.url, keys.ingest, body, key)).json();
	assert.equal(again.repeat, true);
	assert.equal(again.batch_id, first.batch_id);
	await code(await post(edge.url, keys.ingest, device(unique()), key), 422, "idempotency_key_reused");
	assert.equal((await world.log()).filter((b) => b.body_sha256 === sha256(body)).length, 1);
});

test("a body without end is cut off at the bound", async () => {
	// Whoever still writes when the connection is closed may lose the answer to the
	// reset (TCP has it so); what must hold every time is that the body is not taken.
	let answered;
	for (let attempt = 0; !answered && attempt < 20; attempt++) {
		let sent = 0;
		const endless = new ReadableStream({ pull(c) { sent += 65536; c.enqueue(new Uint8Array(65536).fill(32)); if (sent > 64 << 20) c.close(); } });
		answered = await fetch(edge.url + "/v1/ingest", { method: "POST", body: endless, duplex: "half", headers: { "X-API-Key": keys.ingest, "Content-Type": "application/json" } })
			.catch((e) => { assert.equal(e.message, "fetch failed"); });
		assert.ok(sent < 32 << 20, `${sent} bytes were taken`);
	}
	assert.ok(answered, "not once an answer in 20 attempts");
	await code(answered, 413, "body_too_large");
});

test("a client can't speak for the edge", async () => {
	const res = await post(edge.url, keys.ingest, device(unique()), { "X-Edge-Signature": "v1=" + "0".repeat(64), "X-Edge-Request-Id": "0193a7c2-5b1e-7c3d-8e4f-a5b6c7d8e9f0", "X-Edge-Accepted-At": "1" });
	assert.equal(res.status, 202);
	assert.notEqual(res.headers.get("x-request-id"), "0193a7c2-5b1e-7c3d-8e4f-a5b6c7d8e9f0");
	const read = await fetch(edge.url + "/v1/devices", { headers: { "X-API-Key": keys.read, "X-Edge-Signature": "v1=00" } });
	assert.equal(read.status, 200);
	await code(await fetch(edge.url + "/v1/edge/spills", { method: "POST", body: "x" }), 404, "unknown_path");
});

test("other routes pass through, and the edge tells its health", async () => {
	const direct = await fetch(world.origin + "/v1/devices?limit=1", { headers: { "X-API-Key": keys.read } });
	const through = await fetch(edge.url + "/v1/devices?limit=1", { headers: { Authorization: "Bearer " + keys.read } });
	assert.deepEqual([through.status, await through.text()], [direct.status, await direct.text()]);
	const h = await (await fetch(edge.url + "/v1/health")).json();
	assert.equal(h.status, "ok");
	assert.equal(h.origin.signature, "accepted");
	await code(await fetch(edge.url + "/elsewhere"), 404, "unknown_path");
	assert.match(await world.cli("edge", "doctor", "--edge-url", edge.url), /^(ok .*\n){8}$/);
});

/** An origin that is no gateway of ours, or one that streams. */
async function otherOrigin(handle) {
	const server = createServer(handle);
	await new Promise((r) => server.listen(0, "127.0.0.1", r));
	const own = await startEdge(world, { bindings: { ORIGIN_URL: `http://127.0.0.1:${server.address().port}` } });
	for (const { name } of (await edge.kv.list()).keys) await own.kv.put(name, await edge.kv.get(name));
	return { ...own, close: async () => { await own.close(); server.closeAllConnections(); server.close(); } };
}

test("a live stream and cookies pass while they arrive", async () => {
	let more;
	const o = await otherOrigin((req, res) => {
		res.writeHead(200, { "Content-Type": "text/event-stream", "X-Request-Id": req.headers["x-edge-request-id"], "Set-Cookie": ["__Host-a=1; Secure", "b=2"], "X-Saw": req.headers.cookie });
		res.write("data: 1\n\n");
		more = () => res.end("data: 2\n\n");
	});
	try {
		const res = await fetch(o.url + "/v1/live", { headers: { Cookie: "__Host-a=0" } });
		assert.deepEqual(res.headers.getSetCookie(), ["__Host-a=1; Secure", "b=2"]);
		assert.equal(res.headers.get("x-saw"), "__Host-a=0");
		const reader = res.body.getReader();
		const text = async () => new TextDecoder().decode((await reader.read()).value);
		assert.equal(await text(), "data: 1\n\n"); // before the second was written
		more();
		assert.equal(await text(), "data: 2\n\n");
	} finally {
		await o.close();
	}
});

test("what is not the gateway's answer is no answer", async () => {
	let how;
	const o = await otherOrigin((req, res) => { req.resume(); req.on("end", () => how(req, res)); });
	const problem = (res, req, status, name) => {
		res.writeHead(status, { "Content-Type": "application/problem+json", "X-Request-Id": req.headers["x-edge-request-id"], "Retry-After": "30" });
		res.end(JSON.stringify({ code: name, status, detail: "d" }));
	};
	const spills = {
		"502 of a proxy": (_, res) => { res.writeHead(502, { "Content-Type": "text/html" }); res.end("<h1>Bad Gateway"); },
		"530 of a tunnel": (_, res) => { res.writeHead(530); res.end("error code: 1033"); },
		"page to sign in": (_, res) => { res.writeHead(302, { Location: "https://login.invalid/" }); res.end(); },
		"200 of somebody else": (_, res) => res.end("{}"),
		"202 of somebody else": (_, res) => { res.writeHead(202); res.end("{}"); },
		"connection cut": (req) => req.socket.destroy(),
		"log_unavailable": (req, res) => problem(res, req, 503, "log_unavailable"),
		"draining": (req, res) => problem(res, req, 503, "draining"),
		"keys_unavailable": (req, res) => problem(res, req, 503, "keys_unavailable"),
	};
	try {
		for (const [name, f] of Object.entries(spills)) {
			how = f;
			const res = await post(o.url, keys.ingest, device(unique()));
			const answer = await res.json();
			assert.deepEqual([res.status, answer.status], [202, "spilled"], name);
			assert.equal(answer.receipt, "/v1/batches/" + answer.batch_id);
		}
		for (const [status, name] of [[503, "log_full"], [503, "overloaded"], [429, "quota_exceeded"], [500, "internal"], [401, "unauthorized"]]) {
			how = (req, res) => problem(res, req, status, name);
			const res = await post(o.url, keys.ingest, device(unique()));
			assert.deepEqual([res.status, (await res.json()).code, res.headers.get("retry-after")], [status, name, "30"]);
		}
		for (const name of ["edge_signature", "edge_clock", "edge_required"]) {
			how = (req, res) => problem(res, req, 401, name);
			await code(await post(o.url, keys.ingest, device(unique())), 503, "edge_misconfigured");
		}
		how = spills["502 of a proxy"];
		await code(await post(o.url, keys.unknown, device(unique())), 503, "origin_unavailable");
		const again = { "Idempotency-Key": "order-" + unique() };
		const body = device(unique());
		const first = await (await post(o.url, keys.ingest, body, again)).json();
		const second = await (await post(o.url, keys.ingest, body, again)).json();
		if (second.repeat) assert.equal(second.batch_id, first.batch_id); // else a minute began in between
		if (second.repeat) await code(await post(o.url, keys.ingest, device(unique()), again), 422, "idempotency_key_reused");
		await code(await post(o.url, keys.forged, device(unique())), 401, "unauthorized");
		await code(await post(o.url, keys.read, device(unique())), 403, "missing_scope");
		await code(await fetch(o.url + "/v1/devices"), 503, "origin_unavailable");
	} finally {
		await o.close();
	}
});

test("limits of the edge, and its parts failing", async () => {
	const limits = (n) => ({ namespace_id: "1", simple: { limit: n, period: 60 } });
	const tight = await startEdge(world, { ratelimits: { KEY_LIMIT: { ...limits(2), namespace_id: "7" }, STRANGER_LIMIT: { ...limits(1), namespace_id: "8" } } });
	for (const { name } of (await edge.kv.list()).keys) await tight.kv.put(name, await edge.kv.get(name));
	for (const [key, n, last] of [[keys.ingest, 3, 429], [keys.unknown, 2, 429]]) {
		let res;
		for (let i = 0; i < n; i++) res = await post(tight.url, key, device(unique()));
		await code(res, last, "rate_limited");
		assert.ok(res.headers.get("retry-after"));
	}
	await tight.close();
	// Without KV the edge can't judge, the gateway can; without both nobody can: 503, nothing is acknowledged.
	const blind = await startEdge(world, { kvNamespaces: ["OTHER"] });
	assert.equal((await post(blind.url, keys.ingest, device(unique()))).status, 202);
	await blind.close();
	const lost = await startEdge(world, { kvNamespaces: ["OTHER"], bindings: { ORIGIN_URL: "http://127.0.0.1:1" } });
	await code(await post(lost.url, keys.ingest, device(unique())), 503, "origin_unavailable");
	await lost.close();
	const full = await startEdge(world, { r2Buckets: { OTHER: "other" }, bindings: { ORIGIN_URL: "http://127.0.0.1:1" } });
	for (const { name } of (await edge.kv.list()).keys) await full.kv.put(name, await edge.kv.get(name));
	const res = await post(full.url, keys.ingest, device(unique()));
	await code(res, 503, "spill_unavailable");
	assert.ok(res.headers.get("retry-after"));
	await full.close();
});

test("a revoked key is gone from KV and refused by the gateway", async (t) => {
	const watch = start(["edge", "sync", "--watch", "--data", world.data], world.cloudflare);
	const key = await world.newKey("--scope", "ingest");
	await until("the new key in KV", () => edge.kv.get("key/" + id(key)));
	assert.equal((await post(edge.url, key, device(unique()))).status, 202);
	await world.cli("key", "revoke", "dev", id(key));
	const began = performance.now();
	const ms = () => Math.round(performance.now() - began);
	const [kv, origin] = await Promise.all([
		until("KV without it", async () => (await edge.kv.get("key/" + id(key))) === null).then(ms),
		until("the gateway to refuse it", async () => (await post(world.origin, key, device(unique()))).status === 401).then(ms),
	]);
	await code(await post(edge.url, key, device(unique())), 401, "unauthorized");
	t.diagnostic(`revoked: gone from KV after ${kv} ms, refused by the gateway after ${origin} ms`);
	assert.ok(origin < 6000, "the gateway promises 5 s");
	await stop(watch);
});

test("the gateway is killed: every request is kept, and in the log afterwards", async () => {
	await outage(world, edge, keys.ingest, { kind: "SIGKILL", rate: 8, seconds: 3, kills: 1, budget: 20_000 });
});

test("the gateway hangs: every request is answered in time, and in the log afterwards", async () => {
	await outage(world, edge, keys.ingest, { kind: "SIGSTOP", rate: 8, seconds: 3, kills: 1, budget: 20_000 });
});

test("a key revoked before it was used is refused by the drain, and nothing is thrown away", async () => {
	const key = await world.newKey("--scope", "ingest");
	await world.cli("edge", "sync");
	await stop(world.gateway, "SIGKILL");
	const before = await post(edge.url, key, device(unique()));
	assert.equal((await before.json()).status, "spilled");
	await world.cli("key", "revoke", "dev", id(key)); // the edge does not know yet
	const body = device(unique());
	const late = await (await post(edge.url, key, body)).json();
	assert.equal(late.status, "spilled");
	await world.startGateway();
	assert.match(await world.cli("edge", "drain", "--once", "--drain-gateway", world.origin), /^1 taken, 0 taken before, 1 refused, 0 left/);
	const list = await world.cli("edge", "spills");
	assert.match(list, /^0 waiting, 1 refused/);
	assert.match(list, new RegExp(`${late.batch_id}.*unauthorized`));
	assert.match(await world.cli("edge", "spills", "--retry"), /^1 put back/);
	assert.equal((await edge.spilled()).length, 1);
	assert.ok(!(await world.log()).some((b) => b.body_sha256 === sha256(body)));
});

test("what the Worker costs", async (t) => {
	const size = await bundle("src/index.ts", "dist/worker.js");
	const gz = gzipSync(readFileSync(new URL("../dist/worker.js", import.meta.url))).length;
	const median = async (base) => {
		const times = [];
		for (let i = 0; i < 60; i++) {
			const began = performance.now();
			await (await post(base, keys.ingest, device(unique()))).arrayBuffer();
			times.push(performance.now() - began);
		}
		return times.sort((a, b) => a - b)[30];
	};
	await median(edge.url);
	const direct = await median(world.origin);
	const through = await median(edge.url);
	t.diagnostic(`bundle ${size} bytes, ${gz} gzipped; p50 through the Worker ${(through / direct).toFixed(2)} times the direct one (${through.toFixed(1)} and ${direct.toFixed(1)} ms, one client, this machine as loaded as it is)`);
	assert.ok(gz < 20_000, "thin");
});
