// Libraries of npm that other people wrote read tokens, as their documentation says.
//
// It is started as `node readers.mjs READER`, hears one JSON array of cases and says one JSON object.
// Each case is one algorithm or one key set, with tokens. For each token it is said whose the library
// says it is, without and with the setting that docs/readers.md names, or how it was refused.

import { createRequire } from 'node:module'
import { readFileSync } from 'node:fs'
import { text } from 'node:stream/consumers'

const require = createRequire(import.meta.url)
const [reader] = process.argv.slice(2)

console.warn = () => {} // one warns of http

class Untried extends Error {} // the reader has no place for such a key

const needs = (value) => {
  if (!value) throw new Untried()
  return value
}

// For those that take a PEM, or a secret as text.
const key = (one) => one.secret ?? needs(one.pem)
const bearer = (token) => ({ authorization: `Bearer ${token}` })
const limits = (one) => ({ algorithms: [one.algorithm], audience: one.audience, issuer: one.issuer })

// What jwks-rsa answers for a token of ours.
const fetched = async (one, token) => {
  if (one.secret) return one.secret
  const client = require('jwks-rsa')({ jwksUri: one.jwksUri })
  const { kid } = JSON.parse(Buffer.from(token.split('.')[0], 'base64url'))
  return (await client.getSigningKey(kid)).getPublicKey()
}

const callback = (call) => new Promise((resolve, reject) => {
  call((error, value) => error ? reject(error) : resolve(value))
})

// A request of Fastify's with one plugin that verifies; what it says is the subject.
const askFastify = async (register, verify, token) => {
  const fastify = require('fastify')()
  await register(fastify)
  fastify.get('/', { onRequest: verify(fastify) }, async (request) => ({ sub: request.user.sub }))
  const answer = await fastify.inject({ url: '/', headers: bearer(token) })
  await fastify.close()
  if (answer.statusCode !== 200) throw new Error(`${answer.statusCode} ${answer.body}`)
  return answer.json().sub
}

// The same for middleware of Express' kind, which needs of it a request alone.
const askExpress = async (middleware, token) => {
  const headers = { host: 'api.example', ...bearer(token) }
  const request = {
    headers,
    method: 'GET',
    protocol: 'https',
    originalUrl: '/',
    query: {},
    get: (name) => headers[name.toLowerCase()],
    is: () => false
  }
  await callback((done) => middleware(request, {}, done))
  return request.auth
}

const askHono = async (middleware, token) => {
  const { Hono } = await import('hono')
  const app = new Hono()
  app.use('*', middleware)
  app.get('/', (context) => context.json(context.get('jwtPayload')))
  let cause
  app.onError((error) => {
    cause = error.cause
    return error.getResponse()
  })
  const answer = await app.request('/', { headers: bearer(token) })
  if (answer.status !== 200) throw new Error(`${answer.status} ${cause?.message}`)
  return (await answer.json()).sub
}

// Each takes a case, a token, and whether the setting is made, and returns the subject.
const readers = {
  async jose (one, token, setting) {
    const { jwtVerify, createRemoteJWKSet } = await import('jose')
    const keys = one.secret ? new TextEncoder().encode(one.secret) : createRemoteJWKSet(new URL(one.jwksUri))
    const wanted = { issuer: one.issuer, audience: one.audience, ...(setting && { typ: 'at+jwt' }) }
    const { payload } = await jwtVerify(token, keys, wanted)
    return payload.sub
  },

  async oauth4webapi (one, token) {
    if (one.secret) throw new Untried()
    const oauth = await import('oauth4webapi')
    const insecure = { [oauth.allowInsecureRequests]: true }
    const issuer = new URL(one.issuer)
    const found = await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...insecure })
    const server = await oauth.processDiscoveryResponse(issuer, found)
    const request = new Request('https://api.example/', { headers: bearer(token) })
    return (await oauth.validateJwtAccessToken(server, request, one.audience, insecure)).sub
  },

  async jsonwebtoken (one, token) {
    return require('jsonwebtoken').verify(token, await fetched(one, token), limits(one)).sub
  },

  async 'express-jwt' (one, token) {
    const { expressjwt } = require('express-jwt')
    const secret = one.secret ?? require('jwks-rsa').expressJwtSecret({ jwksUri: one.jwksUri })
    return (await askExpress(expressjwt({ secret, ...limits(one) }), token)).sub
  },

  async 'passport-jwt' (one, token) {
    const { Strategy, ExtractJwt } = require('passport-jwt')
    const strategy = new Strategy({
      jwtFromRequest: ExtractJwt.fromAuthHeaderAsBearerToken(),
      ...(one.secret
        ? { secretOrKey: one.secret }
        : { secretOrKeyProvider: require('jwks-rsa').passportJwtSecret({ jwksUri: one.jwksUri }) }),
      ...limits(one)
    }, (claims, done) => done(null, claims))
    return new Promise((resolve, reject) => {
      const fail = (error) => reject(error instanceof Error ? error : new Error(String(error)))
      Object.assign(strategy, { success: (claims) => resolve(claims.sub), fail, error: fail })
      strategy.authenticate({ headers: bearer(token) })
    })
  },

  async 'koa-jwt' (one, token) {
    const secret = one.secret ?? require('jwks-rsa').koaJwtSecret({ jwksUri: one.jwksUri })
    const middleware = require('koa-jwt')({ secret, ...limits(one) })
    const Koa = (await import('koa')).default
    const app = new Koa()
    app.silent = true
    let sub, cause
    app.use(async (context, next) => {
      try {
        await next()
      } catch (error) {
        cause = error.originalError ?? error
      }
    })
    app.use(middleware).use((context) => { sub = context.state.user.sub })
    const { IncomingMessage, ServerResponse } = await import('node:http')
    const request = Object.assign(new IncomingMessage(), { method: 'GET', url: '/', headers: bearer(token) })
    await app.callback()(request, new ServerResponse(request))
    if (cause) throw cause
    return sub
  },

  async 'fast-jwt' (one, token) {
    const { createVerifier } = require('fast-jwt')
    const verify = createVerifier({ key: key(one), allowedIss: one.issuer, allowedAud: one.audience })
    return verify(token).sub
  },

  async '@fastify/jwt' (one, token) {
    const secret = one.secret ?? { public: needs(one.pem) }
    const verify = { algorithms: [one.algorithm], allowedIss: one.issuer, allowedAud: one.audience }
    return askFastify(
      (fastify) => fastify.register(require('@fastify/jwt'), { secret, verify }),
      () => (request) => request.jwtVerify(), token)
  },

  async '@hapi/jwt' (one, token, setting) {
    const server = require('@hapi/hapi').server()
    await server.register(require('@hapi/jwt'))
    const algorithms = [one.algorithm]
    server.auth.strategy('ours', 'jwt', {
      keys: one.secret || setting ? { key: key(one), algorithms } : { uri: one.jwksUri, algorithms },
      verify: { aud: one.audience, iss: one.issuer, sub: false },
      validate: (artifacts) => ({ isValid: true, credentials: artifacts.decoded.payload })
    })
    server.route({ method: 'GET', path: '/', options: { auth: 'ours' }, handler: (request) => request.auth.credentials })
    await server.initialize()
    const answer = await server.inject({ url: '/', headers: bearer(token) })
    await server.stop()
    if (answer.statusCode !== 200) throw new Error(answer.payload)
    return answer.result.sub
  },

  async 'fastify-jwt-jwks' (one, token) {
    const place = one.secret ? { secret: one.secret } : { jwksUrl: one.jwksUri }
    // `issuer` belongs to the URL; where there is a secret alone, `allowedIss` is @fastify/jwt's.
    const more = { issuer: one.issuer, audience: one.audience, allowedIss: one.issuer }
    return askFastify(
      (fastify) => fastify.register(require('fastify-jwt-jwks'), { ...place, ...more }),
      (fastify) => fastify.authenticate, token)
  },

  async 'fastify-auth0-verify' (one, token) {
    const place = one.secret ? { secret: one.secret } : { domain: one.issuer }
    const more = { issuer: one.issuer, audience: one.audience, allowedIss: one.issuer }
    return askFastify(
      (fastify) => fastify.register(require('fastify-auth0-verify'), { ...place, ...more }),
      (fastify) => fastify.authenticate, token)
  },

  async 'express-oauth2-jwt-bearer' (one, token, setting) {
    const { auth } = require('express-oauth2-jwt-bearer')
    const place = one.secret
      ? { issuer: one.issuer, secret: one.secret, tokenSigningAlg: one.algorithm }
      : { issuerBaseURL: one.issuer }
    return (await askExpress(auth({ audience: one.audience, strict: setting, ...place }), token)).payload.sub
  },

  async '@okta/jwt-verifier' (one, token) {
    if (one.secret) throw new Untried()
    const Verifier = require('@okta/jwt-verifier')
    const verifier = new Verifier({
      issuer: one.issuer, jwksUri: one.jwksUri, testing: { disableHttpsCheck: true }
    })
    return (await verifier.verifyAccessToken(token, one.audience)).claims.sub
  },

  async 'aws-jwt-verify' (one, token) {
    if (one.secret) throw new Untried()
    const { JwtVerifier } = require('aws-jwt-verify')
    const verifier = JwtVerifier.create({ issuer: one.issuer, audience: one.audience, jwksUri: one.jwksUri })
    verifier.cacheJwks(await (await fetch(one.jwksUri)).json()) // it fetches by https alone
    return (await verifier.verify(token)).sub
  },

  async 'hono, `jwt`' (one, token, setting) {
    const { jwt } = await import('hono/jwt')
    // It takes one key: as text a PEM or a secret, or a JWK.
    const verification = { iss: one.issuer, aud: one.audience, ...(setting && { typ: 'at+jwt' }) }
    return askHono(jwt({ secret: key(one), alg: one.algorithm, verification }), token)
  },

  async 'hono, `jwk`' (one, token, setting) {
    if (one.secret) throw new Untried()
    const { jwk } = await import('hono/jwk')
    const verification = { iss: one.issuer, aud: one.audience, ...(setting && { typ: 'at+jwt' }) }
    return askHono(jwk({ jwks_uri: one.jwksUri, alg: [one.algorithm], verification }), token)
  },

  async jsrsasign (one, token) {
    const { KEYUTIL, KJUR } = require('jsrsasign')
    const known = one.secret ? { utf8: one.secret } : KEYUTIL.getKey(one.jwks.keys.find(
      (found) => found.kid === JSON.parse(Buffer.from(token.split('.')[0], 'base64url')).kid))
    const wanted = { alg: [one.algorithm], iss: [one.issuer], aud: [one.audience] }
    if (!KJUR.jws.JWS.verifyJWT(token, known, wanted)) throw new Error('false')
    return KJUR.jws.JWS.parse(token).payloadObj.sub
  },

  async 'node-jose' (one, token) {
    const { JWK, JWS } = require('node-jose')
    const keys = await JWK.asKeyStore(one.secret ? one.jwks : await (await fetch(one.jwksUri)).json())
    const { payload } = await JWS.createVerify(keys, { algorithms: [one.algorithm] }).verify(token)
    return JSON.parse(payload).sub
  }
}

const said = async (one, setting) => {
  const found = {}
  for (const [name, token] of Object.entries(one.tokens)) {
    try {
      found[name] = { subject: await readers[reader](one, token, setting) }
    } catch (error) {
      found[name] = error instanceof Untried
        ? { untried: true }
        : { error: error.constructor.name, says: error.message ?? String(error) }
    }
  }
  return found
}

const version = (name) => JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url))).version
const found = {}
for (const one of JSON.parse(await text(process.stdin))) {
  one.jwksUri = one.issuer + '/.well-known/jwks.json'
  found[one.name] = [await said(one, false), await said(one, true)]
}
const name = reader.split(',')[0]
const versions = { [name]: version(name) }
if (['jsonwebtoken', 'express-jwt', 'passport-jwt', 'koa-jwt'].includes(name)) {
  versions['jwks-rsa'] = version('jwks-rsa')
}
process.stdout.write(JSON.stringify({ versions, cases: found }), () => process.exit())
