// Upload a file, poll its status until it is ready, then search in it: Node 20, no packages.
//
//   node examples/poll.mjs FILE QUERY [--url URL] [--key KEY] [--timeout SECONDS]

import { randomUUID } from "node:crypto";
import { openAsBlob } from "node:fs";
import { basename } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";

const POLL_MS = 500;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    url: { type: "string", default: process.env.SLUICE_URL ?? "http://127.0.0.1:8000" },
    key: { type: "string", default: process.env.SLUICE_API_KEY ?? "" },
    timeout: { type: "string", default: "300" },
  },
});
const [file, query] = positionals;
if (!file || !query || !values.key) {
  console.error("usage: node examples/poll.mjs FILE QUERY [--url URL] [--key KEY], or set SLUICE_API_KEY");
  process.exit(2);
}

async function ask(path, options = {}) {
  const headers = { Authorization: `Bearer ${values.key}`, ...options.headers };
  const answer = await fetch(new URL(path, values.url), { ...options, headers });
  const body = await answer.json();
  if (!answer.ok) throw new Error(`${answer.status} ${body.code}: ${body.detail}`);
  return body;
}

// The blob is read from the disk while it is sent.
async function upload(path) {
  const form = new FormData();
  form.append("file", await openAsBlob(path), basename(path).normalize("NFC"));
  // The key makes it safe to send the same request again when no answer came.
  const document = await ask("/v1/documents", { method: "POST", body: form, headers: { "Idempotency-Key": randomUUID() } });
  console.log(`uploaded ${document.name} as ${document.id}`);
  return document.id;
}

async function pollUntilEnded(id) {
  const deadline = Date.now() + 1000 * Number(values.timeout);
  let shown = "";
  while (Date.now() < deadline) {
    const status = await ask(`/v1/documents/${id}/status`);
    const line = `${String(status.progress).padStart(3)} %  ${status.status}  ${status.stage}`;
    if (line !== shown) console.log(line);
    shown = line;
    if (["ready", "failed", "cancelled"].includes(status.status)) return status;
    await pause(POLL_MS);
  }
  throw new Error("the document was still unfinished when the time was over");
}

async function search(words) {
  const body = JSON.stringify({ query: words, top_k: 3 });
  const { results } = await ask("/v1/search", { method: "POST", body, headers: { "Content-Type": "application/json" } });
  for (const hit of results) {
    const page = hit.page_start ? `, page ${hit.page_start}` : "";
    console.log(`${hit.score.toFixed(3)}  ${hit.name}${page}: ${hit.text.split(/\s+/).join(" ").slice(0, 160)}`);
  }
}

const status = await pollUntilEnded(await upload(file));
if (status.status === "ready") {
  await search(query);
} else {
  console.log(`${status.status}: ${status.error?.code}: ${status.error?.message} ${status.error?.remedy}`);
  process.exitCode = 1;
}
