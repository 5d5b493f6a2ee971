// Runs the vectors in workerd: one call per vector.
import { fromHex, base64url, hmac, toHex } from "../src/bytes";
import { canonical, sign, type Claim } from "../src/claim";
import { parseKey } from "../src/key";
import { spills } from "../src/origin";
import { encodeSpill, spillName } from "../src/spill";

interface Call { what: string; [name: string]: any }

export default {
	async fetch(request: Request): Promise<Response> {
		const c = (await request.json()) as Call;
		return Response.json(await calls[c.what]!(c));
	},
};

const calls: Record<string, (c: Call) => unknown> = {
	async key(c) {
		const key = parseKey(c["key"]);
		return key && { id: key.id, secret: toHex(key.secret), proof: base64url(await hmac(fromHex(c["pepper"]), key.secret)) };
	},
	async sign(c) {
		try {
			return { canonical: canonical(c["claim"] as Claim), signature: await sign(c["claim"] as Claim, c["secret"]) };
		} catch {
			return { error: true };
		}
	},
	async spill(c) {
		const body = Uint8Array.from(atob(c["body"]), (x) => x.charCodeAt(0));
		return { object: toHex(await encodeSpill(c["claim"] as Claim, body, c["secret"])), name: await spillName(c["claim"] as Claim, c["tenant"], c["client_key"]) };
	},
	spills: (c) => spills(c["status"], c["code"]),
};
