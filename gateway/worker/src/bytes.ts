// Bytes, hexadecimal, base64url, hashes: WebCrypto with the types we need.

export function fromHex(s: string): Uint8Array<ArrayBuffer> {
	if (s.length % 2 !== 0 || /[^0-9a-fA-F]/.test(s)) throw new Error("not hexadecimal");
	const out = new Uint8Array(s.length / 2);
	for (let i = 0; i < out.length; i++) out[i] = parseInt(s.slice(2 * i, 2 * i + 2), 16);
	return out;
}

export function toHex(b: Uint8Array): string {
	let out = "";
	for (const x of b) out += x.toString(16).padStart(2, "0");
	return out;
}

export function base64url(b: Uint8Array): string {
	return btoa(String.fromCharCode(...b)).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

export async function sha256(b: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
	return new Uint8Array(await crypto.subtle.digest("SHA-256", b));
}

export async function hmac(secret: Uint8Array<ArrayBuffer>, data: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
	const key = await crypto.subtle.importKey("raw", secret, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
	return new Uint8Array(await crypto.subtle.sign("HMAC", key, data));
}

/** same compares two texts in a time that depends on the length of a only. */
export function same(a: string, b: unknown): boolean {
	const other = typeof b === "string" ? b : "";
	let diff = a.length ^ other.length;
	for (let i = 0; i < a.length; i++) diff |= a.charCodeAt(i) ^ (other.charCodeAt(i) || 0);
	return diff === 0;
}

/** uuid7 is a UUID whose order is that of time (RFC 9562). */
export function uuid7(now: number): string {
	const b = crypto.getRandomValues(new Uint8Array(16));
	const hex = now.toString(16).padStart(12, "0") + toHex(b).slice(12);
	return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-7${hex.slice(13, 16)}-${"89ab".charAt((b[8] ?? 0) & 3)}${hex.slice(17, 20)}-${hex.slice(20)}`;
}
