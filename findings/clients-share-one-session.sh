#!/usr/bin/env bash
# PGlite 0.5.14, pglite-socket 0.2.17 (npm): clients share one session, and are told the same number.
#
# PGlite is PostgreSQL in one process; its server takes several clients with `maxConnections`, and
# its README says that this is "different from a normal Postgres installation". How: a SET of one
# client holds for the other, both get the same advisory lock, and BackendKeyData names the same
# process and secret to both, as does pg_backend_pid(). So what tells a pooler from a server, that
# the two numbers differ, doesn't tell this. And clock_timestamp() has whole milliseconds only.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --ignore-scripts --no-audit --no-fund \
    @electric-sql/pglite@0.5.14 @electric-sql/pglite-socket@0.2.17 pg@8.23.1

cat >try.mjs <<'JS'
import { PGlite } from '@electric-sql/pglite'
import { PGLiteSocketServer } from '@electric-sql/pglite-socket'
import pg from 'pg'

const server = new PGLiteSocketServer({
  db: await PGlite.create(), host: '127.0.0.1', port: 0, maxConnections: 2
})
await server.start()
const port = Number(server.getServerConn().split(':')[1])
const connect = async () => {
  const client = new pg.Client({ host: '127.0.0.1', port, user: 'postgres', database: 'postgres' })
  await client.connect()
  return client
}
const ask = async (client, sql) => Object.values((await client.query(sql)).rows[0])[0]
const alice = await connect()
const bob = await connect()

console.log((await ask(alice, 'SELECT version()')).split(' on ')[0])
console.log('same in BackendKeyData:', alice.processID === bob.processID, alice.secretKey === bob.secretKey)
for (const client of [alice, bob]) {
  console.log('pg_backend_pid() is that of BackendKeyData:',
    await ask(client, 'SELECT pg_backend_pid()') === client.processID)
}
await alice.query("SET statement_timeout = '7s'")
console.log('SET by one, SHOW by the other:', await ask(bob, 'SHOW statement_timeout'))
for (const client of [alice, bob]) {
  console.log('advisory lock:', await ask(client, 'SELECT pg_try_advisory_lock(1)'))
}
let finer = 0
for (let i = 0; i < 1000; i++) {
  finer += await ask(alice, 'SELECT (extract(microseconds FROM clock_timestamp()) % 1000 <> 0)::int')
}
console.log('clock_timestamp() finer than 1 ms:', finer, 'of 1000')
process.exit()
JS

cat >expected <<'TEXT'
PostgreSQL 18.6 (PGlite 0.5.14)
same in BackendKeyData: true true
pg_backend_pid() is that of BackendKeyData: true
pg_backend_pid() is that of BackendKeyData: true
SET by one, SHOW by the other: 7s
advisory lock: true
advisory lock: true
clock_timestamp() finer than 1 ms: 0 of 1000
TEXT
node try.mjs | tee seen
diff expected seen
