// Searching, and the passage in its context.

import { ask, downloadOriginal, Refused } from "./gateway.js";
import { byId, element, highlighted } from "./elements.js";
import { hidePaper, showPaper } from "./paper.js";
import { clockOf, currentLanguage, word } from "./words.js";

const AROUND = 2;
const CHUNKS_PER_PAGE = 100;

let shown = null;
let asked = 0;
let opened = null;

export function startSearch(onTrouble) {
  byId("search-form").addEventListener("submit", (event) => {
    event.preventDefault();
    search(onTrouble);
  });
  for (const id of ["mode", "search-collection"]) {
    byId(id).addEventListener("change", () => shown && search(onTrouble));
  }
  document.addEventListener("document-deleted", (event) => forget(event.detail));
  byId("passage-close").addEventListener("click", () => byId("passage").close());
  byId("passage").addEventListener("click", (event) => {
    if (event.target === byId("passage")) byId("passage").close(); // the backdrop
  });
  byId("passage").addEventListener("close", hidePaper);
  byId("passage-download").addEventListener("click", downloadOpened);
}

export function redrawResults() {
  if (shown) draw();
}

export function forgetResults() {
  shown = null;
  byId("results").replaceChildren();
  byId("search-summary").textContent = "";
  byId("search-blank").hidden = false;
}

async function search(onTrouble) {
  const query = byId("query").value.trim();
  if (!query) return;
  asked += 1;
  const mine = asked;
  byId("search-summary").textContent = word("searching");
  const began = performance.now();
  try {
    const answer = await ask("/v1/search", { method: "POST", body: bodyOf(query) });
    if (mine !== asked) return; // a later search overtook this one
    shown = { query, hits: answer.results, seconds: (performance.now() - began) / 1000 };
    draw();
    onTrouble(null);
  } catch (error) {
    byId("search-summary").textContent = error instanceof Refused ? error.message : "";
    onTrouble(error);
  }
}

function bodyOf(query) {
  const collection = byId("search-in").hidden ? "" : byId("search-collection").value;
  return { query, mode: byId("mode").value, top_k: 10, ...(collection ? { collection } : {}) };
}

function draw() {
  const { query, hits, seconds } = shown;
  byId("search-blank").hidden = true;
  byId("results").replaceChildren(...hits.map((hit) => resultOf(hit, query)));
  byId("search-summary").textContent = hits.length ? summaryOf(hits.length, seconds) : word("nothing_found");
}

function summaryOf(count, seconds) {
  const taken = seconds.toLocaleString(currentLanguage(), { maximumFractionDigits: 2 });
  return word(count === 1 ? "found_one" : "found_many", { count, seconds: taken });
}

function resultOf(hit, query) {
  const item = element("li", "result");
  const open = element("button", "result-open", hit.name);
  open.type = "button";
  open.addEventListener("click", () => openPassage(hit, query));
  const text = element("p", "result-text");
  text.append(...highlighted(startedNear(hit.text, query).replace(/\n\s*\n/g, "\n"), query));
  item.append(open, element("p", "result-place", placeOf(hit)), text);
  return item;
}

function placeOf(hit) {
  const score = word("score", { score: hit.score.toLocaleString(currentLanguage(), { maximumFractionDigits: 3 }) });
  const collection = hit.collection === "default" ? "" : hit.collection;
  return [spotOf(hit), hit.section, collection, score].filter(Boolean).join(" · ");
}

function spotOf({ page_start: from, page_end: to, slide, sheet, time_start: time }) {
  if (slide) return word("slide", { slide });
  if (sheet) return word("sheet", { sheet });
  if (typeof time === "number") return clockOf(time);
  if (from === null || from === undefined) return "";
  return word(to && to !== from ? "page_many" : "page_one", { from, to });
}

// A card shows five lines; a match further down would be cut off.
function startedNear(text, query) {
  const [before, match] = highlighted(text, query);
  if (!match || before.length < 300) return text;
  const start = text.lastIndexOf(" ", before.length - 120);
  return `… ${text.slice(Math.max(start, 0)).trimStart()}`;
}

function forget(documentId) {
  if (!shown) return;
  shown.hits = shown.hits.filter((hit) => hit.document_id !== documentId);
  draw();
}

async function openPassage(hit, query) {
  opened = hit;
  byId("passage-title").textContent = hit.name;
  byId("passage-place").textContent = [spotOf(hit), hit.section].filter(Boolean).join(" · ");
  byId("passage-problem").textContent = "";
  // The passage itself is here already; what stands around it follows.
  drawPassage([hit], hit, query);
  byId("passage").showModal();
  showPaper(hit);
  try {
    const chunks = await chunksAround(hit);
    if (opened === hit && chunks.length) drawPassage(chunks, hit, query);
  } catch (error) {
    byId("passage-problem").textContent = error.message;
  }
}

async function chunksAround(hit) {
  const near = [];
  let cursor = null;
  do {
    const query = `limit=${CHUNKS_PER_PAGE}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`;
    const page = await ask(`/v1/documents/${encodeURIComponent(hit.document_id)}/chunks?${query}`);
    near.push(...page.data.filter((one) => Math.abs(one.chunk - hit.chunk) <= AROUND));
    cursor = page.data.at(-1)?.chunk >= hit.chunk + AROUND ? null : page.next_cursor;
  } while (cursor && opened === hit);
  return near;
}

function drawPassage(chunks, hit, query) {
  const place = chunks.findIndex((chunk) => chunk.chunk === hit.chunk);
  const texts = chunks.map((chunk, index) => withoutOverlap(chunks, index, place));
  const blocks = chunks.map((chunk, index) => blockOf({ ...chunk, text: texts[index] }, index === place ? query : ""));
  byId("passage-text").replaceChildren(...blocks);
  const found = byId("passage-text").querySelector(".found");
  found?.scrollIntoView({ block: "center" });
}

// Neighbouring chunks share some text; the passage that was found is shown whole, the others without that.
function withoutOverlap(chunks, index, place) {
  const { text } = chunks[index];
  if (index < place) return text.slice(0, text.length - sharedLength(text, chunks[index + 1].text));
  if (index > place) return text.slice(sharedLength(chunks[index - 1].text, text));
  return text;
}

function sharedLength(before, after) {
  for (let length = Math.min(before.length, after.length, 1000); length > 0; length -= 1) {
    if (before.endsWith(after.slice(0, length))) return length;
  }
  return 0;
}

function blockOf(chunk, query) {
  const block = element("div", query ? "around found" : "around");
  const label = [spotOf(chunk), chunk.section].filter(Boolean).join(" · ");
  block.append(element("span", "label", label || word("chunk", { number: chunk.chunk })));
  block.append(...highlighted(chunk.text, query));
  return block;
}

async function downloadOpened() {
  const button = byId("passage-download");
  button.disabled = true;
  try {
    await downloadOriginal(opened.document_id, opened.name);
  } catch (error) {
    byId("passage-problem").textContent = error.message || word("offline");
  }
  button.disabled = false;
}
