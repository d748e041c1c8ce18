"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = id => document.getElementById(id);
  const KEPT = 120;
  const history = [];
  const number = (value, digits = 1) => value === null ? "–" : value.toFixed(digits).replace("-", "−");
  const rounded = value => value >= 100 ? value.toFixed(0) : number(value);

  const tick = (value, span) => span < 10 ? value.toFixed(1) : value >= 10000 ? `${(value / 1000).toFixed(0)}k` : value.toFixed(0);

  const draw = (figure, lines, {least = 0, guide = null} = {}) => {
    const svg = figure.querySelector("svg");
    const [width, height, left, bottom, top] = [Math.max(svg.clientWidth, 240), 150, 52, 22, 10];
    const values = lines.flatMap(([name]) => history.map(one => one[name])).filter(value => value !== null);
    const most = Math.max(least + 1, guide === null ? 0 : 1.25 * guide, ...values) * 1.05;
    const x = place => left + (width - left - 8) * (place + KEPT - history.length) / (KEPT - 1);
    const y = value => height - bottom - (height - bottom - top) * (value - least) / (most - least);
    const parts = [];
    for (const share of [0, 0.5, 1]) {
      const value = least + share * (most - least) / 1.05;
      parts.push(`<line class="axis" x1="${left}" x2="${width - 8}" y1="${y(value)}" y2="${y(value)}"/>`,
        `<text x="${left - 8}" y="${y(value) + 4}" text-anchor="end">${tick(value, most - least)}</text>`);
    }
    parts.push(`<text x="${left}" y="${height - 4}">2 minutes ago</text>`,
      `<text x="${width - 8}" y="${height - 4}" text-anchor="end">now</text>`);
    if (guide !== null) parts.push(`<line class="line dashed s6" x1="${left}" x2="${width - 8}" y1="${y(guide)}" y2="${y(guide)}"/>`);
    for (const [name, series] of lines) {
      let path = "", drawing = false;
      history.forEach((one, place) => {
        if (one[name] === null) { drawing = false; return; }
        path += `${drawing ? "L" : "M"}${x(place).toFixed(1)} ${y(one[name]).toFixed(1)}`;
        drawing = true;
      });
      if (path) parts.push(`<path class="line ${series}" d="${path}"/>`);
    }
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.innerHTML = parts.join("");
  };

  const show = live => {
    history.push(live);
    if (history.length > KEPT) history.shift();
    at("offered").textContent = rounded(live.offered);
    at("shed").textContent = live.shed ? `requests a second, ${rounded(live.shed)} turned away` : "requests a second";
    at("in_time").textContent = live.in_time === null ? "–" : `${number(100 * live.in_time)}%`;
    at("in_time").classList.toggle("bad", live.in_time !== null && live.in_time < 0.95);
    at("percentiles").textContent = live.p50_ms === null ? "of the last 10 seconds"
      : `p50 ${rounded(live.p50_ms)}, p95 ${rounded(live.p95_ms)}, p99 ${rounded(live.p99_ms)} ms`;
    at("speedup").textContent = live.speedup === null ? "–" : `${number(live.speedup, 2)}x`;
    const reach = data.fastest > 1 ? (live.speedup === null ? 0 : (live.speedup - 1) / (data.fastest - 1)) : 0;
    at("needle").style.width = `${100 * Math.min(1, Math.max(0, reach))}%`;
    at("drop").textContent = number(live.drop, 2);
    at("interval").textContent = live.low === null ? "points, on validation text"
      : `points, 95%: ${number(live.low, 2)} to ${number(live.high, 2)}`;
    at("waiting").textContent = live.waiting;
    at("correction").textContent = live.correction > 1.15 ? `texts; batches take ${number(live.correction)} times as long as usual`
      : "texts in the queue";
    draw(at("load-chart"), [["offered", "s1"], ["shed", "s2"]]);
    draw(at("latency-chart"), [["p99_ms", "s2"], ["p95_ms", "s3"], ["p50_ms", "s1"]], {guide: data.deadline});
    draw(at("dial-chart"), [["speedup", "s1"]], {least: 1});
  };

  const events = new EventSource("events");
  events.onmessage = event => { at("state").textContent = "live"; show(JSON.parse(event.data)); };
  events.onerror = () => { at("state").textContent = "the server does not answer; trying again …"; };

  const answer = (...parts) => at("answer").replaceChildren(...parts);
  const make = (tag, name, text) => {
    const element = document.createElement(tag);
    if (name) element.className = name;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  at("form").addEventListener("submit", async event => {
    event.preventDefault();
    const button = at("form").querySelector("button");
    const headers = {"content-type": "application/json"};
    if (at("key") && at("key").value) headers.authorization = `Bearer ${at("key").value}`;
    if (at("deadline").value) headers["x-deadline-ms"] = at("deadline").value;
    button.disabled = true;
    try {
      const response = await fetch(data.embeds ? "embed" : "predict", {
        method: "POST", headers, body: JSON.stringify({inputs: at("text").value, truncate: true}),
      });
      const found = await response.json();
      if (!response.ok) { answer(make("p", "error", found.error)); return; }
      const drop = response.headers.get("x-latadj-expected-drop");
      const note = make("p", "note", `at ${response.headers.get("x-latadj-speedup")}x` +
        (drop ? `, where ${drop.split(";")[0]} points are expected to be lost` : "") +
        ` · milliseconds: ${response.headers.get("server-timing").replaceAll(";dur=", " ")}`);
      if (data.embeds) {
        const first = found[0].slice(0, 6).map(value => value.toFixed(4)).join(", ");
        answer(make("p", "", `${found[0].length} numbers: ${first}, …`), note);
        return;
      }
      const list = make("ol");
      for (const {label, score} of found.slice(0, 8)) {
        const item = make("li"), bar = make("span", "bar"), fill = make("i");
        fill.style.width = `${100 * score}%`;
        bar.append(fill);
        item.append(make("span", "", label), bar, make("span", "share", `${number(100 * score)}%`));
        list.append(item);
      }
      answer(list, note);
    } catch (error) {
      answer(make("p", "error", String(error)));
    } finally {
      button.disabled = false;
    }
  });
})();
