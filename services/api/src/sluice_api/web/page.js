// The page: the key, the language, and what joins the documents with the search.

import { forgetAll, load, redraw, refresh, startDocuments } from "./documents.js";
import { byId, fillChoices } from "./elements.js";
import { ask, forgetKey, Refused, rememberKey, takeKey, Unreachable } from "./gateway.js";
import { forgetResults, redrawResults, startSearch } from "./search.js";
import { currentLanguage, switchLanguage, translatePage, word } from "./words.js";

const AGAIN_MS = 3000;
let collections = [];
let againTimer = 0;

function start() {
  translate();
  byId("language").addEventListener("click", changeLanguage);
  byId("change-key").addEventListener("click", () => signOut(""));
  byId("key-form").addEventListener("submit", useKey);
  addEventListener("hashchange", () => location.hash.startsWith("#key=") && takeKey() && open());
  startDocuments(onTrouble);
  startSearch(onTrouble);
  if (takeKey()) open();
  else signOut("");
}

async function open() {
  forgetAll();
  byId("sign-in").hidden = true;
  byId("work").hidden = byId("jump").hidden = false;
  byId("change-key").hidden = false;
  await load();
  await loadCollections();
}

function useKey(event) {
  event.preventDefault();
  rememberKey(byId("key").value.trim());
  byId("key").value = "";
  byId("key-problem").textContent = "";
  open();
}

function signOut(problem) {
  forgetKey();
  forgetAll();
  forgetResults();
  byId("work").hidden = byId("jump").hidden = true;
  byId("change-key").hidden = true;
  byId("sign-in").hidden = false;
  byId("key-problem").textContent = problem;
  byId("key").focus();
}

async function loadCollections() {
  try {
    collections = (await ask("/v1/collections?limit=100")).data.map((one) => one.name);
  } catch (error) {
    onTrouble(error);
  }
  drawCollections();
}

function drawCollections() {
  const named = collections.map((name) => ({ value: name, text: name }));
  fillChoices(byId("upload-collection"), named);
  fillChoices(byId("search-collection"), [{ value: "", text: word("all_collections") }, ...named]);
  byId("upload-into").hidden = byId("search-in").hidden = collections.length < 2;
}

function changeLanguage() {
  switchLanguage();
  translate();
  drawCollections();
  redraw();
  redrawResults();
  // The gateway's own sentences follow the language too.
  if (!byId("work").hidden) refresh();
}

function translate() {
  translatePage();
  const isKorean = currentLanguage() === "ko";
  byId("language").textContent = isKorean ? "English" : "한국어";
  byId("language").lang = isKorean ? "en" : "ko";
}

/** Told of every request: null when it went well. */
function onTrouble(error) {
  if (error instanceof Refused && error.status === 401) {
    signOut(word("key_wrong"));
    return;
  }
  const isOffline = error instanceof Unreachable || (error instanceof Refused && error.status === 503);
  byId("offline").hidden = !isOffline;
  clearTimeout(againTimer);
  if (isOffline) againTimer = setTimeout(refresh, AGAIN_MS);
}

start();
