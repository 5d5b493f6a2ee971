// Dark, light, or as the system has it. The choice stays in this browser.
import { keep, recall } from './stored'

export type Choice = 'system' | 'light' | 'dark'

class Theme {
  choice = $state<Choice>('system')
  dark = $state(false) // what is shown
  #system = matchMedia('(prefers-color-scheme: dark)')

  constructor() {
    const kept = recall('edgepulse.theme')
    if (kept === 'light' || kept === 'dark') this.choice = kept
    this.#system.addEventListener('change', () => this.#apply())
    this.#apply()
  }

  // next goes round: the opposite of what is shown, then back to the system's.
  next(): void {
    this.choice = this.choice === 'system' ? (this.dark ? 'light' : 'dark') : 'system'
    keep('edgepulse.theme', this.choice === 'system' ? undefined : this.choice)
    this.#apply()
  }

  #apply(): void {
    this.dark = this.choice === 'system' ? this.#system.matches : this.choice === 'dark'
    document.documentElement.dataset['theme'] = this.dark ? 'dark' : 'light'
  }
}

export const theme = new Theme()
