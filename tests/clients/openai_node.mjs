// The OpenAI SDK for JavaScript through the proxy, with the fetch from examples/clients/javascript.
// NODE_MODULES: the folder where the set-up installed `openai`.

import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { colophonFetch, ColophonError } from '../../examples/clients/javascript/colophon-fetch.mjs'

const { BASE_URL, DIRECT_URL, TRUST, VERIFY, MODEL, NODE_MODULES } = process.env
const modules = NODE_MODULES ?? resolve(import.meta.dirname, '../../target/setup/npm/node_modules')
const { default: OpenAI } = createRequire(join(modules, 'x'))('openai')

const folder = mkdtempSync(join(tmpdir(), 'colophon-clients-'))
process.on('exit', () => rmSync(folder, { recursive: true, force: true }))

const fail = (what) => {
  console.log(`not ok - ${what}`)
  process.exit(1)
}
const ok = (condition, what, why = '') => (condition ? console.log(`ok - ${what}`) : fail(why ? `${what}: ${why}` : what))
setTimeout(() => fail('not finished within 180 s'), 180_000).unref()
process.on('unhandledRejection', (error) => fail(error.stack))

const fetch = colophonFetch()
const client = new OpenAI({ baseURL: `${BASE_URL}/v1`, apiKey: 'none', fetch, timeout: 60_000, maxRetries: 0 })
const direct = new OpenAI({ baseURL: `${DIRECT_URL}/v1`, apiKey: 'none', timeout: 60_000, maxRetries: 0 })
const chat = { model: MODEL, messages: [{ role: 'user', content: 'Once upon a time' }], max_tokens: 24, temperature: 0, seed: 1 }

const plain = async (api) => (await api.chat.completions.create(chat)).choices[0].message.content
const streamed = async (api) => {
  let said = ''
  for await (const chunk of await api.chat.completions.create({ ...chat, stream: true })) said += chunk.choices[0]?.delta.content ?? ''
  return said
}

/** The exchange verifies, and one flipped byte of the saved response is refused. */
async function verified(exchange, what, options = {}) {
  const result = await exchange.verify({ trust: TRUST, program: VERIFY, folder, ...options })
  ok(result.result === 'trusted' && result.binding === 'nonce', `${what}: verified, bound by its nonce`, JSON.stringify(result))
  if (!exchange.complete) return
  const newest = readdirSync(folder).filter((name) => name.endsWith('.receipt.json'))
    .sort((a, b) => statSync(join(folder, a)).mtimeMs - statSync(join(folder, b)).mtimeMs).at(-1)
  const base = join(folder, newest.replace(/\.receipt\.json$/, ''))
  const saved = readFileSync(`${base}.response`)
  const body = exchange.responseBody
  ok(saved.subarray(-body.length).equals(body), `${what}: the saved response ends with what came over the wire`)
  saved[saved.length - ((body.length + 1) >> 1)] ^= 1
  writeFileSync(`${base}.flipped`, saved)
  let exit = 0
  try {
    const args = [`${base}.receipt.json`, '--trust', TRUST, '--request', `${base}.request`, '--response', `${base}.flipped`, '--json']
    execFileSync(VERIFY, args, { timeout: 60_000, stdio: 'pipe' })
  } catch (error) {
    exit = error.status
  }
  ok(exit === 1, `${what}: one flipped byte is refused`, `exit ${exit}`)
}

ok(await plain(client) === await plain(direct), 'chat: the same answer as without the proxy')
await verified(fetch.exchanges.at(-1), 'chat')

ok(await streamed(client) === await streamed(direct), 'streamed chat: the same answer as without the proxy')
await verified(fetch.exchanges.at(-1), 'streamed chat')

const { response } = await client.chat.completions.create(chat).withResponse()
ok(response.colophon === fetch.exchanges.at(-1), 'the raw response leads to its exchange')

const status = (api) => api.chat.completions.create({ ...chat, messages: 'not a list' }).then(() => 200, (error) => error.status)
const refused = await status(client)
ok(refused >= 400 && refused === await status(direct), 'an error status passes', String(refused))
await verified(fetch.exchanges.at(-1), 'an error')

const stream = await client.chat.completions.create({ ...chat, max_tokens: 400, stream: true })
for await (const _ of stream) break // which aborts the request
const left = fetch.exchanges.at(-1)
const why = await left.verify({ trust: TRUST, program: VERIFY, folder }).catch((error) => error)
ok(why instanceof ColophonError && why.message.includes('not read to its end'), 'left mid-stream: not taken for complete', String(why))
await verified(left, 'left mid-stream', { partial: true })
process.exit(0)
