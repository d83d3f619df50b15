#!/usr/bin/env bash
# google-auth-library 11.3.4 (npm): a rotated refresh token is announced, and never used.
#
# RFC 6749 s6: the server "MAY issue a new refresh token, in which case the client MUST discard the
# old refresh token and replace it with the new refresh token". The library emits the new one as a
# `tokens` event, puts the old one back into what it holds, and goes on sending the old one. A server
# that rotates sees one token for as long as the process lives.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --ignore-scripts --no-audit --no-fund google-auth-library@11.3.4

cat >try.mjs <<'JS'
import { createServer } from 'node:http'
import { OAuth2Client } from 'google-auth-library'

let count = 0
const server = createServer(async (request, response) => {
  let body = ''
  for await (const piece of request) body += piece
  console.log('sent:     ', new URLSearchParams(body).get('refresh_token'))
  count += 1
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify({
    access_token: `access-${count}`, token_type: 'Bearer', expires_in: 60, refresh_token: `rotated-${count}`
  }))
})
await new Promise((done) => server.listen(0, '127.0.0.1', done))

const client = new OAuth2Client({
  clientId: 'id',
  clientSecret: 'secret',
  endpoints: { oauth2TokenUrl: `http://127.0.0.1:${server.address().port}/token` }
})
client.on('tokens', (tokens) => console.log('announced:', tokens.refresh_token))
client.setCredentials({ refresh_token: 'first' })
for (let i = 0; i < 3; i++) {
  // It refreshes what ends in less than five minutes.
  await client.getAccessToken()
  console.log('held:     ', client.credentials.access_token, client.credentials.refresh_token)
}
server.close()
server.closeAllConnections()
JS

cat >expected <<'TEXT'
sent:      first
announced: rotated-1
held:      access-1 first
sent:      first
announced: rotated-2
held:      access-2 first
sent:      first
announced: rotated-3
held:      access-3 first
TEXT
node try.mjs | tee seen
diff expected seen
