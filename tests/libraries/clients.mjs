// One client library of npm, driven as its documentation says.
//
// It is started as `node clients.mjs LIBRARY URL`, hears lines of JSON and says some. First it hears
// the tokens of a login; after that, each line makes it refresh. It says what the library, or the
// user of one that keeps nothing, then holds: the tokens exactly as the answer named them. Where the
// library fails, it says how.

import { createInterface } from 'node:readline'
import { inspect } from 'node:util'

const [library, base] = process.argv.slice(2)
const tokenPath = '/auth/refresh'
const tokenEndpoint = base + tokenPath
const clientId = 'web'
const options = { client: { id: clientId, secret: '' }, auth: { tokenHost: base, tokenPath } }

// Whoever doesn't need the setting that the page names is no reason to name it.
const fails = async (call) => {
  let found
  try {
    found = await call()
  } catch {
    return
  }
  throw new Error('it works without the setting: ' + inspect(found))
}

// Each takes the tokens of the login, and returns a function that refreshes once.
const libraries = {
  async 'openid-client' (held) {
    const client = await import('openid-client')
    const discovered = (place, options) => client.discovery(
      new URL(place), clientId, undefined, client.None(),
      { ...options, execute: [client.allowInsecureRequests] })
    await fails(() => discovered(base))
    // Two ways to the same; each serves one refresh in two.
    const configs = [
      await discovered(base, { algorithm: 'oauth2' }),
      await discovered(base + '/.well-known/oauth-authorization-server')
    ]
    return async () => {
      configs.reverse()
      held = await client.refreshTokenGrant(configs[0], held.refresh_token)
      return held
    }
  },

  async oauth4webapi (held) {
    const oauth = await import('oauth4webapi')
    const insecure = { [oauth.allowInsecureRequests]: true }
    const issuer = new URL(base)
    const discovered = async (options) => oauth.processDiscoveryResponse(
      issuer, await oauth.discoveryRequest(issuer, { ...options, ...insecure }))
    await fails(discovered)
    const server = await discovered({ algorithm: 'oauth2' })
    const client = { client_id: clientId }
    return async () => {
      const answer = await oauth.refreshTokenGrantRequest(
        server, client, oauth.None(), held.refresh_token, insecure)
      held = await oauth.processRefreshTokenResponse(server, client, answer)
      return held
    }
  },

  async 'simple-oauth2' (held) {
    const { AuthorizationCode } = (await import('simple-oauth2')).default
    let token = new AuthorizationCode(options).createToken(held)
    return async () => {
      token = await token.refresh()
      return token.token
    }
  },

  async '@fastify/oauth2' (held) {
    const fastify = (await import('fastify')).default()
    fastify.register((await import('@fastify/oauth2')).default, {
      name: 'ours',
      credentials: {
        client: options.client,
        auth: { ...options.auth, authorizeHost: base, authorizePath: '/login' }
      },
      callbackUri: base + '/callback'
    })
    await fastify.ready()
    return async () => {
      held = (await fastify.ours.getNewAccessTokenUsingRefreshToken(held, {})).token
      return held
    }
  },

  async 'keycloak-js' (held) {
    // It is made for browsers, and for Node 22, which has withResolvers.
    globalThis.window = globalThis
    globalThis.location = new URL(base)
    globalThis.isSecureContext = true
    globalThis.document = { cookie: '', getElementsByTagName: () => [] }
    Promise.withResolvers ??= function () {
      const made = {}
      made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }))
      return made
    }
    const Keycloak = (await import('keycloak-js')).default
    const keycloak = new Keycloak({
      clientId,
      oidcProvider: { token_endpoint: tokenEndpoint, authorization_endpoint: base + '/login' }
    })
    await keycloak.init({
      token: held.access_token, refreshToken: held.refresh_token, checkLoginIframe: false
    })
    return async () => {
      await keycloak.updateToken(-1)
      return { access_token: keycloak.token, refresh_token: keycloak.refreshToken }
    }
  },

  async 'passport-oauth2-refresh' (held) {
    const { Strategy } = (await import('passport-oauth2')).default
    const refresh = (await import('passport-oauth2-refresh')).default
    const strategy = new Strategy({
      authorizationURL: base + '/login',
      tokenURL: tokenEndpoint,
      clientID: clientId,
      clientSecret: '',
      callbackURL: base + '/callback'
    }, () => {})
    refresh.use('ours', strategy)
    return () => new Promise((resolve, reject) => {
      refresh.requestNewAccessToken('ours', held.refresh_token, (error, accessToken, refreshToken) => {
        if (error) return reject(error)
        held = { access_token: accessToken, refresh_token: refreshToken }
        resolve(held)
      })
    })
  },

  async arctic (held) {
    const { OAuth2Client } = await import('arctic')
    const client = new OAuth2Client(clientId, null, null)
    return async () => {
      const tokens = await client.refreshAccessToken(tokenEndpoint, held.refresh_token, [])
      held = { access_token: tokens.accessToken(), refresh_token: tokens.refreshToken() }
      return held
    }
  },

  async '@badgateway/oauth2-client' (held) {
    const { OAuth2Client } = await import('@badgateway/oauth2-client')
    // It finds the endpoint by our metadata, whose path it is not told.
    const client = new OAuth2Client({ server: base, clientId })
    let token = { accessToken: held.access_token, refreshToken: held.refresh_token, expiresAt: null }
    return async () => {
      token = await client.refreshToken(token)
      return { access_token: token.accessToken, refresh_token: token.refreshToken }
    }
  },

  async 'client-oauth2' (held) {
    const ClientOAuth2 = (await import('client-oauth2')).default
    const client = new ClientOAuth2({ clientId, clientSecret: '', accessTokenUri: tokenEndpoint })
    let token = client.createToken(held)
    return async () => {
      token = await token.refresh()
      return { access_token: token.accessToken, refresh_token: token.refreshToken }
    }
  },

  async 'google-auth-library' (held) {
    const { OAuth2Client } = await import('google-auth-library')
    const client = new OAuth2Client({
      clientId, clientSecret: '', endpoints: { oauth2TokenUrl: tokenEndpoint }
    })
    client.setCredentials({ refresh_token: held.refresh_token })
    return async () => {
      await client.refreshAccessToken()
      return client.credentials
    }
  },

  async '@bity/oauth2-auth-code-pkce' (held) {
    // It is made for browsers.
    const kept = new Map()
    globalThis.localStorage = {
      getItem: (name) => kept.get(name) ?? null, setItem: (name, value) => kept.set(name, value)
    }
    globalThis.location = new URL(base)
    const { OAuth2AuthCodePKCE } = (await import('@bity/oauth2-auth-code-pkce')).default
    localStorage.setItem('oauth2authcodepkce-state', JSON.stringify({
      accessToken: { value: held.access_token, expiry: new Date().toString() },
      refreshToken: { value: held.refresh_token }
    }))
    const client = new OAuth2AuthCodePKCE({
      clientId,
      authorizationUrl: base + '/login',
      tokenUrl: tokenEndpoint,
      redirectUrl: base + '/callback',
      scopes: ['read'],
      onAccessTokenExpiry: (refresh) => refresh(),
      onInvalidGrant () {}
    })
    return async () => {
      await client.exchangeRefreshTokenForAccessToken()
      const { accessToken, refreshToken } = JSON.parse(localStorage.getItem('oauth2authcodepkce-state'))
      return { access_token: accessToken.value, refresh_token: refreshToken.value }
    }
  },

  async '@modelcontextprotocol/sdk' (held) {
    const { discoverAuthorizationServerMetadata, refreshAuthorization } =
      await import('@modelcontextprotocol/sdk/client/auth.js')
    // It refuses our document, which has no authorization endpoint.
    await fails(() => discoverAuthorizationServerMetadata(base))
    const found = await fetch(base + '/.well-known/oauth-authorization-server')
    const metadata = { ...await found.json(), authorization_endpoint: base + '/login' }
    return async () => {
      held = await refreshAuthorization(base, {
        metadata, clientInformation: { client_id: clientId }, refreshToken: held.refresh_token
      })
      return held
    }
  },

  async 'oidc-client-ts' (held) {
    const {
      UserManager, User, WebStorageStateStore, InMemoryWebStorage, MetadataService, OidcClientSettingsStore
    } = await import('oidc-client-ts')
    const settings = { authority: base, client_id: clientId, redirect_uri: base + '/callback', scope: 'read' }
    await fails(() => new MetadataService(new OidcClientSettingsStore(settings)).getTokenEndpoint())
    const manager = new UserManager({
      ...settings,
      metadata: { issuer: base, token_endpoint: tokenEndpoint, authorization_endpoint: base + '/login' },
      userStore: new WebStorageStateStore({ store: new InMemoryWebStorage() }),
      stateStore: new WebStorageStateStore({ store: new InMemoryWebStorage() })
    })
    await manager.storeUser(new User({ ...held, profile: { sub: 'alice' } }))
    return () => manager.signinSilent()
  },

  async 'axios-auth-refresh' (held) {
    const axios = (await import('axios')).default
    const { createAuthRefresh } = await import('axios-auth-refresh')
    createAuthRefresh(axios, async (failed) => {
      const sent = { grant_type: 'refresh_token', refresh_token: held.refresh_token }
      held = (await axios.post(tokenEndpoint, sent)).data
      failed.response.config.headers.Authorization = 'Bearer ' + held.access_token
    })
    return async () => {
      // It refreshes when the answer is 401: an access token that is none is a quick way there.
      await axios.get(base, { headers: { Authorization: 'Bearer ended' } })
      return held
    }
  }
}

let refresh
for await (const line of createInterface({ input: process.stdin })) {
  let said
  try {
    const held = refresh ? await refresh() : JSON.parse(line)
    refresh ??= await libraries[library](held)
    said = { access_token: held.access_token, refresh_token: held.refresh_token }
  } catch (error) {
    said = { error: error.constructor.name, says: inspect(error) }
  }
  console.log(JSON.stringify(said))
}
