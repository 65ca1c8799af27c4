import "./assets/banner-2LC2E6VC.js";
