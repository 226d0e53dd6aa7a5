// One person's session with imapflow; prints "all done" at its end. Arguments: port, CA file, user,
// password.
import { readFileSync } from 'node:fs'
import { setTimeout as later } from 'node:timers/promises'
import assert from 'node:assert/strict'
import { ImapFlow } from 'imapflow'

const [port, ca, user, pass] = process.argv.slice(2)
const connect = async (options = {}) => {
  const client = new ImapFlow({
    host: 'localhost', port: Number(port), secure: true, auth: { user, pass }, logger: false,
    tls: { ca: readFileSync(ca) }, ...options,
  })
  await client.connect()
  return client
}
// happens waits for an event, a minute at the most.
const happens = (client, name, ok = () => true) => Promise.race([
  new Promise((resolve) => {
    const look = (event) => {
      if (ok(event)) { client.off(name, look); resolve(event) }
    }
    client.on(name, look)
  }),
  later(60_000, undefined, { ref: false }).then(() => { throw new Error(`no event ${name}`) }),
])

const one = await connect({ qresync: true })
const two = await connect({ disableCompression: true })
// Compressed where the server can, and then in truth: the client says so itself.
if (one.capabilities.has('COMPRESS=DEFLATE')) {
  assert.equal(one._socket?.compress ?? true, true)
  assert.ok(one._inflate, 'the client does not compress')
  console.log('compressed')
}

// The second stays in IDLE, and hears of all that the first does.
const watched = await two.mailboxOpen('INBOX')
assert.equal(watched.exists, 0)
two.idle().catch(() => {})

const came = happens(two, 'exists', (e) => e.count === 1)
const text = 'Subject: =?utf-8?Q?Ch=C3=A0o?=\r\nFrom: an@outside.test\r\nMessage-ID: <1@flow>\r\n\r\nxin chào '
  + 'x'.repeat(100_000) + '\r\n'
const put = await one.append('INBOX', text, ['\\Seen', '$Label1'], new Date('2026-03-01T08:00:00Z'))
assert.ok(put.uid > 0 && put.uidValidity > 0n)
await came

await one.mailboxOpen('INBOX')
const flagged = happens(two, 'flags', (e) => e.flags.has('\\Flagged'))
assert.equal(await one.messageFlagsAdd({ uid: put.uid }, ['\\Flagged'], { uid: true }), true)
await flagged

const m = await one.fetchOne(String(put.uid), {
  uid: true, flags: true, envelope: true, bodyStructure: true, internalDate: true, size: true, source: true,
  threadId: true, labels: false,
}, { uid: true })
assert.equal(m.source.toString(), text)
assert.equal(m.envelope.subject, 'Chào')
assert.equal(m.size, Buffer.byteLength(text))
assert.ok(m.flags.has('$Label1') && m.modseq > 0n && m.emailId, 'flags, mod-sequence, EMAILID')
assert.deepEqual(await one.search({ body: 'xin chào', seen: true }, { uid: true }), [put.uid])

const { path } = await one.mailboxCreate(['Công việc', 'Năm nay'])
const gone = happens(two, 'expunge', (e) => e.seq === 1)
const moved = await one.messageMove(String(put.uid), path, { uid: true })
assert.equal(moved.uidMap.size, 1)
await gone
await one.mailboxRename(path, ['Công việc', 'Năm sau'])
const status = await one.status(['Công việc', 'Năm sau'].join('/'), { messages: true, uidNext: true, highestModseq: true })
assert.equal(status.messages, 1)
const list = await one.list({ statusQuery: { messages: true, unseen: true } })
assert.ok(list.some((b) => b.specialUse === '\\Sent') && list.some((b) => b.path === 'Công việc/Năm sau'))
const quota = await one.getQuota('INBOX')
assert.ok(quota === false || quota.path === 'INBOX')
await one.mailboxDelete('Công việc/Năm sau')
await one.logout()
await two.logout()
console.log('all done')
