// The operator's view: why one viewer sees of the card what they see, and what the ledger has of their last minute.

const URL_OF_WHY = "/demo/why/";
// What led to a frame is on the ledger a moment later; and what is older than a minute leaves the list.
const SOON = 1000;
const ANYHOW = 10000;
const MARKS = { yes: "✓", no: "✗", unknown: "?", undecided: "?" };
const LIST = new Intl.ListFormat("en");
const JOINED = { all: "all of these", any: "any of these", not: "not this" };
const KINDS = { taken: "taken away", ended: "given up" };

/** The panel: it opens below a pane, and follows that until it is closed. */
export class Why {
  element = document.getElementById("why");
  pane = null;
  asked = 0;
  shown = "";

  /** ``ask`` gives what the server answers to a GET of a URL. */
  constructor(ask) {
    this.ask = ask;
    this.part("close").addEventListener("click", () => {
      const { button } = this.pane;
      this.close();
      button.focus();
    });
  }

  toggle(pane) {
    if (pane === this.pane) this.close();
    else this.open(pane);
  }

  /** Another pane's stays until there is an answer about this one. */
  open(pane) {
    this.pane?.button.setAttribute("aria-expanded", "false");
    this.pane = pane;
    this.shown = "";
    pane.button.setAttribute("aria-expanded", "true");
    this.refresh(SOON);
  }

  close() {
    clearTimeout(this.refreshing);
    this.asked += 1;
    this.pane.button.setAttribute("aria-expanded", "false");
    this.pane = null;
    this.element.hidden = true;
  }

  /** A pane was sent a frame. */
  follow(pane) {
    if (pane === this.pane) this.refresh(SOON);
  }

  /** Asks, shows the answer unless there is a newer question, and asks again after so many milliseconds. */
  async refresh(pause) {
    clearTimeout(this.refreshing);
    this.refreshing = setTimeout(() => this.refresh(ANYHOW), pause);
    const number = (this.asked += 1);
    const query = this.pane.username && `?user=${encodeURIComponent(this.pane.username)}`;
    const answer = await this.ask(URL_OF_WHY + query).catch(({ message }) => ({ failure: message }));
    if (number === this.asked) this.show(answer);
  }

  show(answer) {
    const isNew = !this.shown;
    const text = JSON.stringify(answer);
    if (text !== this.shown) this.render(answer);
    this.shown = text;
    if (isNew) this.appear();
  }

  appear() {
    this.part("name").textContent = this.pane.name;
    this.pane.element.after(this.element); // by keyboard it comes next
    this.element.hidden = false;
    this.element.scrollIntoView({ block: "nearest" });
  }

  render({ explanation, ledger, failure }) {
    this.part("told").hidden = Boolean(failure);
    this.part("summary").textContent = failure ?? summaryOf(this.pane.name, explanation);
    if (failure) return;
    this.part("decision").replaceChildren(...decisionOf(explanation));
    this.renderGuarded(explanation);
    this.part("facts").replaceChildren(...factsOf(explanation));
    this.part("ledger").replaceChildren(...together(ledger).map(entry));
  }

  /** What is withheld from a view is unfolded. What a person folds or unfolds stays so while its answer is the same. */
  renderGuarded({ guarded, decision }) {
    const place = this.part("guarded");
    const names = guarded.map(({ name }) => name);
    if (String(names) !== String([...place.children].map(({ dataset }) => dataset.guarded))) {
      place.replaceChildren(...names.map(folded));
    }
    this.part("unguarded").hidden = guarded.length > 0;
    for (const [number, { is_shown, guard }] of guarded.entries()) {
      const fold = place.children[number];
      const isOpen = String(decision === "yes" && !is_shown);
      if (fold.dataset.isOpen !== isOpen) fold.open = isOpen === "true";
      fold.dataset.isOpen = isOpen;
      fold.dataset.word = is_shown ? "sent" : "not sent";
      fold.querySelector("b").textContent = fold.dataset.word;
      fold.lastElementChild.replaceChildren(...guardOf(guard));
    }
  }

  part(name) {
    return this.element.querySelector(`[data-part="${name}"]`);
  }
}

function summaryOf(name, { decision, tree, guarded }) {
  const withheld = guarded.filter(({ is_shown }) => !is_shown).map((one) => one.name);
  if (decision === "undecided") return "It can't be decided now.";
  if (decision === "no") return `${name} ${tree ? "may not see the card" : "has nothing to see"}, and is told no reason.`;
  return `${name} may see the card, ${withheld.length ? `without ${LIST.format(withheld)}` : "with all of its fields"}.`;
}

function decisionOf({ decision, tree, basis, agrees }) {
  const told = tree ? [make("ul", "tree", branch(tree))] : [];
  // Where nobody was asked, or what was allowed could not be made, the basis says so.
  if (tree?.answer !== decision && basis) told.push(make("p", "basis", basis));
  if (!agrees) told.push(make("p", "hint", "A permission answers now so and now so."));
  return told;
}

/** A permission with its answer, and below it those that it is combined of. */
function branch({ permission, answer, error, is_needed, joined, parts }) {
  const mark = make("span", "mark", MARKS[answer]);
  mark.ariaHidden = "true";
  const line = make("span", "line", mark, joined ? make("span", "", JOINED[joined]) : make("code", "", permission));
  line.append(": ", make("b", "", error ? `${answer} (${error})` : answer));
  if (!is_needed) line.append(make("i", "", ", not needed"));
  const item = make("li", "", line);
  item.dataset.answer = answer;
  if (parts.length) item.append(make("ul", "", ...parts.map(branch)));
  return item;
}

function folded(name) {
  const fold = make("details", "", make("summary", "", make("code", "", name), " ", make("b", "")), make("div", ""));
  fold.dataset.guarded = name;
  return fold;
}

function guardOf(guard) {
  if (typeof guard !== "string") return [make("ul", "tree", branch(guard))];
  return [make("p", "", make("code", "", guard), ", asked of each object within the card")];
}

function factsOf({ decision, fields, personal, shares_with, subscriptions, last_shown }) {
  const facts = [];
  if (decision === "yes") {
    facts.push(["Sent", fields.join(", ")]);
    facts.push(["Audience", personal ? `alone: ${personal}` : audience(shares_with)]);
  }
  facts.push(["Last shown", last_shown ? lastShown(last_shown, fields) : "nothing on record"]);
  facts.push(["Subscribed", subscribed(subscriptions?.filter(({ is_admitted }) => is_admitted) ?? [])]);
  return facts.flatMap(([term, text]) => [make("dt", "", term), make("dd", "", text)]);
}

function audience(others) {
  const names = others.map((name) => name || "who is not logged in");
  return names.length ? `the same bytes as ${LIST.format(names)}` : "alone: nobody here has the same answers";
}

function lastShown({ at, cause, fields }, present) {
  return `${time(at)}, ${causes(cause)}: ${String(fields) === String(present) ? "these fields" : fields.join(", ")}`;
}

function subscribed(subscriptions) {
  const current = subscriptions.filter(({ is_current }) => is_current).length;
  const behind = subscriptions.length - current;
  if (!subscriptions.length) return "not in this process";
  return `on ${subscriptions.length} socket${subscriptions.length > 1 ? "s" : ""}, ${behind ? `${behind} not ` : ""}up to date`;
}

/** Entries that follow one another and differ by their time only are one, with their number. */
function together(entries) {
  const groups = [];
  for (const { at, ...rest } of entries) {
    const last = groups.at(-1);
    if (last && JSON.stringify(last.rest) === JSON.stringify(rest)) last.count += 1;
    else groups.push({ at, rest, count: 1 });
  }
  return groups;
}

function entry({ at, count, rest: { kind, fields, cause, basis } }) {
  const word = KINDS[kind] ?? kind;
  const item = make("li", "", make("span", "at", time(at)), " ", make("b", "", count > 1 ? `${word} ${count}×` : word), ` ${causes(cause)}`);
  item.dataset.kind = kind;
  if (fields.length) item.append(make("span", "names", fields.join(", ")));
  item.append(make("code", "basis", basis));
  return item;
}

function causes(cause) {
  return cause.replaceAll("+", ", ");
}

function time(at) {
  return new Date(at).toLocaleTimeString([], { hour12: false });
}

/** An element with a class, of elements and texts: what comes from the server is text, and never HTML. */
function make(tag, name, ...children) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  made.append(...children);
  return made;
}
