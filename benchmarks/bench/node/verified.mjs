// The verifier of fast-jwt with its cache. The first line of standard input says what to verify, every
// other how often; each is answered with ns of CPU time per call.
import { createVerifier } from "fast-jwt";
import { createInterface } from "node:readline";

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const { key, token, forged, issuer, audience } = JSON.parse((await lines.next()).value);
const verify = createVerifier({
  key,
  algorithms: ["RS256"],
  allowedIss: issuer,
  allowedAud: audience,
  cache: true,
});

const octets = Buffer.from(token);
verify(token);
let refused = false;
try {
  verify(forged);
} catch {
  refused = true;
}
if (!refused) throw new Error("a forged token was taken");
console.log(process.version);

for await (const line of lines) {
  const calls = Number(line);
  const begun = process.cpuUsage();
  // A string of its own for each call, as from a socket.
  for (let call = 0; call < calls; call++) verify(octets.latin1Slice());
  const { user, system } = process.cpuUsage(begun);
  console.log(((user + system) * 1000) / calls);
}
