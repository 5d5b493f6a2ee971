// What this browser keeps between visits: choices, never data or secrets. One that
// keeps nothing answers undefined, and everything still works.

export type Key = 'edgepulse.theme' | 'edgepulse.signed-in'

export function recall(key: Key): string | null | undefined {
  try {
    return localStorage.getItem(key)
  } catch {
    return undefined
  }
}

export function keep(key: Key, value: string | undefined): void {
  try {
    if (value === undefined) localStorage.removeItem(key)
    else localStorage.setItem(key, value)
  } catch {
    // It lasts as long as the page.
  }
}
