// Everything the page asks of the gateway.

import { currentLanguage } from "./words.js";

const KEY = "sluice-key";
const RECONNECT_MS = 1000;
let key = null;

export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || "");
    this.status = status;
    this.code = problem.code || `http_${status}`;
    this.remedy = problem.remedy || "";
  }
}

export class Unreachable extends Error {}

/** The key from the address bar (taken out of it), else the one this tab has used before. */
export function takeKey() {
  const given = new URLSearchParams(location.hash.slice(1)).get("key");
  if (given) {
    history.replaceState(null, "", location.pathname + location.search);
    rememberKey(given);
  }
  key = key ?? sessionStorage.getItem(KEY);
  return key;
}

export function rememberKey(given) {
  key = given;
  sessionStorage.setItem(KEY, given);
}

export function forgetKey() {
  key = null;
  sessionStorage.removeItem(KEY);
}

export async function ask(path, { method = "GET", body, headers = {}, signal } = {}) {
  const answer = await send(path, {
    method,
    signal,
    headers: { ...common(), ...(body ? { "Content-Type": "application/json" } : {}), ...headers },
    body: body ? JSON.stringify(body) : undefined,
  });
  const text = await answer.text();
  return text ? JSON.parse(text) : {};
}

/** A POST that the gateway counts once, also when it arrives twice. */
export function act(path, body) {
  return ask(path, { method: "POST", body, headers: { "Idempotency-Key": freshId() } });
}

export async function downloadOriginal(documentId, name) {
  const answer = await send(`/v1/documents/${encodeURIComponent(documentId)}/content`, { headers: common() });
  const address = URL.createObjectURL(await answer.blob());
  const link = Object.assign(document.createElement("a"), { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** A page as it looks: the address of its image, which is to be revoked, and how many of its pixels are an inch. */
export async function pageImage(documentId, page, signal) {
  const path = `/v1/documents/${encodeURIComponent(documentId)}/pages/${page}.png`;
  for (let tried = 0; ; tried += 1) {
    try {
      const answer = await send(path, { headers: common(), signal });
      return { address: URL.createObjectURL(await answer.blob()), dpi: Number(answer.headers.get("sluice-dpi")) };
    } catch (error) {
      // It is not drawn yet; the gateway has waited five seconds already.
      if (error.status !== 503 || tried >= 2) throw error;
    }
  }
}

/** Upload with real progress, which fetch does not tell. */
export function upload(file, { collection, withPictures }, onProgress) {
  const request = new XMLHttpRequest();
  const done = new Promise((resolve, reject) => {
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) onProgress(Math.floor((100 * event.loaded) / event.total));
    });
    request.addEventListener("load", () => settle(request, resolve, reject));
    request.addEventListener("error", () => reject(new Unreachable()));
    request.addEventListener("abort", () => resolve(null));
  });
  request.open("POST", "/v1/documents");
  for (const [name, value] of Object.entries({ ...common(), "Idempotency-Key": freshId() })) request.setRequestHeader(name, value);
  const form = new FormData();
  // Fields before the file: the gateway knows where it belongs before its first byte.
  if (collection) form.append("collection", collection);
  if (withPictures) form.append("multimodal", "true");
  form.append("file", file, file.name.normalize("NFC"));
  request.send(form);
  return { done, abort: () => request.abort() };
}

/** Calls back for each event of a document until the signal ends it; returns when the stream does. */
export async function followEvents(documentId, onEvent, signal) {
  let lastId = "";
  for (let failures = 0; failures < 3 && !signal.aborted; failures += 1) {
    const headers = { ...common(), Accept: "text/event-stream", ...(lastId ? { "Last-Event-ID": lastId } : {}) };
    const answer = await send(`/v1/documents/${encodeURIComponent(documentId)}/events`, { headers, signal });
    if (!answer.headers.get("Content-Type")?.startsWith("text/event-stream")) throw new Unreachable();
    onEvent(); // what changed before the stream was open
    for await (const block of blocksOf(answer.body)) {
      lastId = /^id: ?(.*)$/m.exec(block)?.[1] ?? lastId;
      if (/^data:/m.test(block)) {
        failures = 0;
        onEvent();
      }
    }
    // A gateway that is stopping ends each stream at once; it must not be asked in a tight loop.
    await new Promise((resolve) => setTimeout(resolve, RECONNECT_MS));
  }
}

async function* blocksOf(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
    rest = blocks.pop();
    yield* blocks;
  }
}

async function send(path, options) {
  let answer;
  try {
    answer = await fetch(path, { credentials: "omit", cache: "no-store", ...options });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Unreachable();
  }
  if (!answer.ok) throw new Refused(answer.status, await problemIn(answer));
  return answer;
}

async function problemIn(answer) {
  try {
    return await answer.json();
  } catch {
    return {};
  }
}

function settle(request, resolve, reject) {
  let body = {};
  try {
    body = JSON.parse(request.responseText);
  } catch {
    // A proxy may answer with a page of its own; the status says enough.
  }
  if (request.status >= 400) reject(new Refused(request.status, body));
  else resolve({ document: body, alreadyThere: request.status === 200 });
}

function common() {
  return { Authorization: `Bearer ${key}`, "Accept-Language": currentLanguage() };
}

// Not crypto.randomUUID: it is missing where the page is served without TLS to another machine.
function freshId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
