import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig } from 'vite'

// In development everything but the interface comes from a running service.
const service = process.env['EDGEPULSE_URL'] ?? 'http://127.0.0.1:8787'

export default defineConfig({
  plugins: [svelte()],
  build: {
    target: ['es2023', 'chrome123', 'firefox121', 'safari17.5'],
    assetsInlineLimit: 0, // the content security policy knows files only
    modulePreload: { polyfill: false },
    reportCompressedSize: false, // size.mjs measures, and fails
  },
  // The service compares Origin with Host before it believes a cookie.
  server: { proxy: { '/v1': { target: service, changeOrigin: false } } },
})
