// Prints the anomalies of a tenant, one line each.
//
//   EDGEPULSE_URL=http://127.0.0.1:8787 EDGEPULSE_API_KEY=ep_… node dist/anomalies.js [min_severity]

import { anomalies, connect, Refused } from './client.js'

const { EDGEPULSE_URL: url, EDGEPULSE_API_KEY: key } = process.env
if (!url || !key) throw new Error('set EDGEPULSE_URL and EDGEPULSE_API_KEY')

const client = connect(url, key)
const severity = process.argv[2]
if (severity !== undefined && severity !== 'info' && severity !== 'warning' && severity !== 'critical') {
  throw new Error('expected info, warning or critical')
}
let count = 0
for await (const a of anomalies(client, severity ? { min_severity: severity } : {}, 2)) {
  count++
  console.log(a.ts, a.severity, a.label ?? '', a.device_external_id ?? a.device_id, a.metric_name ?? a.metric_id, a.value, a.explanation ?? '')
}
console.log(`${count} anomalies`)

// What is refused is typed too.
const { error } = await connect(url, 'ep_live_wrong').GET('/v1/devices')
if (!error || new Refused(error).problem.code !== 'unauthorized') throw new Error('a wrong key was not refused')
