import "./assets/banner-FL6DNOOT.js";
