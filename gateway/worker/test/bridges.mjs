// Bridges between our binary and what miniflare simulates: Cloudflare's API in
// front of the simulated KV, and S3 in front of the simulated R2.
import { createServer } from "node:http";
import { AwsClient } from "aws4fetch";

async function bytes(req) {
	const parts = [];
	for await (const p of req) parts.push(p);
	return Buffer.concat(parts);
}

function listen(handle, port = 0) {
	return new Promise((resolve) => {
		const server = createServer((req, res) => {
			handle(req, res).catch((e) => {
				res.statusCode = 500;
				res.end(String(e?.stack ?? e));
			});
		});
		server.listen(port, "127.0.0.1", () => resolve({
			url: `http://127.0.0.1:${server.address().port}`,
			close: () => new Promise((done) => { server.closeAllConnections(); server.close(done); }),
		}));
	});
}

export const account = "0123456789abcdef0123456789abcdef";
export const namespace = "fedcba9876543210fedcba9876543210";
export const token = "token-of-the-tests";

/** The part of Cloudflare's API that edge sync uses, over a KV namespace of miniflare. */
export function cloudflareAPI(kv, calls = [], port = 0) {
	return listen(async (req, res) => {
		const url = new URL(req.url, "http://x");
		const say = (status, result, info) => {
			res.writeHead(status, { "Content-Type": "application/json" });
			res.end(JSON.stringify({ success: status < 400, errors: status < 400 ? [] : [{ code: status, message: "refused" }], messages: [], result, result_info: info }));
		};
		if (req.headers.authorization !== "Bearer " + token) return say(401, null);
		const base = `/client/v4/accounts/${account}/storage/kv/namespaces/${namespace}/`;
		if (!url.pathname.startsWith(base)) return say(404, null);
		const what = req.method + " " + url.pathname.slice(base.length);
		const body = await bytes(req);
		calls.push({ what, body: body.toString(), at: Date.now() });
		switch (what) {
			case "GET keys": {
				const page = await kv.list({ prefix: url.searchParams.get("prefix") ?? undefined, cursor: url.searchParams.get("cursor") ?? undefined });
				return say(200, page.keys, { count: page.keys.length, cursor: page.list_complete ? "" : page.cursor });
			}
			case "PUT bulk": {
				const pairs = JSON.parse(body);
				for (const p of pairs) await kv.put(p.key, p.value, { metadata: p.metadata, expiration: p.expiration });
				return say(200, { successful_key_count: pairs.length, unsuccessful_keys: [] });
			}
			case "POST bulk/delete": {
				const names = JSON.parse(body);
				for (const n of names) await kv.delete(n);
				return say(200, { successful_key_count: names.length, unsuccessful_keys: [] });
			}
		}
		return say(405, null);
	}, port);
}

/** unchunk undoes the framing in which S3 clients sign a body piece by piece over plain HTTP. */
function unchunk(req, body) {
	if (!(req.headers["x-amz-content-sha256"] ?? "").startsWith("STREAMING-")) return body;
	const parts = [];
	for (let at = 0; ;) {
		const end = body.indexOf("\r\n", at);
		const size = parseInt(body.subarray(at, end).toString(), 16);
		if (!(size > 0)) return Buffer.concat(parts);
		parts.push(body.subarray(end + 2, end + 2 + size));
		at = end + 2 + size + 2;
	}
}

export const s3Credentials = { accessKeyId: "spill-key", secretAccessKey: "spill-secret-of-the-tests" };

/** S3 at the root of an address: miniflare has it below a path, which S3 clients can't name. Every request is signed anew. */
export async function s3Bridge(miniflareURL) {
	const client = new AwsClient({ ...s3Credentials, service: "s3", region: "auto", retries: 0 });
	// One at a time: the simulated R2 was seen to stop for good under concurrent reads and deletions.
	let turn = Promise.resolve();
	const server = await listen(async (req, res) => {
		const headers = { "x-amz-content-sha256": "UNSIGNED-PAYLOAD" };
		for (const name of ["range", "if-none-match", "if-match", "content-type"]) if (req.headers[name]) headers[name] = req.headers[name];
		const body = unchunk(req, await bytes(req));
		const target = new URL("cdn-cgi/local/r2/s3" + req.url, miniflareURL).href;
		const mine = turn.then(async () => {
			const answer = await client.fetch(target, { method: req.method, headers, signal: AbortSignal.timeout(20_000), ...(body.length > 0 ? { body } : {}) });
			return { answer, data: Buffer.from(await answer.arrayBuffer()) };
		});
		turn = mine.then(() => {}, () => {});
		const { answer, data } = await mine;
		const back = {};
		for (const [name, value] of answer.headers) if (!["content-length", "transfer-encoding", "connection", "content-encoding"].includes(name)) back[name] = value;
		res.writeHead(answer.status, { ...back, "content-length": data.length });
		res.end(req.method === "HEAD" ? undefined : data);
	});
	const list = async (bucket, prefix) => {
		const keys = [];
		for (let token = ""; ;) {
			const answer = await fetch(`${server.url}/${bucket}?list-type=2&prefix=${encodeURIComponent(prefix)}${token}`);
			const page = await answer.text();
			if (!answer.ok) throw new Error(`list ${prefix}: ${answer.status} ${page}`);
			keys.push(...[...page.matchAll(/<Key>([^<]*)<\/Key>/g)].map((m) => m[1]));
			const next = /<NextContinuationToken>([^<]*)</.exec(page);
			if (!next) return keys;
			token = "&continuation-token=" + encodeURIComponent(next[1]);
		}
	};
	return { ...server, list };
}
