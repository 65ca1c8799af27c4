import "./assets/banner-A5CAKCWM.js";
