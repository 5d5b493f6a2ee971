// Addresses are the state that matters: every page, range and filter has one, and
// the back button goes back. Links are plain anchors, so that a middle click and a
// shared address work.

export interface Place {
  path: string
  query: URLSearchParams
}

function read(): Place {
  return { path: location.pathname.replace(/(.)\/+$/, '$1'), query: new URLSearchParams(location.search) }
}

class Router {
  place = $state.raw<Place>(read())

  constructor() {
    addEventListener('popstate', () => (this.place = read()))
    document.addEventListener('click', (e) => {
      const a = e.target instanceof Element ? e.target.closest('a') : null
      if (!a || e.defaultPrevented || e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return
      if (a.target || a.origin !== location.origin || a.hasAttribute('download') || a.pathname.startsWith('/v1/')) return
      e.preventDefault()
      this.go(a.pathname + a.search)
    })
  }

  go(to: string, how: 'push' | 'replace' = 'push'): void {
    if (to === location.pathname + location.search) how = 'replace'
    const leaving = new URL(to, location.href).pathname !== location.pathname
    history[how === 'push' ? 'pushState' : 'replaceState'](null, '', to)
    this.place = read()
    if (leaving) scrollTo(0, 0)
  }

  // set changes parts of the query and stays on the page; undefined removes.
  set(changes: Record<string, string | undefined>, how: 'push' | 'replace' = 'replace'): void {
    const q = new URLSearchParams(this.place.query)
    for (const [k, v] of Object.entries(changes)) {
      if (v) q.set(k, v)
      else q.delete(k)
    }
    const s = q.toString()
    this.go(s ? `${this.place.path}?${s}` : this.place.path, how)
  }

  query(name: string): string {
    return this.place.query.get(name) ?? ''
  }
}

export const router = new Router()

// match answers the variable part of a path: match('/alerts/:id', path) -> ['…'].
export function match(pattern: string, path: string): string[] | undefined {
  const want = pattern.split('/')
  const have = path.split('/')
  if (want.length !== have.length) return undefined
  const out: string[] = []
  for (const [i, part] of want.entries()) {
    if (part.startsWith(':')) out.push(decodeURIComponent(have[i]!))
    else if (part !== have[i]) return undefined
  }
  return out
}
