// The edge of EdgePulse: a thin Worker in front of the gateway.
//
// What comes in: HTTP from sensors and browsers. What goes out: the same request,
// signed, to the gateway, and its answer verbatim; or, while the gateway can't
// take it, an object in R2 and 202 "spilled". State: none but a hint about a
// hanging origin. Failure: what can't be decided or kept is answered 503 with
// Retry-After; nothing is acknowledged that is not on disk.

import { uuid7 } from "./bytes";
import { edgeHeaders, unsigned, type Claim } from "./claim";
import type { Env } from "./env";
import { ingest, type Arrival } from "./ingest";
import { parseKey, presentedKey } from "./key";
import { askOrigin, misunderstood } from "./origin";
import { answer, answerProblem, unavailable } from "./problem";

export default {
	async fetch(request: Request, env: Env): Promise<Response> {
		const url = new URL(request.url);
		const now = Date.now();
		// The clock of a Worker counts milliseconds and stands still within a request;
		// points without ts get this instant, and two of them must not be one.
		const micros = crypto.getRandomValues(new Uint16Array(1))[0] ?? 0;
		const arrival: Arrival = { request, url, requestID: uuid7(now), acceptedAt: now * 1000 + (micros % 1000) };
		try {
			if (url.pathname === "/v1/ingest" && request.method === "POST") return await ingest(env, arrival);
			if (url.pathname === "/v1/health" && (request.method === "GET" || request.method === "HEAD")) return await health(env, arrival);
			if (url.pathname.startsWith("/v1/") && !url.pathname.startsWith("/v1/edge/")) return await proxy(env, arrival);
			return answerProblem({ status: 404, code: "unknown_path", detail: "there is no such path; see /v1/openapi.json" }, arrival.requestID, url.pathname);
		} catch (e) {
			// Never the request itself: it may hold a key.
			console.error("edge failed", arrival.requestID, e instanceof Error ? e.message : "");
			return answerProblem({ status: 500, code: "internal", detail: "a bug of ours; quote the request id" }, arrival.requestID, url.pathname);
		}
	},
} satisfies ExportedHandler<Env>;

/** proxy passes a request and its answer through, both while they arrive. */
async function proxy(env: Env, a: Arrival): Promise<Response> {
	const headers = new Headers(a.request.headers);
	for (const name of [...headers.keys()]) if (name.startsWith("x-edge-")) headers.delete(name);
	const claim = passing(a, a.request.method, a.url.pathname + a.url.search, headers);
	for (const [name, value] of Object.entries(await edgeHeaders(claim, env.EDGE_SECRET))) headers.set(name, value);
	const asked = await askOrigin(env, claim.target, { method: a.request.method, headers, body: a.request.body }, a.requestID);
	const away = () => answerProblem(unavailable("origin_unavailable", "the gateway can't be reached", 5), a.requestID, a.url.pathname);
	if (asked.kind === "none") return away();
	if (asked.kind === "foreign" && asked.response.status >= 500) {
		await asked.response.body?.cancel();
		return away();
	}
	return asked.response;
}

/** health says how the edge is, and how it finds the gateway. It is 200 while the edge works: it takes data either way. */
async function health(env: Env, a: Arrival): Promise<Response> {
	const claim = passing(a, "GET", "/v1/health", new Headers());
	const asked = await askOrigin(env, claim.target, { headers: await edgeHeaders(claim, env.EDGE_SECRET) }, a.requestID);
	let origin: Record<string, unknown> = { status: "unreachable" };
	if (asked.kind === "foreign") origin = { status: "not a gateway", answered: asked.response.status };
	if (asked.kind === "answer") {
		const theirs = asked.response.headers.get("X-Edge-Verified");
		const code = theirs === null ? (((await asked.response.clone().json()) as { code?: string }).code ?? "") : "";
		origin = theirs !== null
			? { status: "ok", signature: "accepted", skew_ms: Math.round((Number(theirs) - a.acceptedAt) / 1000) }
			: { status: misunderstood(code) ? code : "no answer to the signature" };
	}
	if (asked.kind !== "none") await asked.response.body?.cancel();
	return answer(200, "application/json", a.requestID, { status: "ok", edge: { now: new Date().toISOString() }, origin });
}

function passing(a: Arrival, method: string, target: string, headers: Headers): Claim {
	return {
		kind: "request", acceptedAt: a.acceptedAt, requestID: a.requestID, method, target, keyID: parseKey(presentedKey(headers))?.id ?? "", keyProof: "",
		idempotencyKey: headers.get("Idempotency-Key") ?? "", contentType: headers.get("Content-Type") ?? "",
		contentEncoding: headers.get("Content-Encoding") ?? "", bodySHA256: unsigned,
	};
}
