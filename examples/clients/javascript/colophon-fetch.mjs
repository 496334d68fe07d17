// A `fetch` that keeps each exchange exactly as it crossed the wire and verifies its Colophon receipt. Node 20 or later.
//
//   const fetch = colophonFetch()
//   const client = new OpenAI({ baseURL: 'http://127.0.0.1:4180/v1', fetch })
//   await client.chat.completions.create({ … })
//   console.log(await fetch.exchanges.at(-1).verify({ trust: 'trust.json' }))

import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** The exchange could not be checked: nothing is known about it, good or bad. */
export class ColophonError extends Error {}

/** `colophon-verify` did not trust the exchange: `exit` is 1 (bad) or 3 (consistent, not trusted), `result` its JSON. */
export class NotVerified extends ColophonError {
  constructor(exit, result) {
    const word = exit === 1 ? 'the receipt does not stand for this exchange' : 'consistent, but not trusted'
    super(`${word}: ${JSON.stringify(result)}`)
    Object.assign(this, { exit, result })
  }
}

/** One request and its response: bodies de-chunked, as the receipt's digests cover them. */
export class Exchange {
  #pieces = []
  /** True once the answer was read to its end. */
  complete = false

  constructor(url, requestBody, nonce) {
    Object.assign(this, { url, requestBody, nonce })
  }

  keep(piece) {
    this.#pieces.push(piece)
  }

  get responseBody() {
    return Buffer.concat(this.#pieces)
  }

  /** Head and body as `curl -i` saves them, so that the signature in the head can be checked too. */
  get savedResponse() {
    const lines = [...this.response.headers].filter(([name]) => name !== 'set-cookie').map(([name, value]) => `${name}: ${value}\r\n`)
    const head = `HTTP/1.1 ${this.response.status}\r\n${lines.join('')}\r\n`
    return Buffer.concat([Buffer.from(head, 'latin1'), ...this.#pieces])
  }

  /** Where the receipt will be; always on the server that answered. */
  get receiptUrl() {
    const field = this.response.headers.get('colophon-receipt') ?? ''
    const path = /^"(\/(?!\/)[!#-[\]-~]*)"$/.exec(field)?.[1]
    if (!path) throw new ColophonError(`no usable Colophon-Receipt header (${JSON.stringify(field)}): no Colophon on the way, or its policy says pass`)
    return new URL(path, this.url)
  }

  /** The receipt's bytes. It exists once its batch is logged: asks again, as told by Retry-After, for `wait` seconds. */
  async fetchReceipt({ wait = 60, fetch = globalThis.fetch } = {}) {
    for (const deadline = Date.now() + wait * 1000; ;) {
      const answer = await fetch(this.receiptUrl, { signal: AbortSignal.timeout(10_000) })
      const body = Buffer.from(await answer.arrayBuffer())
      if (answer.status === 200) return body
      if (answer.status !== 202) throw new ColophonError(`receipt: HTTP ${answer.status}: ${body.toString().slice(0, 200)}`)
      const pause = 1000 * Math.min(Math.max(Number(answer.headers.get('retry-after') ?? 1) || 1, 0.1), 10)
      if (Date.now() + pause > deadline) throw new ColophonError(`the receipt was not logged within ${wait} s`)
      await sleep(pause)
    }
  }

  /**
   * Fetches the receipt, keeps it with request body and response in `folder`, and returns what `colophon-verify` says. Throws
   * `NotVerified` unless it trusts the exchange. A stream left early is refused, or with `partial` checked without its
   * response body.
   */
  async verify({ trust, folder = 'colophon-exchanges', partial = false, program, ...fetching }) {
    if (!this.complete && !partial) throw new ColophonError('the response was not read to its end: read it all, or give partial: true to leave it unchecked')
    if (this.response.headers.has('content-encoding')) throw new ColophonError('the response is content-encoded and fetch undoes that: its exact bytes are not known here')
    const receipt = await this.fetchReceipt(fetching)
    const base = join(folder, /[0-9A-Za-z-]*$/.exec(this.receiptUrl.pathname)[0])
    await mkdir(folder, { recursive: true })
    const files = { request: this.requestBody, response: this.savedResponse, 'receipt.json': receipt }
    for (const [name, content] of Object.entries(files)) await writeFile(`${base}.${name}`, content)
    program ??= process.env.COLOPHON_VERIFY ?? 'colophon-verify'
    const args = [`${base}.receipt.json`, '--trust', trust, '--json', '--request', `${base}.request`]
    if (this.complete) args.push('--response', `${base}.response`)
    if (this.nonce) args.push('--nonce', this.nonce)
    const [error, stdout, stderr] = await new Promise((done) => execFile(program, args, { timeout: 60_000 }, (...all) => done(all)))
    const exit = error ? error.code : 0
    if (![0, 1, 3].includes(exit)) throw new ColophonError(`${program}: ${stderr.trim() || error.message}`)
    let result
    try {
      result = JSON.parse(stdout)
    } catch {
      throw new ColophonError(`${program}: exit ${exit} and no JSON: ${stderr.trim()}`)
    }
    if (exit !== 0) throw new NotVerified(exit, result)
    return result
  }
}

/** Wraps `fetch`; the newest `keep` exchanges are in its `exchanges`, each also as `colophon` on its response. */
export function colophonFetch({ fetch = globalThis.fetch, keep = 16, nonce = true } = {}) {
  const exchanges = []
  const wrapped = async (input, init = {}) => {
    const request = new Request(input, init) // body and headers as the platform would send them
    const { method, headers, redirect } = request
    const body = new Uint8Array(await request.arrayBuffer())
    // fetch undoes Content-Encoding before anyone can see the bytes: ask for none.
    if (!headers.has('accept-encoding')) headers.set('accept-encoding', 'identity')
    // Is in the record: ties the answer to this very request.
    if (nonce && !headers.has('colophon-client-nonce')) headers.set('colophon-client-nonce', randomBytes(16).toString('hex'))
    const sent = { redirect, signal: request.signal, ...init, method, headers, body: body.length ? body : undefined }
    const answer = await fetch(request.url, sent)
    const exchange = new Exchange(answer.url || request.url, body, headers.get('colophon-client-nonce'))
    const onward = answer.body?.pipeThrough(new TransformStream({
      transform(piece, next) { exchange.keep(piece); next.enqueue(piece) },
      flush() { exchange.complete = true },
    }))
    exchange.complete = !onward
    const response = onward ? new Response(onward, answer) : answer
    if (onward) Object.defineProperty(response, 'url', { value: answer.url })
    exchange.response = Object.assign(response, { colophon: exchange })
    exchanges.push(exchange)
    if (exchanges.length > keep) exchanges.shift()
    return response
  }
  return Object.assign(wrapped, { exchanges })
}
