// A client of the API whose every path, parameter, body and answer is checked by
// the compiler: the types are generated from schemas/openapi.yaml.

import createClient, { type Client } from 'openapi-fetch'
import type { components, paths } from './schema.js'

export type Score = components['schemas']['Score']
export type Problem = components['schemas']['Problem']

export function connect(baseUrl: string, apiKey: string): Client<paths> {
  return createClient<paths>({ baseUrl, headers: { 'X-API-Key': apiKey } })
}

/** Refused is an answer that is not a success. */
export class Refused extends Error {
  constructor(readonly problem: Problem) {
    super(`${problem.status} ${problem.code}: ${problem.detail ?? problem.title} (request ${problem.request_id})`)
  }
}

/** anomalies yields all of them, the newest first, page by page. */
export async function* anomalies(
  client: Client<paths>,
  filter: { min_severity?: components['schemas']['Severity']; metric_id?: string } = {},
  limit = 100,
): AsyncGenerator<Score> {
  let cursor: string | undefined
  do {
    const { data, error } = await client.GET('/v1/anomalies', { params: { query: { ...filter, limit, ...(cursor ? { cursor } : {}) } } })
    if (error) throw new Refused(error)
    yield* data.data
    cursor = data.next_cursor
  } while (cursor)
}
