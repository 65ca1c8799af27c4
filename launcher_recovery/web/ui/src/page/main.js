// Begins the page, in the language of the person.

import { preferred, speak } from "../i18n.js";
import { settle } from "../server.js";
import { App } from "./app.js";

settle(document.baseURI);
await speak(preferred()).catch(() => {}); // then in English
customElements.define("recovery-app", App);
