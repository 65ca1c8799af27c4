// The parts of the page that are not shown at first.

import "./charts.js";
import "./fixes.js";
import "./log.js";
import "./settings.js";
import "./system.js";
