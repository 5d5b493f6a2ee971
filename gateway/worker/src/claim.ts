// What the edge vouches for, and how it signs it: schemas/edge is the other side.

import { fromHex, hmac, toHex } from "./bytes";

export const unsigned = "unsigned";

export interface Claim {
	kind: "request" | "spill";
	acceptedAt: number; // unix µs
	requestID: string;
	method: string;
	target: string; // path and query
	keyID: string;
	keyProof: string;
	idempotencyKey: string;
	contentType: string;
	contentEncoding: string;
	bodySHA256: string; // hex, or unsigned
}

/** canonical is the string that is signed: one field per line, the version first. */
export function canonical(c: Claim): string {
	const fields = ["edgepulse-edge-v1", c.kind, String(c.acceptedAt), c.requestID, c.method, c.target, c.keyID, c.keyProof,
		c.idempotencyKey, c.contentType, c.contentEncoding, c.bodySHA256];
	if (fields.some((f) => /[\x00-\x1f\x7f]/.test(f))) throw new Error("a signed field holds a control character");
	return fields.join("\n");
}

export async function sign(c: Claim, secret: string): Promise<string> {
	return "v1=" + toHex(await hmac(fromHex(secret), new TextEncoder().encode(canonical(c)) as Uint8Array<ArrayBuffer>));
}

/** The headers of a signed request. */
export async function edgeHeaders(c: Claim, secret: string): Promise<Record<string, string>> {
	return {
		"X-Edge-Signature": await sign(c, secret), "X-Edge-Request-Id": c.requestID,
		"X-Edge-Accepted-At": String(c.acceptedAt), "X-Edge-Body-Sha256": c.bodySHA256,
	};
}
