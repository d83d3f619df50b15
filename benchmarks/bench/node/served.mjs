// fastify, bare or with @fastify/jwt and its cache: node served.mjs PORT bare|jwt.
import jwt from "@fastify/jwt";
import Fastify from "fastify";

const { key, issuer, audience } = JSON.parse(process.env.BENCH_NODE);
const fastify = Fastify();

if (process.argv[3] === "jwt") {
  await fastify.register(jwt, {
    secret: { public: key },
    verify: { algorithms: ["RS256"], allowedIss: issuer, allowedAud: audience, cache: true },
  });
  fastify.addHook("onRequest", async (request, reply) => {
    try {
      await request.jwtVerify();
    } catch (error) {
      reply.send(error);
    }
  });
}

fastify.get("/items/1", async () => ({ hello: "world" }));
await fastify.listen({ port: Number(process.argv[2]), host: "127.0.0.1" });
