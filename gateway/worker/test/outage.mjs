// An outage of the gateway under load, in its two forms: gone (SIGKILL) and
// hanging (SIGSTOP). Used short by the tests and long by `go tool task edge:prove`.
import assert from "node:assert/strict";
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { sha256, stop, until } from "./harness.mjs";

const pause = (ms) => new Promise((r) => setTimeout(r, ms));

/** load sends rate requests a second, whatever becomes of those before, until stopped. */
async function load(edge, key, rate) {
	const thread = new Worker(new URL("./load.mjs", import.meta.url), { workerData: { url: edge.url, key, rate } });
	const fault = once(thread, "error").then(([e]) => { throw e; });
	const said = () => Promise.race([once(thread, "message").then(([m]) => m), fault]);
	await said(); // an answer of the gateway: the way is open
	return { stop: async () => { thread.postMessage("stop"); const { sent } = await said(); await thread.terminate(); return sent; } };
}

/**
 * outage: load, the gateway goes away for some seconds and comes back, the drain
 * works and is killed. Then the log must hold every request that was answered 202.
 */
export async function outage(world, edge, key, { kind, rate, seconds, kills, budget }) {
	let drain = edge.startDrain();
	const l = await load(edge, key, rate);
	if (kind === "SIGKILL") await stop(world.gateway, "SIGKILL");
	else world.gateway.kill("SIGSTOP");
	await pause(seconds * 1000);
	const listed = edge.spilled();
	if (kind === "SIGKILL") await world.startGateway();
	else world.gateway.kill("SIGCONT");
	await pause(1000);
	const sent = await l.stop();
	const waiting = (await listed).length;
	// Killed while it works, at moments it does not choose.
	let killed = 0;
	for (; killed < kills; killed++) {
		await pause(100 + Math.random() * 700);
		await stop(drain, "SIGKILL");
		drain = edge.startDrain();
	}
	// The simulated R2 does one thing at a time: who lists thousands of objects often keeps the drain from its work.
	const look = Math.max(100, waiting);
	const draining = performance.now();
	let said = draining;
	await until("the spill to be empty", async () => {
		const left = (await edge.spilled()).length;
		const now = performance.now();
		if (now - said > 15_000) {
			said = now;
			const rate = (waiting - left) / ((now - draining) / 1000);
			console.error(`${kind}: ${left} of ${waiting} wait for the drain, ${rate.toFixed(0)}/s, ${rate > 0 ? Math.ceil(left / rate) : "?"} s left`);
		}
		return left === 0;
	}, 900_000, look);
	await stop(drain);

	const times = sent.map((s) => s.ms).sort((a, b) => a - b);
	const bad = sent.filter((s) => s.status !== 202);
	assert.deepEqual(bad.map((s) => s.error ?? s.answer), [], `${bad.length} of ${sent.length} requests were not answered 202`);
	const bySum = new Map();
	for (const b of await world.log()) {
		const sum = b.body_sha256;
		bySum.set(sum, [...(bySum.get(sum) ?? []), b]);
	}
	let lost = 0;
	let twice = 0;
	for (const s of sent) {
		const found = bySum.get(sha256(s.body)) ?? [];
		if (found.length === 0) lost++;
		if (found.length > 1) {
			twice++;
			// A copy is harmless only if the log can know it for one.
			assert.equal(new Set(found.map((b) => b.idempotency_key)).size, 1, "a copy with another idempotency key");
		}
		if (found.length > 0) assert.equal(Buffer.from(found[0].slices[0].json, "base64").toString(), s.body);
	}
	const spilled = sent.filter((s) => s.answer.status === "spilled").length;
	const report = { kind, requests: sent.length, spilled, waiting_at_end_of_outage: waiting, lost, copies_known_as_repeats: twice, drain_kills: killed,
		ms_p50: Math.round(times[times.length >> 1]), ms_p99: Math.round(times[Math.floor(times.length * 0.99)]), ms_max: Math.round(times.at(-1)) };
	console.log(JSON.stringify(report));
	assert.equal(lost, 0, "requests that were acknowledged are not in the log");
	assert.ok(spilled > 0, "nothing was spilled: there was no outage");
	assert.ok(times.at(-1) < budget, `an answer took ${times.at(-1)} ms`);
	return report;
}
