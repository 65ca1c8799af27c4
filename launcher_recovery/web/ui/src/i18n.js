// The words of the page in the language of the person: English is always there, others come when they are wanted.

import english from "./words/en.json";

const KEPT = "launcher-recovery.language";
const OTHERS = { zh: () => import("./words/zh.json") };

let words = english;

/** Language tag → its own name; the first is what is spoken when none fits. */
export const LANGUAGES = { en: "English", zh: "中文" };

/** The language that is spoken. */
export let language = "en";

/** What was chosen on this page before, else the first of the browser's languages that there are words in. */
export function preferred() {
  let chosen = null;
  try {
    chosen = localStorage.getItem(KEPT);
  } catch {
    // not allowed to be kept
  }
  return [chosen, ...navigator.languages].map((tag) => tag?.slice(0, 2).toLowerCase()).find((tag) => tag in LANGUAGES) ?? "en";
}

/** Speak `wanted` from now on; `keep`: also when the page is opened again. */
export async function speak(wanted, keep = false) {
  if (wanted in OTHERS) {
    const { default: own } = await OTHERS[wanted](); // in the order of the English ones
    words = Object.fromEntries(Object.keys(english).map((key, i) => [key, own[i]]));
  } else words = english;
  language = wanted;
  try {
    if (keep) localStorage.setItem(KEPT, wanted);
  } catch {
    // forgotten with the page
  }
}

/** The tag for dates and numbers: the browser's own where it is of the language that is spoken. */
export const locale = () => navigator.languages.find((tag) => tag.startsWith(language)) ?? language;

/** The words of `key`, or `otherwise` where there are none. Of two forms the first is for one, by the parameter `n`. */
export function t(key, params = {}, otherwise = key) {
  let text = words[key] ?? english[key] ?? otherwise;
  if (typeof text !== "string") text = text[params.n === 1 ? 0 : 1];
  return text.replace(/\{(\w+)\}/g, (all, name) => params[name] ?? all);
}
