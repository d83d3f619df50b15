#!/usr/bin/env bash
# @hapi/jwt 3.2.4 (npm): takes EC and Ed25519 keys, but not from a key set; and RSA with `use` only.
#
# Its documentation has "Public and RSA algorithms using JWKS", and counts ES256 and EdDSA among the
# public ones. A PEM of such a key works. From a JWK Set it takes what has `kty` RSA, `use` sig and a
# `kid`; the rest is left out without a word, even if `algorithms` names it. RFC 7517 s4.2 has `use`
# as optional: where no key bears it, or all are EC, the server doesn't start.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --ignore-scripts --no-audit --no-fund \
    @hapi/jwt@3.2.4 @hapi/hapi@21.4.9 jose@6.2.18

cat >try.mjs <<'JS'
import { generateKeyPairSync } from 'node:crypto'
import { createServer } from 'node:http'
import Hapi from '@hapi/hapi'
import Jwt from '@hapi/jwt'
import { SignJWT } from 'jose'

const pairs = {
  RS256: generateKeyPairSync('rsa', { modulusLength: 2048 }),
  ES256: generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  EdDSA: generateKeyPairSync('ed25519')
}
const algorithms = Object.keys(pairs)
const pem = (alg) => pairs[alg].publicKey.export({ type: 'spki', format: 'pem' })
const jwk = (alg) => ({ ...pairs[alg].publicKey.export({ format: 'jwk' }), alg, kid: alg, use: 'sig' })

let set
const site = createServer((request, response) => {
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify({ keys: set }))
})
await new Promise((done) => site.listen(0, '127.0.0.1', done))
const uri = `http://127.0.0.1:${site.address().port}/`

async function show (name, keys) {
  console.log(name)
  const server = Hapi.server()
  await server.register(Jwt)
  const verify = { aud: false, iss: 'issuer', sub: false }
  server.auth.strategy('token', 'jwt', { keys, verify, validate: false })
  server.route({ method: 'GET', path: '/', options: { auth: 'token' }, handler: () => 'hello' })
  try {
    await server.initialize()
  } catch (error) {
    console.log('  does not start:', error.message)
    return
  }
  for (const alg of algorithms) {
    const token = await new SignJWT({ iss: 'issuer' })
      .setProtectedHeader({ alg, kid: alg }).setIssuedAt().setExpirationTime('1m')
      .sign(pairs[alg].privateKey)
    const headers = { authorization: `Bearer ${token}` }
    console.log(`  ${alg}:`, (await server.inject({ url: '/', headers })).statusCode)
  }
  await server.stop()
}

await show('three PEM', algorithms.map((alg) => ({ key: pem(alg), kid: alg, algorithms: [alg] })))
set = algorithms.map(jwk)
await show('the same as a key set', { uri })
await show('... and all three named as `algorithms`', { uri, algorithms })
set = [jwk('ES256')]
await show('a key set of one EC key', { uri })
set = algorithms.map((alg) => ({ ...jwk(alg), use: undefined }))
await show('a key set without `use`', { uri })
site.close()
site.closeAllConnections()
JS

cat >expected <<'TEXT'
three PEM
  RS256: 200
  ES256: 200
  EdDSA: 200
the same as a key set
  RS256: 200
  ES256: 401
  EdDSA: 401
... and all three named as `algorithms`
  RS256: 200
  ES256: 401
  EdDSA: 401
a key set of one EC key
  does not start: JWKS endpoint response contained no valid keys
a key set without `use`
  does not start: JWKS endpoint response contained no valid keys
TEXT
node try.mjs | tee seen
diff expected seen
