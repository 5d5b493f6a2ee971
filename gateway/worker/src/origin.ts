// The gateway, as the edge reaches it: one signed fetch with a time-out.

import type { Env } from "./env";
import { setting } from "./env";

const suspectFor = 10_000; // ms
const suspectPatience = 500; // ms

// After a time-out the gateway is asked with less patience for a while: while it
// hangs, requests must not pile up behind it. Memory of this isolate only, best effort.
let suspectUntil = 0;

/** What came of asking the gateway. foreign: something answered, but not the gateway. */
export type OriginAnswer = { kind: "answer"; response: Response } | { kind: "foreign"; response: Response } | { kind: "none" };

/**
 * askOrigin sends a request whose headers are complete. An answer is the
 * gateway's if and only if it names the request by the id we gave it: whatever
 * stands between us (a proxy, a login page, a tunnel without an end) does not.
 */
export async function askOrigin(env: Env, path: string, init: RequestInit, requestID: string): Promise<OriginAnswer> {
	const patience = Date.now() < suspectUntil ? suspectPatience : setting(env.ORIGIN_TIMEOUT_MS, 4000);
	const abort = new AbortController();
	const timer = setTimeout(() => abort.abort(), patience);
	try {
		const response = await originFetch(env, path, { ...init, redirect: "manual", signal: abort.signal });
		suspectUntil = 0;
		return { kind: response.headers.get("X-Request-Id") === requestID ? "answer" : "foreign", response };
	} catch {
		if (abort.signal.aborted) suspectUntil = Date.now() + suspectFor;
		return { kind: "none" };
	} finally {
		clearTimeout(timer); // the body of the answer may take as long as it likes: it may be a live stream
	}
}

function originFetch(env: Env, path: string, init: RequestInit): Promise<Response> {
	const headers = new Headers(init.headers);
	if (env.ACCESS_CLIENT_ID && env.ACCESS_CLIENT_SECRET) {
		headers.set("CF-Access-Client-Id", env.ACCESS_CLIENT_ID);
		headers.set("CF-Access-Client-Secret", env.ACCESS_CLIENT_SECRET);
	}
	const url = env.ORIGIN_URL.replace(/\/+$/, "") + path;
	return env.ORIGIN ? env.ORIGIN.fetch(url, { ...init, headers }) : fetch(url, { ...init, headers });
}

/** spills says whether an answer of the gateway lets the edge keep the request: schemas/edge.Spills. */
export function spills(status: number, code: string): boolean {
	return status === 503 && (code === "log_unavailable" || code === "draining" || code === "keys_unavailable");
}

/** misunderstood are answers about us, not about the client: it must not take them for its own fault. */
export function misunderstood(code: string): boolean {
	return code === "edge_signature" || code === "edge_clock" || code === "edge_required";
}
