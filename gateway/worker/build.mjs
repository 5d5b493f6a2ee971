// Bundles the Worker as wrangler would, and prints its size.
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

await build({ entryPoints: ["src/index.ts"], bundle: true, format: "esm", target: "es2024", minify: true, outfile: "dist/worker.js", logLevel: "error" });
const b = readFileSync("dist/worker.js");
console.log(`dist/worker.js: ${b.length} bytes, ${gzipSync(b).length} gzipped`);
