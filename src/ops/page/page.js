// Puts what /events tells into the places of this page, and says so when nothing comes any more.
(() => {
  "use strict";
  const PATIENCE_MS = 5000, PAUSE_MS = 3000, SETTLED_MS = 30000;
  const root = document.documentElement, said = document.getElementById("said");
  const places = [];
  for (const element of document.querySelectorAll("[data-live]"))
    for (const binding of element.dataset.live.split(" ")) {
      const [attribute, name] = binding.split(":");
      places.push([element, attribute, name]);
    }
  let source, silence, pause;

  const put = (id, text) => {
    const element = document.getElementById(id);
    if (element.textContent !== text) element.textContent = text;
  };
  const show = (values) => {
    for (const [element, attribute, name] of places) {
      const value = values[name];
      if (value === undefined) continue;
      if (attribute !== "text") {
        if (element.getAttribute(attribute) !== value) element.setAttribute(attribute, value);
      } else if (element.textContent !== value) element.textContent = value;
    }
  };
  const say = (text) => { if (said.textContent !== text) said.textContent = text; };
  const link = (state, word) => {
    if (root.dataset.link === state) return;
    root.dataset.link = state;
    put("link", word);
    put("asof", state === "live" ? "As of" : "Last heard");
  };
  const lost = () => {
    link("lost", "connection lost");
    say("Connection to the service lost. What is shown is old.");
    // A source that gave up, after an answer that was no stream, does not come back by itself.
    if (source.readyState === EventSource.CLOSED) {
      clearTimeout(pause);
      pause = setTimeout(connect, PAUSE_MS);
    }
  };
  const wait = () => {
    clearTimeout(silence);
    silence = setTimeout(() => { source.close(); lost(); }, PATIENCE_MS);
  };
  function connect() {
    source = new EventSource("/events");
    source.onerror = lost;
    source.addEventListener("hello", ({ data }) => {
      // Another build, or other breakers: this page has not the places. Not at once, should two services share a name.
      if (data !== root.dataset.page && performance.now() > SETTLED_MS) location.reload();
    });
    source.addEventListener("state", ({ data }) => {
      const values = JSON.parse(data);
      show(values);
      link("live", "live");
      say(values.announcement);
      wait();
    });
  }
  connect();
})();
