"use strict";
// Loads the page again, unless somebody has stopped that, has marked a text, or does not look at it.
const button = document.getElementById("pause"), told = document.getElementById("told"), name = "job-live-stopped";
let stopped = false;
try { stopped = sessionStorage.getItem(name) === "yes"; } catch { /* a page without storage starts anew each time */ }
function show() {
  button.textContent = stopped ? "Go on reloading" : "Stop reloading";
  told.textContent = stopped ? "" : "This page loads itself again every RELOAD_SECONDS seconds.";
}
button.hidden = false;
button.addEventListener("click", () => {
  stopped = !stopped;
  try { sessionStorage.setItem(name, stopped ? "yes" : "no"); } catch { /* as above */ }
  show();
});
show();
setInterval(() => {
  if (!stopped && !document.hidden && String(getSelection()) === "") location.reload();
}, RELOAD_SECONDS * 1000);
