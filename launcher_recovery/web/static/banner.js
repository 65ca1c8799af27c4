import "./assets/banner-XJU5UQF2.js";
