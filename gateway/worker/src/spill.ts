// Requests that the origin can't take now, kept in R2: schemas/edge/spill.go reads them.

import { sha256, toHex } from "./bytes";
import { sign, type Claim } from "./claim";
import type { Env } from "./env";

/** The object of a spilled request: one line of JSON, a line feed, the body verbatim. */
export async function encodeSpill(c: Claim, body: Uint8Array, secret: string): Promise<Uint8Array> {
	const head = JSON.stringify({
		v: 1, request_id: c.requestID, accepted_at: c.acceptedAt, key_id: c.keyID, key_proof: c.keyProof, idempotency_key: c.idempotencyKey,
		content_type: c.contentType, content_encoding: c.contentEncoding, body_sha256: c.bodySHA256, signature: await sign(c, secret),
	}) + "\n";
	const line = new TextEncoder().encode(head);
	const out = new Uint8Array(line.length + body.length);
	out.set(line);
	out.set(body, line.length);
	return out;
}

/**
 * spillName groups by the minute of acceptance. A client's own Idempotency-Key
 * names the object, so that a retry within the minute meets its first; a later one
 * is a second object, which the log then knows for a repeat.
 */
export async function spillName(c: Claim, tenant: string, clientKey: boolean): Promise<string> {
	const minute = new Date(Math.floor(c.acceptedAt / 1000)).toISOString().slice(0, 16).replaceAll(/[-:]/g, "") + "Z";
	let id = c.requestID;
	if (clientKey) {
		const sum = await sha256(new TextEncoder().encode(tenant + "\n" + c.idempotencyKey) as Uint8Array<ArrayBuffer>);
		id = "k-" + toHex(sum.slice(0, 16));
	}
	return `spill/${minute}/${id}`;
}

export type Spilled = { kind: "kept"; batch: string; repeat: boolean } | { kind: "reused" };

/** keep writes the request, once. It throws when R2 does not confirm. */
export async function keep(env: Env, c: Claim, body: Uint8Array, tenant: string, clientKey: boolean): Promise<Spilled> {
	const object = await encodeSpill(c, body, env.EDGE_SECRET);
	const name = await spillName(c, tenant, clientKey);
	if (await create(env, name, object, c)) return { kind: "kept", batch: c.requestID, repeat: false };
	const before = (await env.SPILL.head(name))?.customMetadata;
	if (before && before["body_sha256"] !== c.bodySHA256) return { kind: "reused" };
	if (before?.["request_id"]) return { kind: "kept", batch: before["request_id"], repeat: true };
	// Drained between the two calls: the log will know it for a repeat.
	if (!(await create(env, await spillName(c, tenant, false), object, c))) throw new Error("the name of a new request is taken");
	return { kind: "kept", batch: c.requestID, repeat: false };
}

async function create(env: Env, name: string, object: Uint8Array, c: Claim): Promise<boolean> {
	const put = await env.SPILL.put(name, object, {
		onlyIf: new Headers({ "If-None-Match": "*" }),
		customMetadata: { request_id: c.requestID, body_sha256: c.bodySHA256 },
	});
	return put !== null;
}
