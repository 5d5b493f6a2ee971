// The load of an outage, in a thread of its own: the simulator's R2 is asked
// synchronously, and a thread that waits for it would send late, in bursts, into
// connections that were closed meanwhile.
import { parentPort, workerData } from "node:worker_threads";
import { device, post, unique } from "./http.mjs";

const { url, key, rate } = workerData;
const sent = [];
let flying = 0;
let through = false;
const began = performance.now();

function one(n) {
	const body = device(unique(), n + 1);
	const it = { body, at: performance.now() };
	sent.push(it);
	flying++;
	// Every third request names itself, as our own client does.
	const headers = n % 3 === 0 ? { "Idempotency-Key": "order-" + unique() } : {};
	post(url, key, body, headers).then(async (res) => {
		it.status = res.status;
		it.answer = await res.json();
		if (!through && it.status === 202 && it.answer.status === undefined) {
			through = true;
			parentPort.postMessage({ through });
		}
	}, (e) => { it.error = `${e.cause ?? e} after ${((it.at - began) / 1000).toFixed(2)} s`; })
		.finally(() => { it.ms = performance.now() - it.at; flying--; });
}

const timer = setInterval(() => { while (sent.length < ((performance.now() - began) / 1000) * rate) one(sent.length); }, 10);
parentPort.once("message", () => {
	clearInterval(timer);
	const last = setInterval(() => {
		if (flying > 0) return;
		clearInterval(last);
		parentPort.postMessage({ sent });
	}, 20);
});
