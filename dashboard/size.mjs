// Fails when what a browser downloads grows over the bound: the interface is to
// open at once, also on the phone beside a machine.
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'

const most = 150_000
let total = 0
for (const name of readdirSync('dist', { recursive: true })) {
  const file = join('dist', name)
  if (!statSync(file).isFile() || name === '_headers' || name === '_redirects' || name === '.gitkeep') continue
  const bytes = gzipSync(readFileSync(file), { level: 9 }).length
  total += bytes
  console.log(`${String(bytes).padStart(8)}  ${name}`)
}
console.log(`${String(total).padStart(8)}  in total, gzipped; at most ${most}`)
if (total > most) process.exit(1)
