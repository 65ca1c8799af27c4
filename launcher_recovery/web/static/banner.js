import "./assets/banner-DIPBOHWS.js";
