// An OpenID provider on loopback: one client, any user, and access tokens by RFC 9068.
// Its settings come as one line of JSON; when it listens, it says so.
import { once } from "node:events";
import { createInterface } from "node:readline";
import Provider from "oidc-provider";

const [line] = await once(createInterface({ input: process.stdin }), "line");
const { port, audience, algorithm, keys, secret, redirect } = JSON.parse(line);

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    {
      client_id: "web",
      client_secret: secret,
      grant_types: ["authorization_code", "client_credentials"],
      redirect_uris: [redirect],
      response_types: ["code"],
      id_token_signed_response_alg: algorithm,
    },
  ],
  cookies: { keys: [secret] },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: () => ({
        audience,
        scope: "read write",
        accessTokenFormat: "jwt",
        accessTokenTTL: 600,
        jwt: { sign: { alg: algorithm } },
      }),
    },
  },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  jwks: { keys },
});

provider.listen(port, "127.0.0.1", () => console.log("listening"));
