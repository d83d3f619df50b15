// better-auth with its jwt plugin, in memory. A token for another audience is made at /another.
import { once } from "node:events";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { betterAuth } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";
import { toNodeHandler } from "better-auth/node";
import { jwt } from "better-auth/plugins";

const [line] = await once(createInterface({ input: process.stdin }), "line");
const { port, issuer, secret, another } = JSON.parse(line);

const tables = { user: [], session: [], account: [], verification: [], jwks: [] };
const auth = betterAuth({
  baseURL: issuer,
  secret,
  database: memoryAdapter(tables),
  emailAndPassword: { enabled: true },
  plugins: [jwt()],
  telemetry: { enabled: false },
});
const handler = toNodeHandler(auth);
const server = createServer(async (request, response) => {
  if (request.url !== "/another") return handler(request, response);
  const [user] = tables.user;
  const payload = { ...user, iat: Math.floor(Date.now() / 1000), sub: user.id, aud: another };
  response.end(JSON.stringify(await auth.api.signJWT({ body: { payload } })));
});
server.listen(port, "127.0.0.1", () => console.log("listening"));
