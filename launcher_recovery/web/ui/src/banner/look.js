// Elements in the launcher's own pages: in shadow trees, so that neither side's styles reach the other.

import { Drawn } from "../element.js";
import { isDark } from "./places.js";

const sheet = new CSSStyleSheet(); // which a policy against inline styles allows

/** Fetch the style; to be awaited before anything is shown. */
export async function dress(home) {
  const answer = await fetch(new URL(GUEST_STYLE, home));
  if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
  sheet.replaceSync(await answer.text());
}

export class Guest extends Drawn {
  constructor() {
    super();
    this.root = this.attachShadow({ mode: "open" });
    this.root.adoptedStyleSheets = [sheet];
  }

  /** The launcher is not told of what fails here: it is drawn again with the next look. */
  requestUpdate() {
    return super.requestUpdate().catch(() => {});
  }

  /** The classes of its box, by the page around it. */
  look(kind, state) {
    return `${kind} ${state}${isDark(this.parentElement ?? document.body) ? " dark" : ""}`;
  }
}
