// The front page's client: five viewers of one card, each with a socket of its own, and the owner's controls.

import { Why } from "./why.js";

const MODEL = "board.Card";
const CARD = document.querySelector("main").dataset.card;
const CARD_URL = `/api/cards/${CARD}/`;
const FIELDS = ["title", "status", "public", "notes", "salary", "board", "owner"];
const ASK_AGAIN_AFTER = 3000;
const LONGEST_DELAY = 5000;
const NOTICES_KEPT = 20;
// Close codes after which a socket is not opened again by itself, and what is said then.
const STAYS_CLOSED = { 4401: "signed out", 4403: "closed by an operator" };

/**
 * Opens a WebSocket and opens it again whenever it is lost. Returns the function that sends a message on it.
 *
 * A socket counts as well again only when something was received on it: a server that accepts and hangs up is one
 * that fails.
 */
function connect(path, { protocols = [], opened, received, closed }) {
  const url = new URL(path, location.href.replace(/^http/, "ws"));
  let socket;
  let failures = 0;

  function open() {
    socket = new WebSocket(url, protocols);
    socket.addEventListener("open", () => opened?.());
    socket.addEventListener("message", ({ data }) => {
      failures = 0;
      received(data);
    });
    socket.addEventListener("close", ({ code }) => {
      const reason = STAYS_CLOSED[code];
      closed?.(reason);
      if (!reason) setTimeout(open, delayAfter(failures++));
    });
  }

  open();
  return (message) => socket.readyState === WebSocket.OPEN && socket.send(JSON.stringify(message));
}

/** Milliseconds to wait: growing, and jittered so that not every client of a restarted server returns at once. */
function delayAfter(failures) {
  return Math.min(LONGEST_DELAY, 500 * 2 ** failures) * (0.5 + Math.random() / 2);
}

/** One viewer: a socket with their token, the view that they hold, and the part of the page that shows it. */
class Pane {
  view = null;
  etag = null;
  frames = 0;

  constructor({ username, name, token }, { pushed, received, clicked }) {
    this.username = username;
    this.name = name;
    this.pushed = pushed;
    this.received = received;
    this.element = document.querySelector(`.pane[data-viewer="${username || "anonymous"}"]`);
    this.button = this.part("why");
    this.element.addEventListener("click", ({ target }) => this.isMeant(target) && clicked(this));
    this.send = connect("/ws/notifications/", {
      // A browser can't set a header on a WebSocket, so the token travels as a subprotocol. The visitor's is empty:
      // nobody, also in a browser that is logged in to the admin.
      protocols: ["livegate", `token.${token}`],
      opened: () => this.resume(),
      received: (text) => this.receive(JSON.parse(text)),
      closed: (reason) => this.lose(reason),
    });
  }

  /** A click on the pane is one on its button, if it is on nothing else that is clicked, and selected no text. */
  isMeant(target) {
    return target.closest("button") === this.button || (!target.closest("details") && getSelection().isCollapsed);
  }

  resume() {
    this.sayConnection("connected");
    this.subscribe();
  }

  /** Presents what it holds, so that after a lost connection it is sent only what differs. */
  subscribe() {
    this.send({ action: "subscribe", model: MODEL, id: CARD, request_id: 1, etag: this.etag });
  }

  /** ``reason`` is why the socket stays closed; the person may load the page again. */
  lose(reason) {
    clearTimeout(this.askingAgain);
    this.sayConnection(reason ?? "reconnecting");
  }

  receive(frame) {
    this.part("raw").textContent = JSON.stringify(frame, null, 2);
    if (frame.type === "UPDATE_CARD") this.show(frame.payload, frame.meta.etag);
    if (frame.type === "DELETE_CARD") this.takeAway();
    if (frame.type === "ERROR") this.refuse(frame.payload);
    if (frame.type === "DELAYED") this.sayConnection("may be old");
    if (frame.type === "CURRENT") this.sayConnection("connected");
    this.received(this);
  }

  show(view, etag) {
    const before = this.view;
    this.view = view;
    this.etag = etag;
    this.render();
    const changes = before ? changesBetween(before, view) : {};
    this.highlight(changes);
    this.say(before ? inWords(changes) : "came into view");
    this.countFrame();
  }

  takeAway() {
    this.forget("Deleted, or no longer permitted: which of them is not told. Should it come back, it is pushed here.");
    this.say("left the view");
    this.countFrame();
  }

  /** A refused subscription is not remembered by the server, so the client asks again. What it held was taken before. */
  refuse({ code, detail }) {
    if (code !== "not_found") return this.say(detail);
    if (this.element.dataset.state === "connecting") this.say("nothing to see"); // once, not every 3 seconds
    this.forget("not_found: forbidden, gone or never there, which is not told. Asking again every 3 seconds.");
    this.askingAgain = setTimeout(() => this.subscribe(), ASK_AGAIN_AFTER);
  }

  forget(reason) {
    this.view = null;
    this.etag = null;
    this.render();
    this.part("reason").textContent = reason;
  }

  render() {
    this.element.dataset.state = this.view ? "showing" : "nothing";
    this.part("fields").hidden = !this.view;
    this.part("nothing").hidden = Boolean(this.view);
    this.part("count").textContent = FIELDS.filter((name) => this.sees(name)).length;
    for (const name of FIELDS) {
      this.element.querySelector(`[data-bar="${name}"]`).classList.toggle("open", this.sees(name));
      // The owner is an object of its own: its fields are shown, and may be absent, one by one.
      if (name === "owner") this.renderOwner(this.view?.owner);
      else this.renderField(name, this.view?.[name]);
    }
  }

  renderOwner(owner) {
    this.markAbsent("owner", owner === undefined);
    this.renderField("owner.username", owner?.username);
    this.renderField("owner.email", owner?.email);
  }

  renderField(name, value) {
    this.field(name).textContent = value ?? "";
    this.markAbsent(name, value === undefined);
  }

  /** The words are shown by the style sheet: in the page, as in the payload, there is nothing there. */
  markAbsent(name, absent) {
    if (absent) this.field(name).dataset.absent = "not sent";
    else delete this.field(name).dataset.absent;
  }

  highlight(changes) {
    for (const name of FIELDS) delete this.field(name).dataset.changed;
    void this.element.offsetWidth; // an animation starts anew only after a layout without it
    for (const [name, what] of Object.entries(changes)) this.field(name).dataset.changed = what;
  }

  countFrame() {
    this.frames += 1;
    this.element.querySelector("[data-frames]").textContent = this.frames;
    this.pushed(this);
  }

  say(words) {
    this.part("said").textContent = words;
  }

  sayConnection(words) {
    this.element.dataset.connection = words;
    this.part("connection").textContent = words;
  }

  sees(name) {
    return this.view !== null && name in this.view;
  }

  field(name) {
    return this.element.querySelector(`[data-field="${name}"]`);
  }

  part(name) {
    return this.element.querySelector(`[data-part="${name}"]`);
  }
}

/** What happened to each field that differs: ``{salary: "now sent", title: "changed"}``. */
function changesBetween(before, after) {
  const changes = {};
  for (const name of FIELDS) {
    if (JSON.stringify(before[name]) === JSON.stringify(after[name])) continue;
    if (!(name in after)) changes[name] = "no longer sent";
    else changes[name] = name in before ? "changed" : "now sent";
  }
  return changes;
}

/** ``"title, notes changed; salary now sent"``. */
function inWords(changes) {
  const names = Map.groupBy(Object.keys(changes), (name) => changes[name]);
  return [...names].map(([what, fields]) => `${fields.join(", ")} ${what}`).join("; ") || "sent again, unchanged";
}

/** Asks the REST API, as Amira unless another token is given. Returns what it answers; throws an Error whose message can be shown. */
async function request(method, url, body, token = amira.token) {
  const response = await fetch(url, {
    method,
    headers: { Authorization: `Token ${token}`, "Content-Type": "application/json", Accept: "application/json" },
    body: body && JSON.stringify(body),
  }).catch(() => {
    throw new Error("The server could not be reached.");
  });
  const answer = await response.json().catch(() => null); // a 204 has no body, and a 500 may be a page
  if (!response.ok) throw new Error(errorInWords(response.status, answer));
  return answer;
}

function errorInWords(status, answer) {
  if (status === 404) return "There is no card to act on. Start over to bring it back.";
  if (!answer) return `The server answered ${status}.`;
  if (answer.detail) return answer.detail;
  return Object.entries(answer).map(([field, errors]) => `${field}: ${[errors].flat().join(" ")}`).join(" ");
}

/** Does one thing as Amira, and says how it went and who was told. */
async function act(action) {
  sayOutcome("", "");
  told.clear();
  try {
    sayOutcome(await action(), "");
  } catch (error) {
    sayOutcome("", error.message);
  }
}

function sayOutcome(outcome, failure) {
  document.getElementById("outcome").textContent = outcome;
  document.getElementById("failure").textContent = failure;
  document.getElementById("told").hidden = !outcome;
}

/** Who was sent a frame since the last action. */
const told = {
  names: new Set(),

  clear() {
    this.names.clear();
    this.render();
  },

  add(name) {
    this.names.add(name);
    this.render();
  },

  render() {
    const inOrder = people.map(({ name }) => name).filter((name) => this.names.has(name));
    document.querySelector('#told [data-part="names"]').textContent = inOrder.join(", ") || "nobody";
  },
};

/** The owner's form. It follows Amira's view, except in the controls that are being edited. */
class EditForm {
  held = {};

  constructor() {
    this.element = document.getElementById("edit");
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      act(() => this.save());
    });
  }

  follow(view) {
    this.element.querySelector("fieldset").disabled = false;
    for (const control of this.controls) {
      const edited = this.isEdited(control);
      this.held[control.name] = view[control.name];
      if (!edited) write(control, view[control.name]);
    }
  }

  async save() {
    const edits = this.controls.filter((control) => this.isEdited(control));
    if (!edits.length) return "Nothing was edited, so nothing was saved.";
    await request("PATCH", CARD_URL, Object.fromEntries(edits.map((control) => [control.name, read(control)])));
    return `Saved: ${edits.map(({ name }) => name).join(", ")}.`;
  }

  dropEdits() {
    for (const control of this.controls) write(control, this.held[control.name]);
  }

  isEdited(control) {
    return control.name in this.held && read(control) !== this.held[control.name];
  }

  get controls() {
    return [...this.element.elements].filter(({ name }) => name);
  }
}

function read(control) {
  if (control.type === "checkbox") return control.checked;
  return control.type === "number" ? control.valueAsNumber : control.value;
}

function write(control, value) {
  if (control.type === "checkbox") control.checked = value;
  else control.value = value;
}

/** Cleo's object permissions, each a button that is pressed while it is granted. */
class Grants {
  url = `${CARD_URL}grants/`;
  buttons = [...document.querySelectorAll("[data-permission]")];

  constructor() {
    for (const button of this.buttons) button.addEventListener("click", () => act(() => this.toggle(button)));
  }

  async load() {
    this.render(await request("GET", this.url));
  }

  async toggle(button) {
    const granted = button.getAttribute("aria-pressed") === "true";
    const { permission } = button.dataset;
    this.render(await request(granted ? "DELETE" : "POST", this.url, { user: "cleo", permission }));
    return `${granted ? "Revoked" : "Granted"}: ${permission} for Cleo.`;
  }

  render(grants) {
    for (const button of this.buttons) {
      button.setAttribute("aria-pressed", grants.cleo.includes(button.dataset.permission));
    }
  }
}

async function deleteCard() {
  await request("DELETE", CARD_URL);
  return "Deleted.";
}

async function startOver() {
  form.dropEdits();
  await request("POST", "/demo/reset/");
  await grants.load();
  return "Started over.";
}

function showNotice(text) {
  const notices = document.getElementById("notices");
  const notice = document.createElement("li");
  notice.textContent = text;
  notice.dataset.at = new Date().toLocaleTimeString([], { hour12: false });
  notices.prepend(notice);
  while (notices.children.length > NOTICES_KEPT) notices.lastElementChild.remove();
}

/** Amira's view drives the form, as hers is the view that the form edits. */
function follow(pane) {
  told.add(pane.name);
  if (pane.name === amira.name && pane.view) form.follow(pane.view);
}

const people = JSON.parse(document.getElementById("panes").textContent);
const operator = JSON.parse(document.getElementById("operator").textContent);
const amira = people.find(({ username }) => username === "amira");
const form = new EditForm();
const grants = new Grants();

const why = new Why((url) => request("GET", url, undefined, operator.token));

for (const person of people) {
  new Pane(person, { pushed: follow, received: (pane) => why.follow(pane), clicked: (pane) => why.toggle(pane) });
}
connect("/ws/demo/notices/", { received: showNotice });
grants.load().catch(({ message }) => sayOutcome("", message));
document.getElementById("delete").addEventListener("click", () => act(deleteCard));
document.getElementById("reset").addEventListener("click", () => act(startOver));
