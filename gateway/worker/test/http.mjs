// How the tests send: a device's body, and a client that keeps no connection for long.
import { createHash, randomUUID } from "node:crypto";
import { Agent, fetch } from "undici";

export const sha256 = (b) => createHash("sha256").update(b).digest("base64");
export const device = (name, extra = "") => `{"device_external_id":"${name}","metrics":[{"name":"v","ts":${Date.now()},"value":${extra || 1}}]}`;
export const unique = () => "d-" + randomUUID();

// A connection for each request, as a sensor that sends now and then has: workerd
// closes one that has been idle for 5 s, and a client that keeps it about as long
// sends into one that is just being closed, and is reset.
const client = new Agent({ pipelining: 0 });

export function post(url, key, body, headers = {}) {
	return fetch(url + "/v1/ingest", { method: "POST", body, dispatcher: client, headers: { "X-API-Key": key, "Content-Type": "application/json", ...headers } });
}
