// Reads the schemas of Terraform providers out of their CDKTF bindings, which are
// generated from the providers' own schemas: names, types, nesting, and which
// attributes are required, optional or computed.
//
//   node schemas.mjs OUT.json PACKAGE.tgz TYPE...     TYPE: aws_vpc, data.aws_region
//
// PACKAGE.tgz is what `npm pack NAME@VERSION` fetches; it must be the one that
// package-lock.json names. What the bindings don't tell (sensitive attributes,
// validators) is not there.

import { createHash } from "node:crypto";
import { createReadStream, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { createGunzip } from "node:zlib";

const here = dirname(fileURLToPath(import.meta.url));
const [out, tgz, ...wanted] = process.argv.slice(2);

const known = new Set(["id", "tags_all", "private_ip", "key_id", "storage_type", "name_prefix"]);

const folderOf = (type) => {
  const name = type.replace(/^data\./, "");
  return (type.startsWith("data.") ? "data-" + name : name.replace(/^[a-z]+_/, "")).replaceAll("_", "-");
};
const files = await unpack(tgz, new Set(["package.json", ...["provider", ...wanted.map(folderOf)].map((f) => `lib/${f}/index.js`)]));
const manifest = JSON.parse(files.get("package.json"));
const locked = JSON.parse(readFileSync(join(here, "package-lock.json"))).packages["node_modules/" + manifest.name].integrity;
if (files.integrity !== locked) {
  console.error(`${tgz} is not the ${manifest.name} of package-lock.json`);
  process.exit(1);
}
// Providers of the plugin framework nest attributes; those of the older SDK nest blocks.
const nestsAttributes = manifest.name.endsWith("cloudflare");

const result = { version: manifest.cdktf.provider.version, provider: block(load("provider")), resources: {}, data: {} };
for (const type of wanted) {
  const folder = folderOf(type);
  if (!files.has(`lib/${folder}/index.js`)) {
    console.error(`${manifest.name} has no ${type}`);
    process.exitCode = 1;
    continue;
  }
  (type.startsWith("data.") ? result.data : result.resources)[type.replace(/^data\./, "")] = block(load(folder));
}
writeFileSync(out, JSON.stringify(result));

// unpack reads the named files of a package without laying the others (400 MB) on
// the disk. Tar: a header of 512 bytes, the content, filled up to 512.
async function unpack(file, names) {
  const found = new Map();
  const hash = createHash("sha512");
  let rest = Buffer.alloc(0);
  let entry = null; // the file being read, or skipped
  const raw = createReadStream(file);
  raw.on("data", (chunk) => hash.update(chunk));
  for await (const chunk of raw.pipe(createGunzip())) {
    rest = rest.length ? Buffer.concat([rest, chunk]) : chunk;
    for (;;) {
      if (!entry) {
        if (rest.length < 512) break;
        const field = (from, to) => rest.toString("latin1", from, to).replace(/\0.*$/s, "");
        const size = parseInt(field(124, 136).trim() || "0", 8);
        const prefix = field(345, 500);
        const name = ((prefix ? prefix + "/" : "") + field(0, 100)).replace(/^package\//, "");
        entry = { name, size, left: Math.ceil(size / 512) * 512, parts: names.has(name) ? [] : null };
        rest = rest.subarray(512);
      }
      const n = Math.min(entry.left, rest.length);
      entry.parts?.push(Buffer.from(rest.subarray(0, n)));
      rest = rest.subarray(n);
      entry.left -= n;
      if (entry.left > 0) break;
      if (entry.parts) found.set(entry.name, Buffer.concat(entry.parts).subarray(0, entry.size).toString("utf8"));
      entry = null;
    }
  }
  found.integrity = "sha512-" + hash.digest("base64");
  return found;
}

function load(folder) {
  const text = files.get(`lib/${folder}/index.js`);
  const classes = {};
  for (const m of text.matchAll(/^class (\w+) extends ([\w.]+) \{\n([\s\S]*?)^\}/gm)) classes[m[1]] = { base: m[2], body: m[3] };
  const mappers = {};
  for (const m of text.matchAll(/^function (\w+)ToHclTerraform\(struct\) \{\n([\s\S]*?)^\}/gm)) mappers[m[1].toLowerCase()] = m[2];
  const main = Object.values(classes).find((c) => /Terraform(Resource|DataSource|Provider)$/.test(c.base));
  const settable = main.body.slice(main.body.indexOf("synthesizeHclAttributes()"));
  return { classes, mappers, body: main.body, settable };
}

// block reads one level: the resource itself, or what is nested in it.
function block({ classes, mappers, body, settable }) {
  const members = {};
  for (const m of body.matchAll(/\/\/ (\w+) - computed: (\w+), optional: (\w+), required: (\w+)\n(?=(.*)\n(.*))/g)) {
    const at = { computed: m[2] === "true", optional: m[3] === "true", required: m[4] === "true" };
    const nested = /new (\w+?)(List|Map|OutputReference)\(this, "/.exec(m[5]);
    if (nested) Object.assign(at, { nested: nested[1], many: nested[2] });
    else at.getter = /this\.(get\w+|\w+)\(?/.exec(m[6].replace("return ", ""))?.[1];
    members[m[1]] = { ...members[m[1]], ...at };
  }
  const hcl = {};
  for (const m of settable.matchAll(/^ +"?(\w+)"?: \{\n\s+value: .*,\n\s+isBlock: (\w+),\n\s+type: "(\w+)",\n\s+storageClassType: "(\w+)",/gm)) {
    hcl[m[1]] = { isBlock: m[2] === "true", type: m[3], storage: m[4] };
  }
  // A setting without a way to unset it is required. The bindings don't tell which
  // optional attributes the provider computes when they are not set; `known` does.
  const getters = Object.fromEntries([...body.matchAll(/get (\w+)\(\) \{\n.*Attribute\('(\w+)'\)/g)].map((m) => [m[2], m[1]]));
  const required = (name) => name in getters && !body.includes(`reset${getters[name][0].toUpperCase()}${getters[name].slice(1)}()`);
  const level = { attributes: [], blocks: [] };
  for (const name of new Set([...Object.keys(members), ...Object.keys(hcl)])) {
    const m = members[name] ?? { computed: known.has(name), optional: !required(name), required: required(name) };
    const h = hcl[name];
    const flags = { name, required: m.required, optional: m.optional && !m.required, computed: m.computed && !m.required };
    if (!m.nested && !h?.isBlock) {
      level.attributes.push({ ...flags, type: h ? typeOf(h.storage, h.type) : ofGetter(m.getter), write_only: /^(?!has_).*_wo$/.test(name) });
      continue;
    }
    const struct = m.nested ?? h.storage.replace(/(List|Map)$/, "");
    const inner = block({ classes, mappers, body: classes[struct + "OutputReference"]?.body ?? "", settable: mappers[struct.toLowerCase()] ?? "" });
    const nesting = h ? (h.type === "struct" ? "single" : h.type) : m.many === "OutputReference" ? "single" : m.many === "Map" ? "map" : "list";
    if (!h || (m.computed && !nestsAttributes) || (nestsAttributes && name !== "timeouts")) {
      // Computed lists of objects, attributes that read like blocks, nested attributes.
      if (nestsAttributes) level.attributes.push({ ...flags, nesting, nested: inner });
      else level.attributes.push({ ...flags, type: [nesting === "single" ? "list" : nesting, objectOf(inner)] });
      continue;
    }
    const max = nesting !== "single" && m.many === "OutputReference" ? 1 : 0;
    level.blocks.push({ name, nesting, min: m.required && nesting !== "single" ? 1 : 0, max, block: inner });
  }
  return level;
}

function objectOf(level) {
  const o = {};
  for (const a of level.attributes) o[a.name] = a.type;
  for (const b of level.blocks) o[b.name] = [b.nesting === "set" ? "set" : "list", objectOf(b.block)];
  return ["object", o];
}

function typeOf(storage, collection) {
  const base = { string: "string", number: "number", boolean: "bool", any: "dynamic" };
  if (base[storage]) return base[storage];
  const inner = /^(.*?)(List|Map)$/.exec(storage);
  if (!inner) return "dynamic";
  const outer = inner[2] === "Map" ? "map" : collection === "set" ? "set" : "list";
  return [outer, typeOf(inner[1], "list")];
}

function ofGetter(getter) {
  switch (getter) {
    case "getStringAttribute": return "string";
    case "getNumberAttribute": return "number";
    case "getBooleanAttribute": return "bool";
    case "getListAttribute": return ["list", "string"];
    case "getNumberListAttribute": return ["list", "number"];
    case "getStringMapAttribute": return ["map", "string"];
    case "getNumberMapAttribute": return ["map", "number"];
    case "getBooleanMapAttribute": return ["map", "bool"];
    case "_timeouts": return "dynamic";
    default: return "dynamic";
  }
}
