// Env is what the Worker is given: wrangler.jsonc and terraform say the same.
export interface Env {
	/** Keys, by id: written by `edgepulse edge sync`, only hashes. */
	KEYS: KVNamespace;
	/** Where requests wait while the origin is away. A bucket of its own: a binding reaches all of a bucket. */
	SPILL: R2Bucket;
	/** Requests per key, and per address for keys that the edge does not know. Counted per location. */
	KEY_LIMIT: RateLimit;
	STRANGER_LIMIT: RateLimit;
	/** The gateway: a binding to a private one, or its address. */
	ORIGIN?: Fetcher;
	ORIGIN_URL: string;
	/** Signs what goes to the gateway and into the spill: 64 hexadecimal digits. */
	EDGE_SECRET: string;
	/** Keys the hashes in KV; derived from the service's pepper, one way. */
	EDGE_PEPPER: string;
	/** Service token of Cloudflare Access, where the gateway is behind it. */
	ACCESS_CLIENT_ID?: string;
	ACCESS_CLIENT_SECRET?: string;
	/** How long the gateway may take to begin its answer; default 4000. */
	ORIGIN_TIMEOUT_MS?: string;
	/** Largest body of a request, bytes on the wire; default 1048576, as the gateway's. */
	MAX_WIRE?: string;
}

/** Counts a request; false when there were too many. */
export async function within(limit: RateLimit, key: string): Promise<boolean> {
	try {
		return (await limit.limit({ key })).success;
	} catch {
		return true; // a limiter that fails must not lose data: the gateway has limits of its own
	}
}

export function setting(value: string | undefined, fallback: number): number {
	const n = Number(value);
	return value !== undefined && value !== "" && Number.isFinite(n) && n > 0 ? n : fallback;
}
