// Building elements out of text, never out of markup.

export const byId = (id) => document.getElementById(id);

export function element(name, className = "", text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

export function say(text) {
  byId("spoken").textContent = text;
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
  node.hidden = !text;
}

export function fillChoices(select, choices) {
  const chosen = select.value;
  select.replaceChildren(...choices.map(({ value, text }) => new Option(text, value)));
  if (choices.some(({ value }) => value === chosen)) select.value = chosen;
}

/** *text* as nodes, with the words of *query* marked. */
export function highlighted(text, query) {
  const pattern = patternOf(query);
  if (!pattern) return [document.createTextNode(text)];
  const nodes = [];
  let end = 0;
  for (const found of text.matchAll(pattern)) {
    nodes.push(document.createTextNode(text.slice(end, found.index)), element("mark", "", found[0]));
    end = found.index + found[0].length;
  }
  nodes.push(document.createTextNode(text.slice(end)));
  return nodes;
}

function patternOf(query) {
  const words = query.normalize("NFC").match(/[\p{L}\p{N}]+/gu) ?? [];
  const forms = words.flatMap(formsOf).sort((left, right) => right.length - left.length);
  return forms.length ? new RegExp(`(?<![\\p{L}\\p{N}])(?:${forms.join("|")})`, "giu") : null;
}

// A Korean word carries particles; its beginning is what the text shares with the query.
function formsOf(word) {
  if (!/\p{Script=Hangul}/u.test(word)) return word.length > 1 ? [`${word}(?![\\p{L}\\p{N}])`] : [];
  return [0, 1, 2].map((cut) => word.slice(0, word.length - cut)).filter((form) => form.length >= 2);
}
