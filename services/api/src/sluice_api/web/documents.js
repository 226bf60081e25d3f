// The list of documents: uploads on their way and what has been accepted, each kept up to date.

import { act, ask, downloadOriginal, followEvents, Refused, upload } from "./gateway.js";
import { analysisOf, isRecording } from "./analysis.js";
import { byId, element, say, setText } from "./elements.js";
import { counted, durationOf, sizeOf, word } from "./words.js";

const PAGE = 50;
const POLL_MS = 2000;
// A browser opens six connections to one host over HTTP/1.1, for all tabs together.
const STREAMS_AT_ONCE = 2;
const UPLOADS_AT_ONCE = 2;
const UNFINISHED = new Set(["queued", "processing"]);

const rows = new Map();
const streams = new Map();
const waiting = [];
const gone = new Set(); // an answer that was on its way must not bring a deleted document back
let uploading = 0;
let nextCursor = null;
let pollTimer = 0;
let onTrouble = () => {};

export function startDocuments(troubleHandler) {
  onTrouble = troubleHandler;
  byId("files").addEventListener("change", (event) => {
    uploadAll([...event.target.files]);
    event.target.value = "";
  });
  byId("more-documents").addEventListener("click", () => load(nextCursor));
  document.addEventListener("visibilitychange", followWhatMoves);
  listenForDrops();
}

export async function load(cursor = null) {
  await guarded(async () => {
    const page = await ask(`/v1/documents?limit=${PAGE}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
    for (const one of page.data) show(one, "end");
    nextCursor = page.next_cursor;
    settleList();
  });
}

export async function refresh() {
  await guarded(async () => {
    const page = await ask(`/v1/documents?limit=${PAGE}`);
    for (const one of [...page.data].reverse()) show(one, "start");
    // What moves further down the list than its first page is asked for by itself.
    const seen = new Set(page.data.map((one) => one.id));
    await Promise.all([...rows.values()].filter((row) => row.moves() && !seen.has(row.id)).map((row) => look(row.id)));
    settleList();
  });
}

export function redraw() {
  for (const row of rows.values()) row.draw();
  drawCount();
}

export function forgetAll() {
  for (const controller of streams.values()) controller.abort();
  for (const row of rows.values()) row.node.remove();
  rows.clear();
  clearTimeout(pollTimer);
}

class Row {
  constructor(id) {
    this.id = id;
    this.document = null;
    this.note = "";
    this.node = element("li", "document");
    this.name = element("h3", "document-name");
    this.badge = element("span", "badge");
    this.bar = element("div", "document-bar");
    this.progress = element("progress");
    this.percent = element("span", "percent");
    this.message = element("p", "document-facts");
    this.facts = element("p", "document-facts");
    this.problem = element("p", "document-problem");
    this.remedy = element("p", "document-remedy");
    this.actions = element("div", "document-actions");
    this.analysis = element("div", "document-analysis");
    this.progress.max = 100;
    this.bar.append(this.progress, this.percent);
    const head = element("div", "document-head");
    head.append(this.name, this.badge);
    this.node.append(head, this.bar, this.message, this.facts, this.problem, this.remedy, this.actions, this.analysis);
  }

  moves() {
    return UNFINISHED.has(this.document?.status);
  }

  show(document) {
    const before = this.document?.status;
    this.document = document;
    this.node.dataset.id = document.id ?? "";
    this.node.dataset.status = document.status;
    this.draw();
    if (before && before !== document.status) announce(document);
  }

  draw() {
    const { name, status, error } = this.document;
    this.name.textContent = name;
    this.badge.dataset.status = status;
    setText(this.badge, statusWord(this.document));
    this.drawProgress();
    setText(this.message, this.moves() ? messageOf(this.document) : "");
    setText(this.facts, factsOf(this.document, this.note));
    setText(this.problem, error ? error.message || this.document.message || error.code : "");
    setText(this.remedy, error?.remedy ?? "");
    this.drawActions();
    if (!isRecording(this.document)) this.analysis.replaceChildren();
  }

  /** Shows what was found out about a recording, or hides it again. */
  async toggleAnalysis() {
    if (this.analysis.firstChild) this.analysis.replaceChildren();
    else await guarded(async () => this.analysis.replaceChildren(await analysisOf(this.id)));
    const isShown = Boolean(this.analysis.firstChild);
    this.actions.querySelector('[data-act="analysis"]')?.setAttribute("aria-expanded", String(isShown));
  }

  drawProgress() {
    const { name, status, progress } = this.document;
    const percent = progress?.percent ?? 0;
    this.bar.hidden = !(this.moves() || status === "uploading");
    this.progress.value = percent;
    this.progress.setAttribute("aria-label", word("progress_of", { name }));
    this.percent.textContent = `${percent} %`;
  }

  drawActions() {
    const acts = actsFor(this);
    const wanted = acts.map(({ act: name }) => word(name)).join("|");
    if (this.actions.dataset.wanted === wanted) return; // a focused button must not be taken away
    this.actions.dataset.wanted = wanted;
    this.actions.replaceChildren(...acts.map((one) => this.button(one)));
  }

  button({ act: name, run }) {
    const made = element("button", "", word(name));
    made.type = "button";
    made.dataset.act = name;
    made.setAttribute("aria-label", word("act_on", { act: word(name), name: this.document.name }));
    made.addEventListener("click", run);
    return made;
  }

  remove() {
    const next = this.node.nextElementSibling ?? this.node.previousElementSibling;
    const had = this.node.contains(document.activeElement);
    this.node.remove();
    rows.delete(this.id);
    streams.get(this.id)?.abort();
    if (had) (next?.querySelector("button") ?? byId("files")).focus();
    settleList();
  }
}

function actsFor(row) {
  const { status } = row.document;
  if (status === "uploading") return [{ act: "cancel", run: () => row.abort() }];
  if (status === "refused") return [{ act: "retry", run: () => row.again() }, { act: "dismiss", run: () => row.remove() }];
  const acts = [{ act: "delete", run: () => confirmDelete(row) }];
  if (UNFINISHED.has(status)) acts.unshift({ act: "cancel", run: () => change(row, "cancel") });
  if (status === "failed" || status === "cancelled") acts.unshift({ act: "retry", run: () => change(row, "retry") });
  if (status === "ready") acts.unshift({ act: "download", run: () => row.download() });
  if (isRecording(row.document)) acts.unshift({ act: "analysis", run: () => row.toggleAnalysis() });
  return acts;
}

function statusWord({ status, stage }) {
  return word(status === "processing" && stage ? `stage_${stage}` : `status_${status}`);
}

function messageOf({ message, progress }) {
  const parts = [message];
  if (progress?.queue_position) parts.push(word("position", { count: progress.queue_position }));
  if (progress?.eta_seconds) parts.push(word("eta", { time: durationOf(progress.eta_seconds) }));
  return parts.filter(Boolean).join(" · ");
}

function factsOf(one, note) {
  const pages = one.progress?.pages?.total;
  const parts = [one.bytes && !UNFINISHED.has(one.status) ? sizeOf(one.bytes) : ""];
  if (one.collection && one.collection !== "default") parts.unshift(one.collection);
  if (one.status === "ready" && pages) parts.push(counted("pages", pages));
  if (one.status === "ready" && one.total_chunks) parts.push(counted("chunks", one.total_chunks));
  if (one.warnings?.length) parts.push(warningsOf(one.warnings));
  if (note) parts.push(word(note));
  return parts.filter(Boolean).join(" · ");
}

function warningsOf(warnings) {
  const served = warnings.some((one) => (one.code ?? one) === "previous_version_served");
  return served ? word("previous_version_served") : counted("warnings", warnings.length);
}

function announce(one) {
  if (one.status === "ready") say(word("said_ready", { name: one.name }));
  if (one.status === "failed") say(word("said_failed", { name: one.name, why: one.error?.message ?? "" }));
}

// What has been accepted

function show(one, place) {
  if (gone.has(one.id) || one.status === "deleting") return;
  let row = rows.get(one.id);
  if (!row) {
    row = new Row(one.id);
    row.download = () => guarded(() => downloadOriginal(row.id, row.document.name));
    rows.set(one.id, row);
    if (place === "end") byId("document-list").append(row.node);
    else byId("document-list").prepend(row.node);
  }
  row.show(one);
}

async function look(id) {
  try {
    show(await ask(`/v1/documents/${encodeURIComponent(id)}`), "start");
  } catch (error) {
    if (!(error instanceof Refused) || (error.status !== 410 && error.status !== 404)) throw error;
    rows.get(id)?.remove();
  }
  settleList();
}

async function change(row, action) {
  await guarded(async () => {
    row.show(await act(`/v1/documents/${encodeURIComponent(row.id)}/${action}`));
    settleList();
  });
}

function confirmDelete(row) {
  const dialog = byId("confirm");
  byId("confirm-name").textContent = row.document.name;
  byId("confirm-no").onclick = () => dialog.close();
  byId("confirm-yes").onclick = async () => {
    dialog.close();
    await guarded(async () => {
      await ask(`/v1/documents/${encodeURIComponent(row.id)}`, { method: "DELETE" });
      say(word("said_deleted", { name: row.document.name }));
      gone.add(row.id);
      row.remove();
      document.dispatchEvent(new CustomEvent("document-deleted", { detail: row.id }));
    });
  };
  dialog.showModal();
}

function settleList() {
  drawCount();
  byId("no-documents").hidden = rows.size > 0;
  byId("more-documents").hidden = !nextCursor;
  const models = [...rows.values()].map((row) => row.document.embedding?.model ?? "");
  byId("small-model").hidden = !models.some((model) => model.startsWith("wordllama"));
  followWhatMoves();
}

function drawCount() {
  byId("documents-count").textContent = rows.size ? `${rows.size}${nextCursor ? "+" : ""}` : "";
}

// Following: a few by their event streams, all by polling while something is not streamed

function followWhatMoves() {
  const moving = [...rows.values()].filter((row) => row.moves());
  for (const [id, controller] of streams) {
    if (document.hidden || !rows.get(id)?.moves()) controller.abort();
  }
  if (!document.hidden) {
    for (const row of moving) if (streams.size < STREAMS_AT_ONCE && !streams.has(row.id) && !row.streamless) follow(row);
  }
  clearTimeout(pollTimer);
  if (moving.some((row) => !streams.has(row.id))) pollTimer = setTimeout(refresh, POLL_MS);
}

async function follow(row) {
  const controller = new AbortController();
  streams.set(row.id, controller);
  try {
    await followEvents(row.id, () => guarded(() => look(row.id)), controller.signal);
  } catch {
    // Polling goes on where the stream cannot be had.
  }
  row.streamless = !controller.signal.aborted;
  streams.delete(row.id);
  followWhatMoves();
}

// Uploads

function uploadAll(files) {
  const collection = byId("upload-into").hidden ? "" : byId("upload-collection").value;
  for (const file of files) queueUpload(file, collection);
  settleList();
  uploadNext();
}

let lastUpload = 0;

function queueUpload(file, collection) {
  lastUpload += 1;
  const row = new Row(`upload-${lastUpload}`);
  const start = { name: file.name.normalize("NFC"), bytes: file.size, status: "uploading", progress: { percent: 0 } };
  rows.set(row.id, row);
  row.abort = () => row.remove();
  row.again = () => {
    row.remove();
    uploadAll([file]);
  };
  row.show(start);
  byId("document-list").prepend(row.node);
  waiting.push({ row, file, into: { collection, withPictures: byId("upload-pictures").checked }, start });
}

function uploadNext() {
  while (uploading < UPLOADS_AT_ONCE && waiting.length) {
    const next = waiting.shift();
    if (rows.has(next.row.id)) uploadOne(next);
  }
}

async function uploadOne({ row, file, into, start }) {
  uploading += 1;
  say(word("said_uploading", { name: start.name }));
  const sending = upload(file, into, (percent) => row.show({ ...start, progress: { percent } }));
  row.abort = () => {
    sending.abort();
    row.remove();
  };
  try {
    const answer = await sending.done;
    if (answer) accepted(row, answer);
  } catch (error) {
    refused(row, start, error);
  }
  uploading -= 1;
  uploadNext();
}

function accepted(row, answer) {
  row.remove();
  show(answer.document, "start");
  if (answer.alreadyThere) {
    const there = rows.get(answer.document.id);
    there.note = "already_there";
    there.draw();
    byId("document-list").prepend(there.node);
  }
  settleList();
}

function refused(row, start, error) {
  if (error instanceof Refused && error.status === 401) onTrouble(error);
  const message = error instanceof Refused ? error.message || word("failed_request", { code: error.code }) : word("upload_cut");
  row.show({ ...start, status: "refused", error: { code: error.code ?? "", message, remedy: error.remedy } });
}

// Drops, of folders too

function listenForDrops() {
  const drop = byId("drop");
  let depth = 0;
  const mark = () => drop.classList.toggle("over", depth > 0);
  document.addEventListener("dragenter", (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    depth += 1;
    mark();
  });
  document.addEventListener("dragleave", () => {
    depth = Math.max(0, depth - 1);
    mark();
  });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    depth = 0;
    mark();
    if (!byId("work").hidden) uploadAll(await droppedFiles(event.dataTransfer));
  });
}

async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files];
  const found = await Promise.all(entries.map(filesIn));
  return found.flat();
}

async function filesIn(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const files = [];
  // readEntries gives at most a hundred at a time, and nothing when there are no more.
  for (;;) {
    const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!entries.length) return files;
    for (const one of entries) files.push(...(await filesIn(one)));
  }
}

async function guarded(work) {
  try {
    await work();
    onTrouble(null);
  } catch (error) {
    onTrouble(error);
  }
}
