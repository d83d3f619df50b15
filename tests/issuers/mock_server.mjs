// oauth2-mock-server: as it comes, or (with `hook`) with what a resource server needs in its tokens.
import { once } from "node:events";
import { createInterface } from "node:readline";
import { Events, OAuth2Server } from "oauth2-mock-server";

const [line] = await once(createInterface({ input: process.stdin }), "line");
const { port, issuer, hook } = JSON.parse(line);

const server = new OAuth2Server();
await server.issuer.keys.generate("RS256");
await server.start(port, "127.0.0.1");
server.issuer.url = issuer;
if (hook) {
  server.service.on(Events.BeforeTokenSigning, ({ payload }) => {
    payload.sub ??= hook.sub;
    payload.aud ??= hook.aud;
  });
}
console.log("listening");
