// The long outage: the gateway SIGKILLed and SIGSTOPped for a minute each, at 50
// requests a second, while the drain is killed five times.
import { parseArgs } from "node:util";
import { startEdge, startWorld } from "./harness.mjs";
import { outage } from "./outage.mjs";

const { values: v } = parseArgs({ options: { rate: { type: "string", default: "50" }, seconds: { type: "string", default: "60" }, kills: { type: "string", default: "5" }, budget: { type: "string", default: "10000" } } });
const world = await startWorld();
await world.startGateway();
const edge = await startEdge(world);
let failed = 0;
try {
	const key = await world.newKey("--scope", "ingest");
	console.log((await world.cli("edge", "sync")).trim());
	for (const kind of ["SIGKILL", "SIGSTOP"]) {
		try {
			await outage(world, edge, key, { kind, rate: Number(v.rate), seconds: Number(v.seconds), kills: Number(v.kills), budget: Number(v.budget) });
		} catch (e) {
			failed++;
			console.error(kind, e);
		}
	}
} finally {
	await edge.close();
	await world.close();
}
process.exit(failed ? 1 : 0);
