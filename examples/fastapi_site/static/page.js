import { JWTClient } from "./jwt-client.js";

// The refresh token is in a cookie, and the access token in a variable of this tab. `keepFresh`
// fetches the next one ahead of its end: the websocket gets it, and goes on.
const client = new JWTClient({ mode: "cookie", keepFresh: true });
const at = (id) => document.getElementById(id);
let socket = null;

// --- logged in, or not

const say = (text) => (at("status").textContent = text);

async function show() {
  at("login").hidden = client.isLoggedIn;
  at("inside").hidden = !client.isLoggedIn;
  if (!client.isLoggedIn) return;
  const me = await (await client.fetch("/api/me")).json();
  at("me").textContent = `${me.name}, ${me.role}: ${me.scopes.join(", ")}`;
  await Promise.all([showNotes(), showDevices(), connect()]);
}

client.addEventListener("login", () => show());
client.addEventListener("logout", ({ detail }) => {
  socket?.close();
  // "logout" is the button here. Else it was another tab, another device, or an administrator.
  say(detail.reason === "logout" ? "Logged out." : `You were logged out: ${detail.reason}.`);
  show();
});

onSubmit("login", async (form) => {
  const answer = await client.login("/login", new FormData(form));
  say(answer.ok ? "Logged in." : (await answer.json()).detail);
});
onClick("logout", () => client.logout());
onClick("everywhere", async () => {
  await client.fetch("/api/logout-everywhere", { method: "POST" });
  await client.refresh(); // refused, so that this page learns of it as all others do
});

// --- the websocket

async function connect() {
  const tokens = client.tokens ?? (await client.refresh());
  if (!tokens || (socket && socket.readyState <= WebSocket.OPEN)) return;
  const mine = new WebSocket("/live/chat", ["bearer", tokens.access_token]);
  socket = mine;
  mine.onopen = () => addTo("chat", "(connected)");
  mine.onmessage = ({ data }) => {
    const { line, error, renewed } = JSON.parse(data);
    addTo("chat", renewed ? "(the chat goes on with a fresh token)" : (line ?? `(${error})`));
  };
  mine.onclose = async ({ code, reason }) => {
    addTo("chat", `(closed: ${code} ${reason})`);
    if (mine !== socket || code !== 4401) return;
    // The token is over. Either a refresh brings the next, or the login is over, too: then the
    // refresh is refused, and the event "logout" comes.
    if (await client.refresh()) await connect();
  };
}

client.addEventListener("refresh", () => {
  const token = client.tokens?.access_token;
  if (token && socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ token }));
});

onSubmit("say", async (form) => {
  socket.send(JSON.stringify({ say: form.elements.line.value }));
  form.reset();
});

// --- notes, and a download

async function showNotes() {
  const notes = await (await client.fetch("/api/notes")).json();
  at("notes").replaceChildren(...notes.map(({ by, text }) => item(`${by}: ${text}`)));
}

onSubmit("write", async (form) => {
  const answer = await client.fetch("/api/notes", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ text: form.elements.text.value }),
  });
  say(answer.ok ? "It hangs." : `Refused: ${answer.status}`);
  form.reset();
  await showNotes();
});

// A link would send no header. (With `Cookies(access=True)` it could be one.)
onClick("download", async () => {
  const tell = (text) => (at("progress").textContent = text);
  let size = 0;
  try {
    const answer = await client.fetch("/live/export");
    for (const reader = answer.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      size += value.length;
      tell(`Downloading: ${size} octets`);
    }
    tell(`Downloaded: ${size} octets.`);
  } catch {
    tell(`The download was cut after ${size} octets.`); // never taken for a whole one
  }
});

// --- devices

async function showDevices() {
  const { sessions } = await (await client.fetch("/auth/sessions")).json();
  at("devices").replaceChildren(
    ...sessions.map(({ id, label, current }) => {
      const found = item(`${label || "a device without a name"} `); // as text: it came from outside
      if (current) found.append("(this one)");
      else found.append(button("Log this one out", () => end(id)));
      return found;
    }),
  );
}

async function end(id) {
  await client.fetch(`/auth/sessions/${id}`, { method: "DELETE" });
  await showDevices();
}

// --- small things

function item(text) {
  const found = document.createElement("li");
  found.textContent = text;
  return found;
}

function button(text, act) {
  const found = document.createElement("button");
  found.textContent = text;
  found.addEventListener("click", act);
  return found;
}

function addTo(id, text) {
  at(id).append(item(text));
}

function onClick(id, act) {
  at(id).addEventListener("click", act);
}

function onSubmit(id, act) {
  at(id).addEventListener("submit", (event) => {
    event.preventDefault();
    act(event.target);
  });
}

show();
