"use strict";
// Replaces the sections that the server sends, opens trials, and finds points of the chart. The server draws everything.
(() => {
  const element = (id) => document.getElementById(id);
  const dialog = element("trial"), detail = element("detail"), lost = element("lost"), tip = element("tip"), chart = element("rewards");

  // ------------------------------------------------------------------------------------------------------------ updates
  let pressed = false, pending = {};
  const replacePart = (name, html) => {
    const part = element(name);
    if (!part) return;
    const focus = part.contains(document.activeElement) ? document.activeElement.id : "";
    part.innerHTML = html;
    if (focus && element(focus)) element(focus).focus({ preventScroll: true });
    if (name === "rewards") { points = null; if (!tip.hidden) refreshTip(); }
  };
  const flush = () => {
    const parts = pending;
    pending = {};
    for (const [name, html] of Object.entries(parts)) replacePart(name, html);
    if (dialog.open && shown && !isFinal() && Object.keys(parts).length) load(shown, true);
  };
  // No section is replaced while the pointer is pressed, because the click would be lost.
  addEventListener("pointerdown", () => { pressed = true; }, true);
  for (const end of ["pointerup", "pointercancel", "blur"])
    addEventListener(end, () => { pressed = false; setTimeout(flush, 0); }, true);

  // When a search ends, its server says so before it stops; that is not a lost connection.
  const connectionLost = lost.textContent;
  let ended = false;
  const showNotice = (text) => {
    if (lost.textContent !== text) lost.textContent = text;
    lost.className = ended ? "end" : "";
    lost.hidden = false;
  };
  const listen = () => {
    const source = new EventSource("/events?from=" + encodeURIComponent(document.body.dataset.from));
    source.addEventListener("parts", (event) => {
      document.body.dataset.from = event.lastEventId;
      Object.assign(pending, JSON.parse(event.data));
      if (!pressed) flush();
    });
    source.addEventListener("end", (event) => {
      source.close();
      ended = true;
      showNotice(event.data);
      setTimeout(listen, 3000);
    });
    source.onopen = () => { ended = false; lost.hidden = true; };
    source.onerror = () => {
      if (!ended) showNotice(connectionLost);
      if (source.readyState === EventSource.CLOSED) { source.close(); setTimeout(listen, 3000); }
    };
  };
  listen();

  // ------------------------------------------------------------------------------------------------------------- trials
  let shown = 0, opener = "";
  const isFinal = () => ["completed", "pruned", "failed"].includes(detail.querySelector("[data-status]")?.dataset.status);
  const message = (text) => {
    detail.innerHTML = '<header><h2 id="trial-title" tabindex="-1"></h2></header>';
    element("trial-title").textContent = text;
  };
  const load = async (id, reload) => {
    const open = [...detail.querySelectorAll("details")].map((part) => part.open);
    try {
      const answer = await fetch("/fragment/trial/" + id);
      const text = await answer.text();
      if (id !== shown) return;
      if (!answer.ok) return message(answer.status === 404 ? "There is no trial " + id : "Trial " + id + " cannot be read");
      const focus = reload && detail.contains(document.activeElement);
      detail.innerHTML = text;
      if (reload) detail.querySelectorAll("details").forEach((part, index) => { part.open = !!open[index]; });
      if (focus || !reload) element("trial-title").focus({ preventScroll: true });
    } catch {
      if (!reload) message("The server does not answer");
    }
  };
  const route = () => {
    const match = /^#trial-(\d{1,15})$/.exec(location.hash);
    if (!match) { if (dialog.open) dialog.close(); return; }
    shown = Number(match[1]);
    if (!dialog.open) { opener = document.activeElement?.id || ""; message("Trial " + shown); dialog.showModal(); }
    dialog.scrollTop = 0;
    load(shown, false);
  };
  dialog.addEventListener("close", () => {
    shown = 0;
    if (location.hash.startsWith("#trial-")) history.pushState(null, "", location.pathname + location.search);
    if (opener && element(opener)) element(opener).focus({ preventScroll: true });
  });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  addEventListener("hashchange", route);
  addEventListener("popstate", route);
  document.addEventListener("click", (event) => {
    const row = event.target.closest("[data-trial]");
    if (row && !event.target.closest("a") && !String(getSelection())) location.hash = "trial-" + row.dataset.trial;
  });
  element("find").addEventListener("submit", (event) => {
    event.preventDefault();
    location.hash = "trial-" + Number(element("wanted").value);
  });
  route();

  // ------------------------------------------------------------------------------------------------- points of the chart
  // Each point is [trial, reward, x, y], x and y as fractions of width and height. They are loaded when the pointer enters the chart.
  let points = null, request = null, selected = -1;
  const loadPoints = () => points ? Promise.resolve(points) : (request ??= fetch("/points").then((answer) => answer.json())
    .then((list) => (points = list)).catch(() => []).finally(() => { request = null; }));
  const show = (index) => {
    selected = index;
    if (!points || !points[index]) { tip.hidden = true; return; }
    const [trial, reward, x, y] = points[index];
    tip.textContent = "trial " + trial.toLocaleString("en") + ": reward " + reward.toFixed(4);
    tip.hidden = false;
    const plot = chart.querySelector("svg").getBoundingClientRect(), card = tip.parentElement.getBoundingClientRect();
    const left = plot.left - card.left + x * plot.width, width = tip.offsetWidth;
    tip.style.left = Math.max(4, Math.min(left - width / 2, card.width - width - 4)) + "px";
    tip.style.top = plot.top - card.top + y * plot.height - tip.offsetHeight - 10 + "px";
  };
  const refreshTip = async () => { const trial = points ? points[selected]?.[0] : null; await loadPoints(); if (trial === null) tip.hidden = true; };
  const nearest = (event) => {
    const plot = chart.querySelector("svg").getBoundingClientRect();
    let best = -1, distance = 24 * 24;
    points.forEach(([, , x, y], index) => {
      const across = plot.left + x * plot.width - event.clientX, down = plot.top + y * plot.height - event.clientY;
      if (across * across + down * down < distance) { distance = across * across + down * down; best = index; }
    });
    return best;
  };
  chart.addEventListener("pointermove", async (event) => { await loadPoints(); if (points) { show(nearest(event)); chart.classList.toggle("over", selected >= 0); } });
  chart.addEventListener("pointerleave", () => { tip.hidden = true; selected = -1; });
  chart.addEventListener("blur", () => { tip.hidden = true; });
  chart.addEventListener("click", async (event) => {
    await loadPoints();
    const index = points ? nearest(event) : -1;
    if (index >= 0) location.hash = "trial-" + points[index][0];
  });
  chart.addEventListener("keydown", async (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -1e9, End: 1e9 }[event.key];
    if (event.target !== chart || (!move && event.key !== "Enter")) return;
    event.preventDefault();
    await loadPoints();
    if (!points?.length) return;
    if (move) show(Math.max(0, Math.min(points.length - 1, (selected < 0 ? points.length - 1 - move : selected) + move)));
    else if (points[selected]) location.hash = "trial-" + points[selected][0];
  });
})();
