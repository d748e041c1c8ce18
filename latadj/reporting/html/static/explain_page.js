"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = id => document.getElementById(id);
  const slider = at("speed");
  const full = data.readings[0];
  const MANY = 6;

  const make = (tag, name, text) => {
    const element = document.createElement(tag);
    if (name) element.className = name;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const percent = share => (share >= 0.9995 ? "100" : (100 * share).toFixed(1)) + "%";
  const times = speedup => String(Math.round(speedup * 100) / 100);
  const count = (number, name) => `${number} ${name}${number === 1 ? "" : "s"}`;

  /* One span a word, in a container of its own; the script only changes what changes with the dial. */
  const spans = container => data.words.map((word, index) => {
    container.append(document.createTextNode(word.gap || ""));
    const span = make("span", (word.special ? "special" : "") + (word.read ? "" : " unread"), word.text);
    span.dataset.word = index;
    container.append(span);
    return span;
  });
  const whole = spans(at("whole"));
  const rows = [];
  for (let layer = 0; layer < data.layers; layer++) {
    const item = make("li");
    const head = make("div", "head");
    const meter = make("div", "meter");
    const bar = make("i");
    const facts = make("span", "facts");
    meter.append(bar);
    head.append(make("b", "", `Layer ${layer + 1}`), meter, facts);
    item.append(head);
    const trimmed = data.trimmed !== null && layer === data.layers - 1;
    let words = [];
    if (!trimmed) {
      const text = make("p", "words");
      words = spans(text);
      item.append(text);
    }
    at("layers").append(item);
    rows.push({bar, facts, words, trimmed});
  }
  /* A word that enters the last layer has gone as far as a word can where the head reads one position. */
  const top = data.trimmed === null ? data.layers : Math.max(data.layers - 1, 1);

  for (const [index, reading] of data.readings.entries()) {
    if (!Number.isInteger(reading.speedup)) continue;
    const tick = make("span", "", `${reading.speedup}x`);
    tick.style.left = `${100 * index / Math.max(data.readings.length - 1, 1)}%`;
    at("ticks").append(tick);
  }
  for (let step = 0; step <= 2; step++) {
    const part = make("span");
    const swatch = make("i");
    const deep = step / 2;
    swatch.style.background = `color-mix(in srgb, var(--accent) ${34 * deep * deep}%, transparent)`;
    part.append(swatch, ["gone after the first layers", "half way", "read to the end"][step]);
    at("scale").append(part);
  }

  const outputs = reading => {
    const list = at("outputs");
    list.replaceChildren();
    if (!data.labels.length) return;
    const order = data.labels.map((_, label) => label);
    if (order.length > MANY) order.sort((a, b) => reading.outputs[b] - reading.outputs[a]);
    const best = reading.outputs.indexOf(Math.max(...reading.outputs));
    for (const label of order) {
      const item = make("li", label === best ? "wins" : "");
      const name = make("span", "name", data.labels[label]);
      name.title = data.labels[label];
      const track = make("span", "track");
      const bar = make("span", "bar");
      bar.style.width = `${100 * reading.outputs[label]}%`;
      const mark = make("span", "full");
      mark.style.left = `${100 * full.outputs[label]}%`;
      mark.title = `at 1x ${percent(full.outputs[label])}`;
      track.append(bar, mark);
      item.append(name, track, make("span", "share", percent(reading.outputs[label])));
      list.append(item);
    }
  };

  /* A tagger's or a reader's answer is made of the text's own words, which are marked in it. */
  const marked = reading => {
    at("answer").textContent = reading.answer;
    const note = at("agreement");
    note.className = "note" + (reading === full ? "" : reading.same ? " same" : " other");
    note.textContent = reading === full ? "the full model's answer"
      : reading.same ? "the same answer as at 1x" : `at 1x: ${full.answer}`;
    whole.forEach((span, index) => {
      span.classList.toggle("marked", Boolean(reading.marks[index]));
      if (data.type === "token_classification" && reading.marks[index]) span.dataset.mark = reading.marks[index];
      else delete span.dataset.mark;
    });
  };

  const answer = reading => {
    if (data.type !== "classification") return marked(reading);
    const best = reading.outputs.indexOf(Math.max(...reading.outputs));
    const before = full.outputs.indexOf(Math.max(...full.outputs));
    const note = at("agreement");
    note.className = "note";
    if (!data.labels.length) {
      at("answer").textContent = reading.outputs[0].toFixed(3);
      at("sure").textContent = "";
      const moved = reading.outputs[0] - full.outputs[0];
      note.textContent = reading === full ? "the full model's value"
        : `${full.outputs[0].toFixed(3)} at 1x, so ${Math.abs(moved).toFixed(3)} ${moved < 0 ? "less" : "more"}`;
      return;
    }
    at("answer").textContent = data.labels[best];
    at("sure").textContent = percent(reading.outputs[best]);
    if (reading === full) {
      note.textContent = "the full model's answer";
    } else if (best === before) {
      note.textContent = `the same answer as at 1x (${percent(full.outputs[before])})`;
      note.classList.add("same");
    } else {
      note.textContent = `at 1x it says ${data.labels[before]} (${percent(full.outputs[before])})`;
      note.classList.add("other");
    }
  };

  let followed = null;
  const follow = index => {
    for (const all of [whole, ...rows.map(row => row.words)]) {
      if (followed !== null && all[followed]) all[followed].classList.remove("followed");
      if (index !== null && all[index]) all[index].classList.add("followed");
    }
    followed = index;
    at("word").classList.toggle("away", index === null);
    if (index === null) return;
    const reading = data.readings[slider.value];
    const depth = reading.depth[index];
    const word = data.words[index].text;
    const where = index === data.pooled && data.trimmed !== null ? "is what the head reads"
      : depth >= top ? (data.trimmed === null ? "survives every layer" : "is read up to the last layer")
      : `is eliminated in layer ${depth + 1} of ${data.layers}`;
    const last = Math.min(depth, data.layers - 1);
    at("word").textContent = `“${word}” ${where}; there it has ${percent(reading.acc[last][index] / 10000)} `
      + `of the ACC, in layer 1 ${percent(reading.acc[0][index] / 10000)}.`;
  };

  const turn = () => {
    const reading = data.readings[slider.value];
    const said = times(reading.speedup);
    at("value").replaceChildren(said, make("small", "", "x"));
    slider.setAttribute("aria-valuetext", `${said} times`);
    slider.style.setProperty("--at", `${100 * slider.value / Math.max(slider.max, 1)}%`);
    answer(reading);
    outputs(reading);
    at("summary").textContent = `${reading.words[top - 1]} of ${count(data.entering, "word")} `
      + (data.trimmed === null ? "survive every layer" : "reach the last layer")
      + `; ${reading.flops.toFixed(2)}x fewer FLOPs than the plain model on this text.`
      + (data.cut ? ` The text was cut: its last ${count(data.cut, "word")} stood beyond ${data.tokens} tokens.` : "");
    whole.forEach((span, index) => {
      span.style.setProperty("--deep", Math.min(reading.depth[index], top) / top);
    });
    rows.forEach((row, layer) => {
      const left = reading.left[layer] / data.tokens;
      row.bar.style.width = `${100 * left}%`;
      const saved = `saves ${Math.round(100 * reading.saved[layer])}% of its FLOPs`;
      row.facts.textContent = row.trimmed
        ? `the head reads ${data.trimmed} alone · ${saved}`
        : `${Math.round(100 * left)}% left, ${reading.words[layer]} of ${count(data.entering, "word")} · ${saved}`;
      const most = Math.max(...reading.acc[layer], 1);
      row.words.forEach((span, index) => {
        const depth = reading.depth[index];
        span.classList.toggle("gone", depth <= layer);
        span.classList.toggle("leaves", depth === layer);
        span.style.setProperty("--share", reading.acc[layer][index] / most);
      });
    });
    if (followed !== null) follow(followed);
  };

  slider.addEventListener("input", turn);
  at("shade").addEventListener("change", event => at("layers").classList.toggle("bare", !event.target.checked));
  for (const area of [at("whole"), at("layers")]) {
    for (const kind of ["pointerover", "click"]) {
      area.addEventListener(kind, event => {
        const word = event.target.dataset.word;
        if (word !== undefined) follow(Number(word));
      });
    }
    area.addEventListener("pointerleave", event => {
      if (event.pointerType === "mouse") follow(null);
    });
  }
  document.addEventListener("click", event => {
    if (event.target.dataset.word === undefined && event.target !== slider) follow(null);
  });
  document.addEventListener("keydown", event => {
    if (event.key === "Escape") follow(null);
  });
  turn();
})();
