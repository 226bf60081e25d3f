// The page that a hit stands on, with the hit marked.

import { pageImage } from "./gateway.js";
import { byId, element } from "./elements.js";
import { word } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const POINTS_PER_INCH = 72;

let showing = null;

export function hidePaper() {
  showing?.abort();
  showing = null;
  const image = byId("paper").querySelector("img");
  if (image) URL.revokeObjectURL(image.src);
  byId("paper").replaceChildren();
  byId("paper").hidden = true;
}

/** Show the first page of the hit and let its others be chosen; nothing where a hit has no place on paper. */
export function showPaper(hit) {
  hidePaper();
  const boxes = hit.boxes ?? [];
  if (boxes.length) showPage(hit, boxes, 0);
}

async function showPage(hit, boxes, at) {
  showing?.abort();
  const mine = (showing = new AbortController());
  const paper = byId("paper");
  paper.hidden = false;
  paper.setAttribute("aria-busy", "true");
  try {
    const { address, dpi } = await pageImage(hit.document_id, boxes[at].page, mine.signal);
    if (mine !== showing) return URL.revokeObjectURL(address);
    const image = Object.assign(element("img"), { src: address, alt: word("paper_of", { page: boxes[at].page, name: hit.name }) });
    await image.decode();
    if (mine !== showing) return URL.revokeObjectURL(address);
    const old = paper.querySelector("img");
    if (old) URL.revokeObjectURL(old.src);
    paper.replaceChildren(...choicesOf(hit, boxes, at), sheetOf(image, boxes[at].rects, dpi));
    paper.querySelector(".paper-marks rect")?.scrollIntoView({ block: "center" });
  } catch (error) {
    // The words of the passage are there; a page that cannot be drawn is no reason to disturb anybody.
    if (mine === showing) hidePaper();
  } finally {
    paper.removeAttribute("aria-busy");
  }
}

function choicesOf(hit, boxes, at) {
  if (boxes.length < 2) return [];
  const row = element("div", "paper-pages");
  row.append(
    ...boxes.map(({ page }, index) => {
      const choice = element("button", "quiet", word("page_one", { from: page }));
      choice.type = "button";
      choice.setAttribute("aria-pressed", String(index === at));
      choice.addEventListener("click", async () => {
        await showPage(hit, boxes, index);
        byId("paper").querySelectorAll(".paper-pages button")[index]?.focus();
      });
      return choice;
    }),
  );
  return [row];
}

function sheetOf(image, rects, dpi) {
  const marks = document.createElementNS(SVG, "svg");
  marks.setAttribute("class", "paper-marks");
  marks.setAttribute("aria-hidden", "true");
  const scale = dpi / POINTS_PER_INCH;
  marks.setAttribute("viewBox", `0 0 ${image.naturalWidth / scale} ${image.naturalHeight / scale}`);
  for (const [x0, y0, x1, y1] of rects) {
    const mark = document.createElementNS(SVG, "rect");
    const sides = { x: x0 - 1, y: y0 - 1, width: x1 - x0 + 2, height: y1 - y0 + 2, rx: 1.5 };
    for (const [name, value] of Object.entries(sides)) mark.setAttribute(name, String(value));
    marks.append(mark);
  }
  const sheet = element("div", "paper-sheet");
  sheet.append(image, marks);
  return sheet;
}
