// The page's own words in both languages; what the gateway says comes from the gateway.

const WORDS = {
  en: {
    skip_to_search: "Skip to search", jump: "Parts of this page", claim: "Documents in, passages out", change_key: "Change key",
    offline: "The gateway does not answer. Trying again …",
    small_model: "The small local model (wordllama) is in use. It is good enough to try Sluice, not to judge how well it finds: it is weak in languages other than English.",
    key_title: "Your API key", key_why: "It stays in this tab and is sent only to this gateway. A local stack prints it when it starts.",
    key_label: "API key", key_use: "Continue", key_wrong: "The gateway does not accept this key.",
    documents: "Documents", drop_choose: "Choose files", drop_or: "or drop them here",
    drop_formats: "PDF, Word, Excel, PowerPoint, HWP, mail, HTML, text, recordings and more", upload_into: "Into collection",
    upload_pictures: "Also read pictures and scans", upload_pictures_cost: "takes longer",
    no_documents: "Nothing here yet. Upload a document to begin.", show_more: "Show more",
    search: "Search", query_label: "What are you looking for?", query_hint: "Ask a question or type some words",
    search_do: "Search", mode: "Find by", mode_hybrid: "meaning and words", mode_dense: "meaning", mode_lexical: "words",
    search_in: "in", all_collections: "all collections",
    search_blank: "Ask in your own words. The passages that fit best appear here, with the page they stand on.",
    searching: "Searching …", nothing_found: "Nothing found. Try other words, or another way to find.",
    found_one: "1 passage, {seconds} s", found_many: "{count} passages, {seconds} s",
    close: "Close", paper: "The page", paper_of: "Page {page} of {name}", download: "Download the original", keep: "Keep it", delete: "Delete", cancel: "Cancel", retry: "Retry",
    dismiss: "Dismiss", delete_title: "Delete this document?",
    delete_why: "From this moment no search finds it any more. This cannot be undone.",
    page_one: "page {from}", page_many: "pages {from}–{to}", slide: "slide {slide}", sheet: "sheet {sheet}", score: "score {score}", chunk: "passage {number}",
    pages_one: "1 page", pages_many: "{count} pages", chunks_one: "1 chunk", chunks_many: "{count} chunks",
    eta: "about {time} left", seconds: "{count} s", minutes: "{count} min", position: "number {count} in the queue",
    status_uploading: "Uploading", status_refused: "Not accepted", status_queued: "Waiting", status_processing: "Processing",
    stage_received: "Received", stage_extracting: "Reading", stage_embedding: "Embedding", stage_done: "Finishing",
    status_ready: "Ready", status_failed: "Failed", status_cancelled: "Cancelled",
    already_there: "The same file was already here.", upload_cut: "The upload broke off. Check the connection.",
    said_ready: "{name} is ready.", said_failed: "{name} failed. {why}", said_deleted: "{name} was deleted.",
    said_uploading: "Uploading {name}.", progress_of: "Progress of {name}", act_on: "{act}: {name}",
    warnings_one: "1 warning", warnings_many: "{count} warnings", previous_version_served: "The previous version can still be found.",
    loading: "Loading …", failed_request: "The gateway refused this ({code}).",
    analysis: "Analysis", analysis_duration: "Duration", analysis_loudness: "Loudness", analysis_speech: "Speech",
    analysis_silence: "Silence", analysis_clipped: "Clipped", analysis_labels: "Labels", analysis_left_out: "Left out",
  },
  ko: {
    skip_to_search: "검색으로 건너뛰기", jump: "이 페이지의 구역", claim: "문서를 넣으면 답을 찾습니다", change_key: "키 변경",
    offline: "게이트웨이가 응답하지 않습니다. 다시 시도하고 있습니다 …",
    small_model: "작은 로컬 모델(wordllama)을 사용하고 있습니다. Sluice를 시험해 보기 위한 것으로, 한국어 의미 검색에는 약하므로 검색 품질을 판단하기에는 적합하지 않습니다.",
    key_title: "API 키", key_why: "키는 이 탭에만 보관되며 이 게이트웨이로만 전송됩니다. 로컬 스택은 시작할 때 키를 출력합니다.",
    key_label: "API 키", key_use: "계속", key_wrong: "게이트웨이가 이 키를 받아들이지 않습니다.",
    documents: "문서", drop_choose: "파일 선택", drop_or: "또는 여기에 끌어다 놓기",
    drop_formats: "PDF, Word, Excel, PowerPoint, 한글, 메일, HTML, 텍스트, 녹음 등", upload_into: "컬렉션",
    upload_pictures: "그림과 스캔의 글자도 읽기", upload_pictures_cost: "더 오래 걸림",
    no_documents: "아직 문서가 없습니다. 문서를 올려 시작하세요.", show_more: "더 보기",
    search: "검색", query_label: "무엇을 찾고 있나요?", query_hint: "질문이나 단어를 입력하세요",
    search_do: "검색", mode: "검색 방식", mode_hybrid: "의미와 단어", mode_dense: "의미", mode_lexical: "단어",
    search_in: "범위", all_collections: "모든 컬렉션",
    search_blank: "자유롭게 질문해 보세요. 가장 알맞은 구절이 쪽 번호와 함께 여기에 나타납니다.",
    searching: "검색하고 있습니다 …", nothing_found: "찾지 못했습니다. 다른 단어나 다른 검색 방식으로 시도해 보세요.",
    found_one: "구절 1개, {seconds}초", found_many: "구절 {count}개, {seconds}초",
    close: "닫기", paper: "쪽 이미지", paper_of: "{name} {page}쪽", download: "원본 내려받기", keep: "그대로 두기", delete: "삭제", cancel: "취소", retry: "다시 시도",
    dismiss: "지우기", delete_title: "이 문서를 삭제할까요?",
    delete_why: "이 순간부터 어떤 검색에도 나타나지 않습니다. 되돌릴 수 없습니다.",
    page_one: "{from}쪽", page_many: "{from}–{to}쪽", slide: "슬라이드 {slide}", sheet: "시트 {sheet}", score: "점수 {score}", chunk: "구절 {number}",
    pages_one: "1쪽", pages_many: "{count}쪽", chunks_one: "청크 1개", chunks_many: "청크 {count}개",
    eta: "약 {time} 남음", seconds: "{count}초", minutes: "{count}분", position: "대기열 {count}번째",
    status_uploading: "올리는 중", status_refused: "거부됨", status_queued: "대기 중", status_processing: "처리 중",
    stage_received: "접수됨", stage_extracting: "읽는 중", stage_embedding: "임베딩 중", stage_done: "마무리 중",
    status_ready: "완료", status_failed: "실패", status_cancelled: "취소됨",
    already_there: "같은 파일이 이미 있습니다.", upload_cut: "업로드가 중단되었습니다. 연결을 확인해 주세요.",
    said_ready: "{name} 처리가 완료되었습니다.", said_failed: "{name} 처리에 실패했습니다. {why}", said_deleted: "{name} 문서를 삭제했습니다.",
    said_uploading: "{name} 파일을 올리고 있습니다.", progress_of: "{name} 진행률", act_on: "{act}: {name}",
    warnings_one: "경고 1개", warnings_many: "경고 {count}개", previous_version_served: "이전 버전은 계속 검색됩니다.",
    loading: "불러오는 중 …", failed_request: "게이트웨이가 요청을 거부했습니다 ({code}).",
    analysis: "분석", analysis_duration: "길이", analysis_loudness: "음량", analysis_speech: "말소리",
    analysis_silence: "무음", analysis_clipped: "클리핑", analysis_labels: "분류", analysis_left_out: "제외됨",
  },
};

let language = remembered() ?? (navigator.language.toLowerCase().startsWith("ko") ? "ko" : "en");

export function currentLanguage() {
  return language;
}

export function switchLanguage() {
  language = language === "ko" ? "en" : "ko";
  try {
    localStorage.setItem("sluice-language", language);
  } catch {
    // Storage may be forbidden; the choice then lasts as long as the page.
  }
}

export function word(name, values = {}) {
  // A stage or a status that this page does not know yet is shown by its own name.
  return (WORDS[language][name] ?? name.replace(/^(status|stage)_/, "")).replace(/\{(\w+)\}/g, (_, key) => String(values[key] ?? ""));
}

export function counted(name, count) {
  return word(count === 1 ? `${name}_one` : `${name}_many`, { count: count.toLocaleString(language) });
}

export function translatePage(root = document) {
  document.documentElement.lang = language;
  for (const element of root.querySelectorAll("[data-word]")) element.textContent = word(element.dataset.word);
  for (const element of root.querySelectorAll("[data-hint]")) element.placeholder = word(element.dataset.hint);
  for (const element of root.querySelectorAll("[data-label]")) element.setAttribute("aria-label", word(element.dataset.label));
}

export function sizeOf(bytes) {
  const units = ["B", "KB", "MB", "GB"];
  let size = bytes;
  let unit = 0;
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${size.toLocaleString(language, { maximumFractionDigits: unit && size < 10 ? 1 : 0 })} ${units[unit]}`;
}

export function durationOf(seconds) {
  return seconds < 90 ? word("seconds", { count: Math.ceil(seconds) }) : word("minutes", { count: Math.round(seconds / 60) });
}

/** Seconds as a clock shows them: 1:02:03. */
export function clockOf(seconds) {
  const whole = Math.floor(seconds);
  const two = (value) => String(value).padStart(2, "0");
  return `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
}

function remembered() {
  try {
    const kept = localStorage.getItem("sluice-language");
    return kept in WORDS ? kept : null;
  } catch {
    return null;
  }
}
