// oidc-provider with access tokens in JWT, for the resource that is asked for.
import { once } from "node:events";
import { createInterface } from "node:readline";
import Provider from "oidc-provider";

const [line] = await once(createInterface({ input: process.stdin }), "line");
const { port, issuer, client, secret, redirect, scope, keys } = JSON.parse(line);

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: client,
      client_secret: secret,
      grant_types: ["authorization_code", "client_credentials"],
      redirect_uris: [redirect],
      response_types: ["code"],
    },
  ],
  cookies: { keys: [secret] },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_, resource) => ({ audience: resource, scope, accessTokenFormat: "jwt" }),
    },
  },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  jwks: { keys },
});
provider.proxy = true; // TLS ends in front of it

provider.listen(port, "127.0.0.1", () => console.log("listening"));
