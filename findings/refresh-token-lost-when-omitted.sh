#!/usr/bin/env bash
# simple-oauth2 5.1.0 (npm, below @fastify/oauth2): no refresh token in an answer, and it is lost.
#
# RFC 6749 s6: the server "MAY issue a new refresh token"; where it doesn't, the old one stays. The
# library means to keep it, but reads `this.refresh_token` where it has `this.token.refresh_token`.
# So the first such answer is served, and the refresh after it goes out without any refresh token.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --ignore-scripts --no-audit --no-fund simple-oauth2@5.1.0

cat >try.mjs <<'JS'
import { createServer } from 'node:http'
import { AuthorizationCode } from 'simple-oauth2'

const server = createServer(async (request, response) => {
  let body = ''
  for await (const piece of request) body += piece
  console.log('sent:', body)
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify({ access_token: 'access', token_type: 'Bearer', expires_in: 60 }))
})
await new Promise((done) => server.listen(0, '127.0.0.1', done))

const client = new AuthorizationCode({
  client: { id: 'id', secret: 'secret' },
  auth: { tokenHost: `http://127.0.0.1:${server.address().port}`, tokenPath: '/token' }
})
let token = client.createToken({ access_token: 'access', refresh_token: 'first' })
for (let i = 0; i < 2; i++) {
  token = await token.refresh()
  console.log('held:', token.token.refresh_token)
}
server.close()
server.closeAllConnections()
JS

cat >expected <<'TEXT'
sent: grant_type=refresh_token&refresh_token=first
held: undefined
sent: grant_type=refresh_token&refresh_token=
held: undefined
TEXT
node try.mjs | tee seen
diff expected seen
