// POST /v1/ingest: judged as far as the edge can, signed, given to the gateway;
// kept in R2 when the gateway can't take it. A 202 means on disk, there or here.

import { badHeaders, readBody, tooLarge } from "./body";
import { sha256, toHex } from "./bytes";
import { edgeHeaders, type Claim } from "./claim";
import { setting, within, type Env } from "./env";
import { judgeKey, presentedKey, type Judgement } from "./key";
import { askOrigin, misunderstood, spills } from "./origin";
import { answer, answerProblem, unauthorized, unavailable, type Problem } from "./problem";
import { keep } from "./spill";

/** Arrival is a request with the instant and the id that the edge gave it. */
export interface Arrival {
	request: Request;
	url: URL;
	requestID: string;
	acceptedAt: number; // unix µs
}

export async function ingest(env: Env, a: Arrival): Promise<Response> {
	const refuse = (p: Problem) => answerProblem(p, a.requestID, a.url.pathname);
	const h = a.request.headers;
	const presented = presentedKey(h);
	const key = await judgeKey(env, presented, Date.now());
	const refusal = await admit(env, a, key);
	if (refusal) return refuse(refusal);
	const maxWire = setting(env.MAX_WIRE, 1 << 20);
	const bad = badHeaders(h, maxWire);
	if (bad) return refuse(bad);
	let body: Uint8Array<ArrayBuffer> | null;
	try {
		body = await readBody(a.request.body, maxWire);
	} catch {
		return refuse({ status: 400, code: "bad_body", detail: "the body does not match its Content-Encoding or Content-Length" });
	}
	if (!body) return refuse(tooLarge(maxWire));

	const clientKey = h.get("Idempotency-Key");
	const claim: Claim = {
		kind: "request", acceptedAt: a.acceptedAt, requestID: a.requestID, method: "POST", target: a.url.pathname + a.url.search,
		keyID: key.kind === "refused" ? "" : key.id, keyProof: "", idempotencyKey: clientKey ?? "edge:" + a.requestID,
		contentType: h.get("Content-Type") ?? "", contentEncoding: h.get("Content-Encoding") ?? "", bodySHA256: toHex(await sha256(body)),
	};
	const headers: Record<string, string> = {
		"X-API-Key": presented, "Content-Type": claim.contentType, "Idempotency-Key": claim.idempotencyKey,
		...(await edgeHeaders(claim, env.EDGE_SECRET)),
	};
	if (claim.contentEncoding) headers["Content-Encoding"] = claim.contentEncoding;
	const asked = await askOrigin(env, claim.target, { method: "POST", headers, body }, a.requestID);
	if (asked.kind === "answer") {
		const verdict = await judgeAnswer(asked.response);
		if (verdict !== "keep") return verdict === "pass" ? asked.response : refuse(verdict);
	} else if (asked.kind === "foreign") {
		await asked.response.body?.cancel();
	}
	return spill(env, a, key, claim, body, clientKey !== null);
}

/** admit refuses what the edge knows to be wrong, or too much. */
async function admit(env: Env, a: Arrival, key: Judgement): Promise<Problem | null> {
	switch (key.kind) {
		case "refused":
			return unauthorized;
		case "unknown": {
			const from = a.request.headers.get("CF-Connecting-IP") ?? "";
			return (await within(env.STRANGER_LIMIT, from)) ? null : tooMany;
		}
		case "valid":
			if (!key.scopes.includes("ingest")) {
				return { status: 403, code: "missing_scope", detail: "this key does not have the scope ingest" };
			}
			return (await within(env.KEY_LIMIT, key.id)) ? null : tooMany;
	}
}

const tooMany: Problem = { status: 429, code: "rate_limited", detail: "too many requests at this edge; put more points into each", headers: { "Retry-After": "10" } };

/** judgeAnswer: pass it on, keep the request here, or answer a problem of our own. */
async function judgeAnswer(response: Response): Promise<"pass" | "keep" | Problem> {
	if (response.status < 400 || !(response.headers.get("Content-Type") ?? "").startsWith("application/problem+json")) return "pass";
	let code = "";
	try {
		code = ((await response.clone().json()) as { code?: string }).code ?? "";
	} catch {
		return "keep"; // it broke off in the middle of its answer
	}
	if (misunderstood(code)) return unavailable("edge_misconfigured", "edge and gateway do not agree on a secret or on the time", 30);
	if (!spills(response.status, code)) return "pass";
	return "keep";
}

async function spill(env: Env, a: Arrival, key: Judgement, claim: Claim, body: Uint8Array, clientKey: boolean): Promise<Response> {
	const refuse = (p: Problem) => answerProblem(p, a.requestID, a.url.pathname);
	if (key.kind !== "valid") {
		// Only the gateway could say whether this key exists: nothing may be acknowledged.
		return refuse(unavailable("origin_unavailable", "the gateway can't be reached, and this key is not known at the edge; send the request again", 5));
	}
	try {
		const kept = await keep(env, { ...claim, kind: "spill", target: "/v1/ingest", keyProof: key.proof }, body, key.tenant, clientKey);
		if (kept.kind === "reused") {
			return refuse({ status: 422, code: "idempotency_key_reused", detail: "this Idempotency-Key stands for another body; use a new one" });
		}
		return answer(202, "application/json", a.requestID, {
			status: "spilled", batch_id: kept.batch, accepted: 0, rejected: 0, ...(kept.repeat ? { repeat: true } : {}), receipt: "/v1/batches/" + kept.batch,
		});
	} catch {
		return refuse(unavailable("spill_unavailable", "neither the gateway nor the store behind it confirmed; the request may or may not be stored, sending it again is safe", 5));
	}
}
