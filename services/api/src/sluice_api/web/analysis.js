// What was found out about a recording, below its document.

import { ask } from "./gateway.js";
import { element } from "./elements.js";
import { clockOf, currentLanguage, word } from "./words.js";

const LIKELY = 0.5;

/** Whether there may be an analysis of a document. */
export function isRecording({ status, media_type: type }) {
  return status === "ready" && /^(audio|video)\//.test(type ?? "");
}

/** The analysis as a list of terms and what they are. */
export async function analysisOf(documentId) {
  const found = await ask(`/v1/documents/${encodeURIComponent(documentId)}/analysis`);
  const list = element("dl", "analysis");
  for (const [name, fact] of factsOf(found)) list.append(element("dt", "", word(name)), element("dd", "", fact));
  return list;
}

function factsOf({ duration_s: duration, measures = {}, labels = [], members = [] }) {
  const leftOut = members.filter((one) => one.reason).map((one) => `${one.name} (${one.reason})`);
  const likely = labels.filter((one) => one.confidence >= LIKELY).map((one) => `${one.label} ${percent(one.confidence)}`);
  return [
    ["analysis_duration", clockOf(duration)],
    ["analysis_loudness", measures.loudness_lufs == null ? "" : `${number(measures.loudness_lufs)} LUFS`],
    ["analysis_speech", measures.speech_s == null ? "" : clockOf(measures.speech_s)],
    ["analysis_silence", clockOf(measures.silence_s)],
    ["analysis_clipped", measures.clipped_ratio ? percent(measures.clipped_ratio) : ""],
    ["analysis_labels", likely.join(", ")],
    ["analysis_left_out", leftOut.join(", ")],
  ].filter(([, fact]) => fact);
}

function percent(part) {
  return part.toLocaleString(currentLanguage(), { style: "percent", maximumFractionDigits: part < 0.01 ? 2 : 0 });
}

function number(value) {
  return value.toLocaleString(currentLanguage(), { maximumFractionDigits: 1 });
}
