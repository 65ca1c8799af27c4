import "./assets/banner-2NZPIPY3.js";
