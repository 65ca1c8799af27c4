import "./assets/banner-6J52SZQ3.js";
