// What the edge can say about a request before its body is decoded; the rest is the gateway's.

import type { Problem } from "./problem";

/** badHeaders names the first header that can't be right: gateway/body.go and ingest.go judge alike. */
export function badHeaders(h: Headers, maxWire: number): Problem | null {
	const key = h.get("Idempotency-Key");
	if (key !== null && !/^[\x21-\x7e]{1,64}$/.test(key)) {
		return { status: 400, code: "bad_idempotency_key", detail: "expected one Idempotency-Key of 1 to 64 printable ASCII characters" };
	}
	if (!isJSON(h.get("Content-Type"))) {
		return { status: 415, code: "unsupported_media_type", detail: "expected Content-Type: application/json", headers: { Accept: "application/json" } };
	}
	const length = h.get("Content-Length");
	if (length !== null && Number(length) > maxWire) return tooLarge(maxWire);
	const encoding = (h.get("Content-Encoding") ?? "").trim().toLowerCase();
	if (!["", "identity", "gzip", "x-gzip", "zstd"].includes(encoding)) {
		return { status: 415, code: "unsupported_encoding", detail: "expected Content-Encoding gzip, zstd or none", headers: { "Accept-Encoding": "gzip, zstd" } };
	}
	return null;
}

function isJSON(contentType: string | null): boolean {
	const [type, ...params] = (contentType ?? "").split(";").map((s) => s.trim().toLowerCase());
	if (type !== "application/json") return false;
	const charset = params.find((p) => p.startsWith("charset="));
	return charset === undefined || charset === "charset=utf-8" || charset === 'charset="utf-8"';
}

export function tooLarge(maxWire: number): Problem {
	return { status: 413, code: "body_too_large", detail: `the body exceeds ${maxWire} bytes on the wire; split the request` };
}

/** readBody reads at most max bytes: null for more, whatever Content-Length said. */
export async function readBody(body: ReadableStream<Uint8Array> | null, max: number): Promise<Uint8Array<ArrayBuffer> | null> {
	if (!body) return new Uint8Array(0);
	const chunks: Uint8Array[] = [];
	let size = 0;
	const reader = body.getReader();
	for (;;) {
		const { done, value } = await reader.read();
		if (done) break;
		size += value.byteLength;
		if (size > max) {
			await reader.cancel();
			return null;
		}
		chunks.push(value);
	}
	const out = new Uint8Array(size);
	let at = 0;
	for (const c of chunks) {
		out.set(c, at);
		at += c.byteLength;
	}
	return out;
}
