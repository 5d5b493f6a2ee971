// Dark, light, or as the system has it. The choice stays in this browser.
export type Choice = 'system' | 'light' | 'dark'

const stored = 'edgepulse.theme'

class Theme {
  choice = $state<Choice>('system')
  dark = $state(false) // what is shown
  #system = matchMedia('(prefers-color-scheme: dark)')

  constructor() {
    const kept = read()
    if (kept === 'light' || kept === 'dark') this.choice = kept
    this.#system.addEventListener('change', () => this.#apply())
    this.#apply()
  }

  // next goes round: the opposite of what is shown, then back to the system's.
  next(): void {
    this.choice = this.choice === 'system' ? (this.dark ? 'light' : 'dark') : 'system'
    try {
      if (this.choice === 'system') localStorage.removeItem(stored)
      else localStorage.setItem(stored, this.choice)
    } catch {
      // A browser that keeps nothing: the choice lasts as long as the page.
    }
    this.#apply()
  }

  #apply(): void {
    this.dark = this.choice === 'system' ? this.#system.matches : this.choice === 'dark'
    document.documentElement.dataset['theme'] = this.dark ? 'dark' : 'light'
  }
}

function read(): string | null {
  try {
    return localStorage.getItem(stored)
  } catch {
    return null
  }
}

export const theme = new Theme()
