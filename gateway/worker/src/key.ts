// API keys: their format (schemas/apikey) and what the edge knows of them
// (schemas/edge). The edge refuses what it knows to be wrong; a key it does not
// know is the gateway's to judge, which has the truth.

import { base64url, fromHex, hmac, same } from "./bytes";
import type { Env } from "./env";

const format = /^ep_[^_]{1,8}_[a-z2-7]{12}_[0-9A-Za-z]{49}$/;
const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const secretChars = 43;
const checksumChars = 6;

export interface ParsedKey {
	id: string;
	secret: Uint8Array<ArrayBuffer>;
}

/** parseKey splits a key and checks its checksum: null for what can't be one. */
export function parseKey(text: string): ParsedKey | null {
	if (!format.test(text)) return null;
	const body = text.slice(0, -checksumChars);
	if (base62(BigInt(crc32(new TextEncoder().encode(body))), checksumChars) !== text.slice(-checksumChars)) return null;
	let value = 0n;
	for (const c of body.slice(-secretChars)) value = value * 62n + BigInt(alphabet.indexOf(c));
	if (value >> 256n !== 0n) return null;
	return { id: body.slice(-secretChars - 13, -secretChars - 1), secret: fromHex(value.toString(16).padStart(64, "0")) };
}

/** presentedKey finds the key of a request: X-API-Key, or Authorization: Bearer. */
export function presentedKey(h: Headers): string {
	const own = h.get("X-API-Key");
	if (own) return own;
	const [scheme, ...rest] = (h.get("Authorization") ?? "").split(" ");
	return scheme?.toLowerCase() === "bearer" ? rest.join(" ").trim() : "";
}

interface KeyRecord {
	v: number;
	tenant: string;
	hash: string;
	scopes: string[];
	expires_at?: number;
}

/** What the edge makes of a key. */
export type Judgement =
	| { kind: "valid"; id: string; tenant: string; proof: string; scopes: string[] }
	| { kind: "refused" } // wrong secret, expired, or no key at all
	| { kind: "unknown"; id: string }; // not in KV, or KV can't be asked

export async function judgeKey(env: Env, presented: string, now: number): Promise<Judgement> {
	const key = parseKey(presented);
	if (!key) return { kind: "refused" };
	let record: KeyRecord | null;
	try {
		record = await env.KEYS.get<KeyRecord>("key/" + key.id, "json");
	} catch {
		record = null;
	}
	if (record?.v !== 1 || !Array.isArray(record.scopes)) return { kind: "unknown", id: key.id };
	const proof = base64url(await hmac(fromHex(env.EDGE_PEPPER), key.secret));
	if (!same(proof, record.hash)) return { kind: "refused" };
	if (record.expires_at !== undefined && now >= record.expires_at) return { kind: "refused" };
	return { kind: "valid", id: key.id, tenant: record.tenant, proof, scopes: record.scopes };
}

function base62(value: bigint, digits: number): string {
	let out = "";
	for (let i = 0; i < digits; i++) {
		out = alphabet.charAt(Number(value % 62n)) + out;
		value /= 62n;
	}
	return out;
}

// crc32 is the IEEE one, bit by bit: a key has 70 characters, a table costs more to load.
function crc32(bytes: Uint8Array): number {
	let crc = 0xffffffff;
	for (const b of bytes) {
		crc ^= b;
		for (let i = 0; i < 8; i++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
	}
	return (crc ^ 0xffffffff) >>> 0;
}
