// Who is signed in. The key itself is sent once and kept nowhere: the cookie that
// comes back can't be read by scripts.

import { Problem, del, get, onSignedOut, post } from './api'
import { problemFrom } from './resource.svelte'
import type { Session } from './shapes'
import { keep, recall } from './stored'

class Account {
  session = $state.raw<Session | undefined>(undefined)
  asked = $state(false) // whether the server has been asked at all
  problem = $state.raw<Problem | undefined>(undefined)
  ended = $state(false) // it was there, and is no more

  constructor() {
    onSignedOut(() => {
      this.ended = this.session !== undefined
      this.session = undefined
      keep('edgepulse.signed-in', undefined)
    })
  }

  // resume asks for the session of an earlier visit. Scripts can't see the cookie;
  // a note of the sign-in spares asking where there is none.
  async resume(): Promise<void> {
    if (recall('edgepulse.signed-in') === null) {
      this.asked = true
      return
    }
    try {
      this.session = await get<Session>('/v1/session')
      this.problem = undefined
    } catch (e) {
      const p = problemFrom(e)
      if (p.status === 401) keep('edgepulse.signed-in', undefined)
      this.problem = p.status === 401 ? undefined : p
    } finally {
      this.asked = true
    }
  }

  async signIn(key: string): Promise<void> {
    this.session = await post<Session>('/v1/session', { api_key: key })
    keep('edgepulse.signed-in', 'yes')
    this.ended = false
    this.problem = undefined
  }

  async signOut(): Promise<void> {
    await del('/v1/session')
    keep('edgepulse.signed-in', undefined)
    this.ended = false
    this.session = undefined
  }

  can(scope: string): boolean {
    return this.session?.scopes.includes(scope) ?? false
  }
}

export const account = new Account()
