// One library of npm that makes proofs of a key (DPoP), driven as its documentation says.
//
// It is started as `node provers.mjs LIBRARY URL ALGORITHM`, hears lines of JSON and says some. Each
// line says what to do: `{"do": "log in"}`, `{"do": "refresh"}`, or `{"do": "get", "path": ...}`. It
// says the tokens, or the status and the content. Where the library fails, it says how.

import { createInterface } from 'node:readline'
import { inspect } from 'node:util'

const [library, base, alg] = process.argv.slice(2)
const login = base + '/login'
const tokenEndpoint = base + '/auth/refresh'
const clientId = 'web'
const password = { username: 'alice', password: 'secret' }

// What the documentation of a library that only makes proofs leaves to its user: to send them, and
// to try again with the nonce of the answer.
const sender = (proof) => {
  let nonce
  const once = async (url, { method = 'GET', token, ...init } = {}) => {
    const headers = { DPoP: await proof(url, method, nonce, token) }
    if (token) headers.Authorization = 'DPoP ' + token
    const answer = await fetch(url, { method, headers, ...init })
    const told = answer.headers.get('dpop-nonce')
    const isNew = told && told !== nonce
    nonce = told ?? nonce
    return { answer, isNew }
  }
  const send = async (url, init) => {
    const first = await once(url, init)
    return first.answer.ok || !first.isNew ? first.answer : (await once(url, init)).answer
  }
  const tokens = async (url, form) => {
    const answer = await send(url, { method: 'POST', body: new URLSearchParams(form) })
    const found = await answer.json()
    if (!answer.ok) throw new Error(found.error)
    return found
  }
  let held
  return {
    async 'log in' () { return (held = await tokens(login, password)) },
    async refresh () {
      const form = { grant_type: 'refresh_token', refresh_token: held.refresh_token }
      return (held = await tokens(tokenEndpoint, form))
    },
    get: (path) => send(base + path, { token: held.access_token })
  }
}

const libraries = {
  async dpop () {
    const { generateKeyPair, generateProof } = await import('dpop')
    const pair = await generateKeyPair(alg, { extractable: false })
    return sender((url, method, nonce, token) => generateProof(pair, url, method, nonce, token))
  },

  async jose () {
    const { SignJWT, generateKeyPair, exportJWK } = await import('jose')
    const { createHash, randomUUID } = await import('node:crypto')
    const { publicKey, privateKey } = await generateKeyPair(alg)
    const jwk = await exportJWK(publicKey)
    return sender((htu, htm, nonce, token) => {
      const ath = token && createHash('sha256').update(token).digest('base64url')
      return new SignJWT({ htu, htm, nonce, ath })
        .setProtectedHeader({ alg, typ: 'dpop+jwt', jwk })
        .setIssuedAt().setJti(randomUUID()).sign(privateKey)
    })
  },

  async oauth4webapi () {
    const oauth = await import('oauth4webapi')
    const insecure = { [oauth.allowInsecureRequests]: true }
    const issuer = new URL(base)
    const server = await oauth.processDiscoveryResponse(
      issuer, await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...insecure }))
    const client = { client_id: clientId }
    const DPoP = oauth.DPoP(client, await oauth.generateKeyPair(alg))
    const options = { DPoP, ...insecure }
    const again = (call) => call().catch((error) => {
      if (oauth.isDPoPNonceError(error)) return call()
      throw error
    })
    let held
    return {
      async 'log in' () {
        const ours = { ...server, token_endpoint: login }
        return (held = await again(async () => oauth.processGenericTokenEndpointResponse(
          ours, client, await oauth.genericTokenEndpointRequest(
            ours, client, oauth.None(), 'password', password, options))))
      },
      async refresh () {
        return (held = await again(async () => oauth.processRefreshTokenResponse(
          server, client, await oauth.refreshTokenGrantRequest(
            server, client, oauth.None(), held.refresh_token, options))))
      },
      get: (path) => again(() => oauth.protectedResourceRequest(
        held.access_token, 'GET', new URL(base + path), undefined, undefined, options))
    }
  },

  async 'openid-client' () {
    const client = await import('openid-client')
    const execute = [client.allowInsecureRequests]
    const config = await client.discovery(
      new URL(base), clientId, undefined, client.None(), { algorithm: 'oauth2', execute })
    const atLogin = new client.Configuration(
      { ...config.serverMetadata(), token_endpoint: login }, clientId, undefined, client.None())
    client.allowInsecureRequests(atLogin)
    const keys = await client.randomDPoPKeyPair(alg)
    const options = { DPoP: client.getDPoPHandle(config, keys) }
    const optionsAtLogin = { DPoP: client.getDPoPHandle(atLogin, keys) }
    let held
    return {
      async 'log in' () {
        return (held = await client.genericGrantRequest(
          atLogin, 'password', password, optionsAtLogin))
      },
      async refresh () {
        return (held = await client.refreshTokenGrant(
          config, held.refresh_token, undefined, options))
      },
      get: (path) => client.fetchProtectedResource(
        config, held.access_token, new URL(base + path), 'GET', undefined, undefined, options)
    }
  },

  async 'oidc-client-ts' () {
    // It is made for browsers, and its keys are of ES256. It has no login without an authorization
    // endpoint: the proof is its own, the request its user's.
    const {
      DPoPState, InMemoryWebStorage, OidcClient, User, UserManager, WebStorageStateStore
    } = await import('oidc-client-ts')
    globalThis.window = globalThis
    const kept = new Map()
    const store = {
      set: async (key, value) => { kept.set(key, value) },
      get: async (key) => kept.get(key),
      remove: async (key) => kept.delete(key),
      getAllKeys: async () => [...kept.keys()]
    }
    const common = {
      authority: base,
      client_id: clientId,
      redirect_uri: base + '/callback',
      scope: '',
      dpop: { store },
      stateStore: new WebStorageStateStore({ store: new InMemoryWebStorage() })
    }
    const metadata = (endpoint) => (
      { issuer: base, token_endpoint: endpoint, authorization_endpoint: base + '/authorize' })
    const atLogin = new OidcClient({ ...common, metadata: metadata(login) })
    const manager = new UserManager({
      ...common,
      metadata: metadata(tokenEndpoint),
      userStore: new WebStorageStateStore({ store: new InMemoryWebStorage() })
    })
    let user
    return {
      async 'log in' () {
        let answer
        for (let nonce, left = 2; left; left--) {
          const headers = { DPoP: await atLogin.getDpopProof(store, nonce) }
          answer = await fetch(login, { method: 'POST', headers })
          nonce = answer.headers.get('dpop-nonce')
          if (answer.ok) break
        }
        user = new User({ ...await answer.json(), profile: { sub: 'alice' } })
        await manager.storeUser(user)
        return user
      },
      async refresh () { return (user = await manager.signinSilent()) },
      async get (path) {
        let answer
        for (let nonce, left = 2; left; left--) {
          const url = base + path
          const headers = {
            Authorization: 'DPoP ' + user.access_token,
            DPoP: await manager.dpopProof(url, user, 'GET', nonce)
          }
          answer = await fetch(url, { headers })
          nonce = answer.headers.get('dpop-nonce')
          if (answer.ok || !nonce) break
        }
        if (!(await store.get(clientId) instanceof DPoPState)) throw new Error('no key is kept')
        return answer
      }
    }
  }
}

let client
for await (const line of createInterface({ input: process.stdin })) {
  let said
  try {
    client ??= await libraries[library]()
    const asked = JSON.parse(line)
    const found = await client[asked.do](asked.path)
    said = asked.do === 'get'
      ? { status: found.status, ...await found.json() }
      : { access_token: found.access_token, refresh_token: found.refresh_token, token_type: found.token_type }
  } catch (error) {
    said = { error: error.constructor.name, says: inspect(error) }
  }
  console.log(JSON.stringify(said))
}
