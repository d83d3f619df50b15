#!/usr/bin/env bash
# oidc-provider 9.13.3 (npm): with encryption enabled, its signing keys lose `use` and `alg`.
#
# It fills in what a key of `jwks` doesn't say: `use` if the key can only sign, `alg` if it can do
# one thing only. So by default an EC key is published with both, an RSA key (six algorithms) and an
# Ed25519 key (two names, by RFC 9864) with `use` alone. `features.encryption` lets RSA and EC keys
# decrypt, too: the same keys are then published without either. OpenID Connect Discovery s3 requires
# `use` of every key in a set for both; a reader that goes by `use` is left with the Ed25519 key. `use`
# in the configuration keeps it as it was.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm init --yes >/dev/null
npm install --silent --ignore-scripts --no-audit --no-fund oidc-provider@9.13.3

cat >try.mjs <<'JS'
import { generateKeyPairSync } from 'node:crypto'
import Provider from 'oidc-provider'

const pairs = [
  generateKeyPairSync('rsa', { modulusLength: 2048 }),
  generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  generateKeyPairSync('ed25519')
]
const keys = pairs.map(({ privateKey }) => privateKey.export({ format: 'jwk' }))

async function show (name, keys, enabled) {
  console.log(name)
  const features = { encryption: { enabled }, devInteractions: { enabled: false } }
  const server = new Provider('http://127.0.0.1', { jwks: { keys }, features }).listen(0, '127.0.0.1')
  await new Promise((done) => server.once('listening', done))
  const set = await (await fetch(`http://127.0.0.1:${server.address().port}/jwks`)).json()
  for (const { kty, use, alg } of set.keys) console.log(`  ${kty}: use ${use}, alg ${alg}`)
  server.close()
  server.closeAllConnections()
}

await show('default', keys, false)
await show('features.encryption', keys, true)
await show('features.encryption, `use` configured', keys.map((key) => ({ ...key, use: 'sig' })), true)
JS

cat >expected <<'TEXT'
default
  RSA: use sig, alg undefined
  EC: use sig, alg ES256
  OKP: use sig, alg undefined
features.encryption
  RSA: use undefined, alg undefined
  EC: use undefined, alg undefined
  OKP: use sig, alg undefined
features.encryption, `use` configured
  RSA: use sig, alg undefined
  EC: use sig, alg ES256
  OKP: use sig, alg undefined
TEXT
node try.mjs 2>&1 | grep -v WARNING | tee seen
diff expected seen
