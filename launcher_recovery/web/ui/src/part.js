// What the elements of the page have in common.

import { noChange, nothing } from "lit-html";
import { Directive, directive } from "lit-html/directive.js";
import { Drawn } from "./element.js";

export { html, nothing, svg } from "lit-html";

const connected = new Set();

/** An element of the recovery page itself: without a shadow tree, so that one style sheet and all labels reach it. */
export class Part extends Drawn {
  connectedCallback() {
    super.connectedCallback();
    connected.add(this);
  }

  disconnectedCallback() {
    connected.delete(this);
  }
}

/** Draw all parts of the page anew, for another language. */
export const redrawAll = () => connected.forEach((part) => part.requestUpdate());

/** Custom properties of an element: `<div ${vars({ "--done": "5%" })}>`, which a policy against inline styles allows. */
export const vars = directive(
  class extends Directive {
    render() {
      return nothing;
    }

    update({ element }, [values]) {
      for (const [name, value] of Object.entries(values)) element.style.setProperty(name, value);
      return noChange;
    }
  },
);
