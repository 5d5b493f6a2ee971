// The vectors of schemas/testdata/edge, in workerd. schemas/edge runs the same in Go.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Miniflare } from "miniflare";
import { bundle, folder, root } from "./harness.mjs";

const load = (name) => JSON.parse(readFileSync(join(root, "schemas/testdata/edge", name), "utf8"));
let mf, ask;

before(async () => {
	await bundle("test/vectors-entry.ts", "dist/vectors.js");
	mf = new Miniflare({ modules: true, scriptPath: join(folder, "dist/vectors.js"), compatibilityDate: "2026-07-01", cf: false });
	ask = async (what, more) => (await mf.dispatchFetch("http://x/", { method: "POST", body: JSON.stringify({ what, ...more }) })).json();
});
after(() => mf.dispose());

const claim = (c) => ({ kind: c.kind, acceptedAt: c.accepted_at, requestID: c.request_id, method: c.method, target: c.target, keyID: c.key_id, keyProof: c.key_proof,
	idempotencyKey: c.idempotency_key, contentType: c.content_type, contentEncoding: c.content_encoding, bodySHA256: c.body_sha256 });

test("format of keys, and their proof", async () => {
	const { cases, pepper } = load("keys.json");
	const edge = createHmac("sha256", Buffer.from(pepper, "hex")).update("edgepulse edge pepper v1").digest("hex");
	for (const v of cases) {
		assert.deepEqual(await ask("key", { key: v.key, pepper: edge }), v.id === null ? null : { id: v.id, secret: v.secret, proof: v.proof }, v.name);
	}
});

test("canonical string and signature", async () => {
	const { cases, secret } = load("signing.json");
	for (const v of cases) {
		assert.deepEqual(await ask("sign", { claim: claim(v.claim), secret }), v.error ? { error: true } : { canonical: v.canonical, signature: v.signature }, v.name);
	}
});

test("objects and names of spilled requests", async () => {
	const { cases, secret } = load("spills.json");
	for (const v of cases) {
		assert.deepEqual(await ask("spill", { claim: claim(v.claim), body: v.body, secret, tenant: v.tenant, client_key: v.client_key }),
			{ object: Buffer.from(v.object, "base64").toString("hex"), name: v.object_name }, v.name);
	}
});

test("which answers let the edge keep a request", async () => {
	for (const v of load("answers.json").cases) assert.equal(await ask("spills", v), v.spills, `${v.status} ${v.code}`);
});
